"""Weights of other people's models, by name and shape: one file a layout, with `convert(state) -> Generator`.

A source is a PyTorch state dict (.pt, .pth; read with weights_only=True, so that no code in it is run), or the same
names in .npz or .safetensors, for which PyTorch is not needed.
"""

import hashlib
import pathlib
import warnings
import zipfile

import numpy as np

from irob.core import registry
from irob.core.check import InputError, unknown
from irob.core.types import Generator

PACKAGE = "irob.generators.importers"
SUFFIXES = (".pt", ".pth", ".npz", ".safetensors")


def names() -> tuple[str, ...]:
    """The layouts that can be imported.

    >>> names()
    ('acgan', 'gan')
    """
    return registry.names(PACKAGE, "convert")


def load(layout: str, source) -> Generator:
    """The generator in the file `source`, whose names and shapes must be those of `layout`.

    Raises:
        InputError: unknown layout; a file that is missing or damaged, or whose names or shapes are others (both
            lists are in the message), or which holds NaN.
    """
    convert = registry.module(PACKAGE, layout, kind="layout", function="convert").convert
    return convert(read(source), source=pathlib.Path(source).name)


def read(source) -> dict[str, np.ndarray]:
    """The arrays of a file by their names."""
    path = pathlib.Path(source)
    if path.suffix not in SUFFIXES:
        raise unknown("kind of file", path.suffix or path.name, SUFFIXES)
    if not path.is_file():
        raise InputError(f"source {path.name!r}: there is no such file; wanted a state dict; check --source")
    state = {".npz": _npz, ".safetensors": _safetensors}.get(path.suffix, _torch)(path)
    for name, array in state.items():
        if not np.all(np.isfinite(array)):
            raise InputError(f"source {path.name!r}: {name} holds NaN or infinite values, wanted finite weights")
    return state


def checksum(source) -> str:
    """SHA-256 of the file, for the record."""
    return hashlib.sha256(pathlib.Path(source).read_bytes()).hexdigest()


def _npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise InputError(f"source {path.name!r}: not an .npz file of plain arrays ({_line(e)})") from None


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(path.read_bytes())
    except SafetensorError as e:
        raise InputError(f"source {path.name!r}: not a safetensors file ({_line(e)})") from None


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
        reason = _line(e).split(". ")[0]
        raise InputError(f"source {path.name!r}: not a state dict that is safe to read ({reason})") from None
    if not hasattr(state, "items") or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise InputError(f"source {path.name!r}: got {type(state).__name__}, wanted a state dict of tensors; "
                         "store model.state_dict() alone")
    return {name: tensor.numpy() for name, tensor in state.items()}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
