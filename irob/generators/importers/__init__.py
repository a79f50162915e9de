"""Weights of other people's models, by name and shape: one file a layout, with `convert(state) -> Generator`.

A source is a PyTorch state dict (.pt, .pth, .bin; read with weights_only=True, so that no code in it is run), or the
same names in .npz or .safetensors, for which PyTorch is not needed.
"""

import hashlib
import inspect
import json
import pathlib
import warnings
import zipfile
from typing import Any

import numpy as np

from irob.core import registry, weights
from irob.core.check import InputError, unknown
from irob.core.types import Generator
from irob.generators.importers import _layouts

PACKAGE = "irob.generators.importers"
SUFFIXES = (".pt", ".pth", ".bin", ".npz", ".safetensors")


def names() -> tuple[str, ...]:
    """The layouts that can be imported.

    >>> names()[:3]
    ('acgan', 'biggan128', 'biggan256')
    """
    return registry.names(PACKAGE, "convert")


def load(layout: str, source, *, config=None, notes: list[str] | None = None) -> Generator:
    """The generator in the file `source`, whose names and shapes must be those of `layout`.

    config: file with the model's own configuration, for layouts that have one; default: config.json beside the source.
    notes: gets a sentence for whatever had to be done differently from what the layout says.

    Raises:
        InputError: unknown layout; a file that is missing or damaged, or whose names or shapes are others (both
            lists are in the message), or which holds NaN.
    """
    convert = registry.module(PACKAGE, layout, kind="layout", function="convert").convert
    takes = inspect.signature(convert).parameters
    more: dict[str, Any] = {"notes": notes} if "notes" in takes else {}
    if "config" in takes:
        more["config"] = configuration(source, config)
    elif config:
        raise InputError(f"config: layout {layout!r} has no configuration of its own; leave out --config")
    state, name = read(source), pathlib.Path(source).name
    _layouts.expect(state, layout, name)
    return convert(state, source=name, **more)


def configuration(source, config=None) -> dict[str, Any] | None:
    """The JSON file `config`, or config.json beside the source if there is one."""
    path = pathlib.Path(config) if config else pathlib.Path(source).with_name("config.json")
    if not path.is_file():
        if config:
            raise InputError(f"config {path.name!r}: there is no such file; check --config")
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as e:
        raise InputError(f"config {path.name!r}: not a JSON file ({_line(e)})") from None
    if not isinstance(content, dict):
        raise InputError(f"config {path.name!r}: got {type(content).__name__}, wanted names and values")
    return content


def read(source) -> dict[str, np.ndarray]:
    """The arrays of a file by their names; those in half precision, bfloat16 included, as float32, which holds them.

    Raises:
        InputError: a file that is missing, damaged or of another kind; arrays that are no numbers, or not finite.
    """
    path = pathlib.Path(source)
    if path.suffix not in SUFFIXES:
        raise unknown("kind of file", path.suffix or path.name, SUFFIXES)
    if not path.is_file():
        raise InputError(f"source {path.name!r}: there is no such file; wanted a state dict; check --source")
    state = {".npz": _npz, ".safetensors": _safetensors}.get(path.suffix, _torch)(path)
    for name, array in state.items():
        if array.dtype.kind not in "fiub":  # NumPy stores bfloat16 as two bytes without a meaning
            raise InputError(f"source {path.name!r}: {name} is stored as {array.dtype}, wanted numbers; store it as "
                             "float32")
        if not np.all(np.isfinite(array)):
            raise InputError(f"source {path.name!r}: {name} holds NaN or infinite values, wanted finite weights")
    return {name: a.astype(np.float32) if a.dtype == np.float16 else a for name, a in state.items()}


def checksum(source) -> str:
    """SHA-256 of the file, for the record."""
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise InputError(f"source {path.name!r}: not an .npz file of plain arrays ({_line(e)})") from None


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    return weights.tensors(path.read_bytes(), f"source {path.name!r}")


def _torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        what = f"source {path.name!r}: PyTorch is needed to read it"
        raise InputError(f"{what}; pip install 'irob[torch]', or store the state dict as .npz") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a refusal is one line
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # damaged files and refused pickles raise many types
        reason = _damage(path) or _line(e).split(". ")[0]
        raise InputError(f"source {path.name!r}: not a state dict that is safe to read ({reason})") from None
    if not hasattr(state, "items") or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise InputError(f"source {path.name!r}: got {type(state).__name__}, wanted a state dict of tensors; "
                         "store model.state_dict() alone")
    out = {}
    for name, tensor in state.items():
        known = tensor.dtype in (torch.bfloat16, torch.float16)
        try:
            out[name] = (tensor.float() if known else tensor).detach().numpy()
        except (TypeError, RuntimeError):  # 8-bit floats, sparse and quantised tensors
            raise InputError(f"source {path.name!r}: {name} is stored as {tensor.dtype}, {tensor.layout}, wanted dense "
                             "numbers; store it as float32") from None
    return out


def _damage(path: pathlib.Path) -> str:
    """What is wrong with a file before PyTorch's reader has its say; "" if nothing is."""
    with open(path, "rb") as file:
        head = file.read(4)
    if head == b"PK\x03\x04":
        return "" if zipfile.is_zipfile(path) else f"the file is cut off after {path.stat().st_size} bytes"
    return "" if head[:1] == b"\x80" else "it does not begin as PyTorch's files do"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
