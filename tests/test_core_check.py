"""Bad input gets one line that says what was got and what was wanted."""

import math

import numpy as np
import pytest

from irob.core import check
from irob.core.check import InputError


@pytest.mark.parametrize("value", [math.nan, -1.0, "x", None, math.inf])
def test_number_refuses(value):
    with pytest.raises(InputError, match="epsilon: got .* wanted a number"):
        check.number("epsilon", value, low=0, high=10)


def test_number_takes_the_ends():
    assert check.number("alpha", 0, low=0, high=1) == 0
    assert check.number("alpha", 1, low=0, high=1) == 1
    with pytest.raises(InputError):
        check.number("lipschitz", 0, low=0, open_low=True)


@pytest.mark.parametrize(("p", "k"), [([0.5, 0.6], 2), ([1.2, -0.2], 2), ([1.0], 2), ([math.nan, 1.0], 2)])
def test_priors_refuse(p, k):
    with pytest.raises(InputError, match="priors"):
        check.priors(p, k)


def test_images_allow_float_noise_only():
    x = np.full((2, 4, 4, 1), 1 + 1e-7, np.float32)
    check.images(x, np.array([0, 1]), num_classes=2)
    with pytest.raises(InputError, match=r"wanted \[0, 1\]"):
        check.images(x + 1e-3)
    with pytest.raises(InputError, match="shape"):
        check.images(x[0])
    with pytest.raises(InputError, match="divide 8-bit"):
        check.images((x * 255).astype(np.uint8))
    with pytest.raises(InputError, match=r"got NaN or infinity, wanted pixels in \[0, 1\]"):
        check.images(np.full((1, 2, 2, 1), np.nan))
    with pytest.raises(InputError, match="labels"):
        check.images(x * 0, np.array([0, 2]), num_classes=2)


@pytest.mark.parametrize(("low", "high", "do"), [
    (-1.0, 1.0, "take (x + 1) / 2"), (-0.98, 0.7, "take (x + 1) / 2"), (0.0, 255.0, "divide by 255"),
    (0.0, 254.0, "divide by 255"), (-0.42, 2.8, "bring them to that scale"), (0.0, 65535.0, "bring them to that scale"),
])
def test_images_of_another_scale_are_told_what_to_do(low, high, do):
    x = np.linspace(low, high, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    with pytest.raises(InputError) as e:
        check.images(x)
    assert str(e.value) == f"images: got pixels in [{low:.4g}, {high:.4g}], wanted [0, 1]; {do}"


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        check.writable_folder(tmp_path / "file" / "out")


def test_atomic_write_leaves_nothing_behind(tmp_path):
    check.write_atomically(tmp_path / "a" / "b.txt", "text")
    assert (tmp_path / "a" / "b.txt").read_text() == "text"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_what_is_withdrawn_is_empty(tmp_path):
    """Folders that were made go where nothing but empty folders and locks stand in them; what holds a file stays."""
    empty = check.writable_folder(tmp_path / "a" / "b")
    (empty / "pieces" / "more").mkdir(parents=True)
    (empty / "checkpoints").mkdir()
    (empty / check.LOCK).touch()
    full = check.writable_folder(tmp_path / "c" / "d")
    (full / "log").touch()
    old = tmp_path / "old"
    old.mkdir()
    check.writable_folder(old)
    check.withdraw()
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["c", "c/d", "c/d/log", "old"]
