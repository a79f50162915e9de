"""Checks at the edge: what was got, what was wanted, what to do.

Everything here runs on the host, before jit.  `InputError` is a `ValueError`; the command line
turns it into one line and exit status 2.
"""

import contextlib
import difflib
import math
import os
import pathlib
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np


class InputError(ValueError):
    """The user's input cannot be used; the message is one line: got, wanted, what to do."""


def unknown(kind: str, name: object, available: Iterable[str]) -> InputError:
    """The error for a name that nobody knows, with the nearest that somebody does.

    >>> str(unknown("data set", "mnist_gne", ["mnist", "mnist_gen"]))
    "unknown data set 'mnist_gne': did you mean 'mnist_gen'? Available: mnist, mnist_gen"
    """
    names = sorted(available)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {name!r}:{hint} Available: {', '.join(names)}")


def one_line(error: BaseException) -> str:
    """The kind and the first line of an error."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def ratio(text) -> float:
    """A number, or one over another as radii are written; raises ValueError for anything else.

    >>> ratio("3"), ratio("51/255")
    (3.0, 0.2)
    """
    above, slash, below = text.partition("/") if isinstance(text, str) else (text, "", "")
    if slash and float(below) == 0:
        raise ValueError(f"{text}: divides by 0")
    return float(above) / float(below) if slash else float(above)


def number(name: str, value, *, low=-math.inf, high=math.inf, open_low=False) -> float:
    """`value`, such as 0.5 or "8/255", as a float in [low, high] (or (low, high]).

    Raises:
        InputError: anything else, NaN included.
    """
    try:
        v = ratio(value)
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {value!r}, wanted a number") from None
    inside = (v > low if open_low else v >= low) and v <= high
    if not inside:  # NaN fails every comparison
        left = "(" if open_low else "["
        right = ")" if high == math.inf else "]"
        raise InputError(f"{name}: got {v:g}, wanted a number in {left}{low:g}, {high:g}{right}")
    return v


def integer(name: str, value, *, low: int = 0, high: int = 2**31 - 1) -> int:
    """`value`, a number and not its text, as an int in [low, high]; by default what indexes of JAX can count."""
    v = value.item() if isinstance(value, np.generic) or getattr(value, "shape", None) == () else value
    if isinstance(v, bool) or not isinstance(v, int | float) or v % 1 != 0 or v < low:  # infinity and NaN: v % 1 is NaN
        raise InputError(f"{name}: got {value!r}, wanted a whole number >= {low}")
    if v > high:
        raise InputError(f"{name}: got {value!r}, wanted a whole number of at most {high}")
    return int(v)


def instance(name: str, value, kind: type, how: str) -> None:
    """Raises `InputError` unless `value` is of this kind; how: what makes one.

    >>> instance("threat", "l2", dict, "dict()")
    Traceback (most recent call last):
    irob.core.check.InputError: threat: got 'l2' (str), wanted a dict, such as dict()
    """
    if not isinstance(value, kind):
        shown = f"{value!r} ({type(value).__name__})" if isinstance(value, str) else type(value).__name__
        raise InputError(f"{name}: got {shown}, wanted a {kind.__name__}, such as {how}")


def priors(values, count: int, *, tolerance: float = 1e-6) -> np.ndarray:
    """Class probabilities f[count]: non-negative and summing to 1; None means equal."""
    if values is None:
        return np.full(count, 1.0 / count)
    p = np.asarray(values, dtype=np.float64)
    if p.shape != (count,):
        raise InputError(f"priors: got shape {p.shape}, wanted one value for each of {count} classes")
    if not (np.all(p >= 0) and abs(p.sum() - 1.0) <= tolerance):
        raise InputError(f"priors: got {np.round(p, 6).tolist()} with sum {p.sum():g}, wanted values >= 0 with sum 1")
    return p


def integers(of: Any, *names: str, low: int = 0) -> None:
    """`integer` of the named fields of a value; "_" is shown as a space."""
    for name in names:
        integer(name.replace("_", " "), vars(of)[name], low=low)


def numbers(of: Any, *names: str, **limits: Any) -> None:
    """`number` of the named fields of a value, within the limits that it takes."""
    for name in names:
        number(name.replace("_", " "), vars(of)[name], **limits)


BOXES = ((-1.0, 1.0), (0.0, 255.0))  # of pixels, where they are not [0, 1]


def pixels(name: str, low: float, high: float, bounds: tuple[float, float] = (0.0, 1.0)) -> str:
    """What to say of pixels in [low, high] that are outside the bounds, and what to do about it.

    >>> pixels("images", 0.0, 254.0)
    'images: got pixels in [0, 254], wanted [0, 1]; divide by 255'
    """
    wanted = f"[{bounds[0]:g}, {bounds[1]:g}]"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{name}: got NaN or infinity, wanted pixels in {wanted}"
    (minus, one), (zero, most) = BOXES
    if minus - 1e-3 <= low < minus / 2 and high <= one + 1e-3:
        do = "take (x + 1) / 2"
    elif zero - 1e-3 <= low and one < high <= most + 1e-3:
        do = "divide by 255"
    else:
        do = "bring them to that scale"
    return f"{name}: got pixels in [{low:.4g}, {high:.4g}], wanted {wanted}; {do}"


def finite(name: str, values) -> None:
    """Raises `InputError` at the first row of an array f[n,...] that holds NaN or infinity."""
    good = np.isfinite(np.asarray(values).reshape(len(values), -1)).all(axis=1)
    if not good.all():
        raise InputError(f"{name}: got NaN or infinity in row {int(np.argmin(good))}, wanted finite numbers")


def images(x, y=None, *, num_classes: int | None = None, tolerance: float = 1e-6) -> None:
    """Images f[n,H,W,C] in [0,1] up to float noise and, if given, integer labels i[n] in [0, num_classes)."""
    x = np.asarray(x)
    if x.ndim != 4:
        raise InputError(f"images: got shape {x.shape}, wanted (n, height, width, channels)")
    if not np.issubdtype(x.dtype, np.floating):
        raise InputError(f"images: got type {x.dtype}, wanted floating point in [0, 1]; divide 8-bit pixels by 255")
    if x.size and not (x.min() >= -tolerance and x.max() <= 1 + tolerance):
        raise InputError(pixels("images", float(x.min()), float(x.max())))
    if y is not None:
        y = np.asarray(y)
        if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
            raise InputError(f"labels: got {y.dtype}{list(y.shape)}, wanted one integer for each of {len(x)} images")
        if num_classes is not None and y.size and not (y.min() >= 0 and y.max() < num_classes):
            raise InputError(f"labels: got values in [{y.min()}, {y.max()}], wanted [0, {num_classes - 1}]")


_made: list[pathlib.Path] = []  # folders that this process made, for `withdraw`


def writable_folder(path) -> pathlib.Path:
    """Makes the folder if need be and proves that a file can be written in it, before any work is done."""
    path = pathlib.Path(path)
    try:
        _made.extend(p.absolute() for p in (path, *path.parents) if not p.exists())
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            pass
    except OSError as e:
        why = f"cannot be written ({e.strerror}); choose another with --out"
        raise InputError(f"output folder {str(path)!r} {why}") from None
    return path


LOCK = ".lock"  # of a folder in which one process works at a time


def withdraw() -> None:
    """Removes the folders that `writable_folder` made and in which nothing stands but empty folders and locks.

    Bad input leaves nothing behind.
    """
    made = sorted(set(_made), key=lambda p: len(p.parts), reverse=True)
    for path in made:
        for folder in (*sorted((p for p in path.rglob("*") if p.is_dir()), reverse=True), path):
            with contextlib.suppress(OSError):
                if [p.name for p in folder.iterdir()] == [LOCK]:
                    (folder / LOCK).unlink()
                folder.rmdir()
    _made.clear()


def write_atomically(path, data: bytes | str) -> None:
    """Writes to a temporary name in the same folder and renames: a reader sees the old file or the new one."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
