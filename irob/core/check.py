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


def number(name: str, value, *, low=-math.inf, high=math.inf, open_low=False) -> float:
    """`value` as a float in [low, high] (or (low, high]); raises `InputError` for anything else, NaN included."""
    try:
        v = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {value!r}, wanted a number") from None
    inside = (v > low if open_low else v >= low) and v <= high
    if not inside:  # NaN fails every comparison
        left = "(" if open_low else "["
        right = ")" if high == math.inf else "]"
        raise InputError(f"{name}: got {v:g}, wanted a number in {left}{low:g}, {high:g}{right}")
    return v


def integer(name: str, value, *, low: int = 0) -> int:
    """`value` as an int >= low."""
    if isinstance(value, bool) or not float(value).is_integer() or int(value) < low:
        raise InputError(f"{name}: got {value!r}, wanted a whole number >= {low}")
    return int(value)


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


def images(x, y=None, *, num_classes: int | None = None, tolerance: float = 1e-6) -> None:
    """Images f[n,H,W,C] in [0,1] up to float noise and, if given, integer labels i[n] in [0, num_classes)."""
    x = np.asarray(x)
    if x.ndim != 4:
        raise InputError(f"images: got shape {x.shape}, wanted (n, height, width, channels)")
    if not np.issubdtype(x.dtype, np.floating):
        raise InputError(f"images: got type {x.dtype}, wanted floating point in [0, 1]; divide 8-bit pixels by 255")
    if x.size and not (x.min() >= -tolerance and x.max() <= 1 + tolerance):
        raise InputError(f"images: got pixels in [{x.min():g}, {x.max():g}], wanted [0, 1]")
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
        _made.extend(p for p in (path, *path.parents) if not p.exists())
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            pass
    except OSError as e:
        why = f"cannot be written ({e.strerror}); choose another with --out"
        raise InputError(f"output folder {str(path)!r} {why}") from None
    return path


def withdraw() -> None:
    """Removes the folders that `writable_folder` made and that are still empty: bad input leaves nothing behind."""
    for path in sorted(set(_made), key=lambda p: len(p.parts), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()
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
