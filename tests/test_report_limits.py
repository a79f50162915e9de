"""The bracket's table, figure and words, from rows written by hand."""

import dataclasses

import pytest

from irob.core.rows import LowerEnd, Number, UpperEnd
from irob.core.threat import LpBall
from irob.report import figures, latex, limits, summary, text

RADII = (1.0, 2.0)


def end(side, epsilon, value, certified, *, family="overall", **detail):
    kind, inputs = LowerEnd if side == "lower" else UpperEnd, (("constant", "upper" if certified else "lower"),)
    if detail.get("rung") == "paper":
        detail["protocol"] = "paper"
    made = kind(inputs, alpha=0.015, family=family, confidence=0.95 if certified else None, **detail)
    row = made.row("d", "any", LpBall("l2", epsilon).record(), Number(value, n=300), "m")
    return dataclasses.replace(row, section="limits")


@pytest.fixture
def rows():
    out = []
    for e in RADII:
        out += [
            end("upper", e, 0.90, False, rung="paper"),
            end("upper", e, 0.9835 - 0.002 * e, False, rung="maximised"),
            end("upper", e, 0.9840 - 0.002 * e, False, rung="escape"),
            end("upper", e, 0.9849, True, rung="certified"),
            end("lower", e, 0.98 - 0.004 * e, True, witness="network"),
            end("lower", e, 0.97 - 0.004 * e, True, witness="half-space"),
            end("lower", e, 0.99, False, witness="latent half-space"),
            end("upper", e, 0.98, True, family="per_class", rung="certified"),
        ]
    return out


def test_the_best_ends_are_the_certified_witness_and_the_best_search(rows):
    low, high = limits.ends(rows, "d", 0.015, "overall", 1.0)
    assert limits.best(low).detail.witness == "network"  # the latent one is larger, but an estimate
    assert limits.best(high).detail.rung == "escape"
    assert limits.best(high, certified=True).detail.rung == "certified"
    assert limits.best([]) is None
    tighter = end("upper", 1.0, 0.97, True, rung="certified")  # more than the search says
    assert limits.best([*high, tighter]) is tighter


def test_the_width_is_that_between_the_best_ends(rows):
    table = limits.ladder(rows, "d")
    width = next(line for line in table.lines if line.label.startswith("width"))
    assert [c.text for c in width.cells] == ["0.60", "0.80"]
    assert "no classifier passes: certified escape radii" in text.render(table)
    body = "\n".join(line for line in latex.tabular(table).splitlines() if not line.startswith("%"))
    assert "98.49" in body and body.isascii()


def test_joint_sentences_say_the_level_at_which_they_hold(rows):
    """Two ends at 95 % are one statement at 90 %."""
    notes = {line.label: line.note for line in limits.ladder(rows, "d").lines}
    assert notes["width between certified ends, points"] == "90 % confidence, both ends at once"
    searched = [r for r in rows if r.side == "lower" or r.detail.rung not in ("maximised", "escape")]
    said = limits.words(searched, "d")
    assert "So (90 % confidence, both ends at once) the error-region limit is known to within" in said
    assert summary.cards(searched)[0].text.endswith("; 90 % confidence, both ends at once")
    assert "confidence" not in summary.cards(rows)[0].text, "an end found by search has none"


def test_families_do_not_mix(rows):
    table = limits.ladder(rows, "d")
    groups = [line.label for line in table.lines if line.kind == "group"]
    assert len(groups) == 2
    assert table.lines[-1].label.startswith("no classifier")  # no witness of the per-class family, hence no width


def test_the_words_claim_only_what_is_certified(rows):
    said = limits.words(rows, "d")
    assert "no classifier that errs on at least 1.5 % of the images of d keeps more than 98.49 %" in said
    assert "97.20 % stay out of their reach (network)" in said and "Not proved" in said
    assert "error-region sense only" in said and "does not say that so many labels can be kept" in said
    trivial = [r if r.side == "lower" or r.detail.rung != "certified" else end("upper", r.epsilon, 0.985, True,
               rung="certified") for r in rows if r.detail.family == "overall"]
    assert "Nothing beyond the trivial limit" in limits.words(trivial, "d")


def test_a_vacuous_end_is_marked_and_says_what_would_help(rows):
    why = "says nothing beyond the trivial limit 1 - alpha = 0.985: 200 codes are too few; it takes about 900"
    trivial = [r if r.side == "lower" or r.detail.rung != "certified" else end("upper", r.epsilon, 0.985, True,
               rung="certified", vacuous=why) for r in rows if r.detail.family == "overall"]
    table = limits.ladder(trivial, "d")
    assert "98.50‡" in text.render(table) and f"‡ An end so marked {why}." in text.render(table)
    assert "at ε = 2: 200 codes are too few; it takes about 900." in limits.words(trivial, "d")
    assert "‡" not in text.render(limits.ladder(rows, "d")) and "ddagger" in latex.tabular(table)


def test_the_figure_draws_every_method(rows):
    drawn = figures.svg(limits.figure(rows, "d", 0.015))
    for label in ("published protocol", "escape radii (estimate)", "witness: network", "bracket"):
        assert label in drawn


def test_nothing_to_show_is_nothing():
    assert limits.ladder([], "d") is None and limits.constants([], "d") is None and limits.words([], "d") == ""
