"""The digest of code: words may change, work may not."""

import pytest

from irob.core.digest import code

TEXT = '''"""Head."""

def f(x):
    """What it does."""
    return x + 1  # a comment
'''


@pytest.mark.parametrize(("old", "new"), [("Head.", "Another head."), ("What it does.", "In other words."),
                                      ("  # a comment", ""), ("x + 1", "(x  +  1)")])
def test_words_and_layout_do_not_count(old, new):
    assert code(TEXT) == code(TEXT.replace(old, new))


@pytest.mark.parametrize(("old", "new"), [("x + 1", "x + 2"), ("def f(x)", "def f(x, y=1)"), ("return ", "")])
def test_what_is_computed_counts(old, new):
    assert code(TEXT) != code(TEXT.replace(old, new))
