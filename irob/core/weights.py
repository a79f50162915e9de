"""Weights on disk: safetensors and JSON with a checksum, written atomically, read without pickle.

A folder holds `weights.safetensors` (flat names "params/dense/kernel") and `config.json`, whose
"sha256" is that of the weights' file.
"""

import hashlib
import json
import pathlib
from typing import Any

import numpy as np
from flax import traverse_util

from irob.core import registry
from irob.core.check import InputError, write_atomically

WEIGHTS, CONFIG = "weights.safetensors", "config.json"
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
         "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}
SHIPPED = pathlib.Path(__file__).parents[1] / "weights"


def flatten(tree: Any) -> dict[str, Any]:
    """Nested dicts of arrays, or of their shapes, to flat names joined by "/".

    >>> flatten({"dense": {"bias": 1, "kernel": 2}})
    {'dense/bias': 1, 'dense/kernel': 2}
    """
    return traverse_util.flatten_dict(tree, sep="/")


def unflatten(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    return traverse_util.unflatten_dict(flat, sep="/")


def match(got: dict[str, Any], wanted: dict[str, Any], *, source: str) -> None:
    """Raises unless both flat trees have the same names and shapes; the message lists what is missing and surplus."""
    missing, surplus = sorted(wanted.keys() - got.keys()), sorted(got.keys() - wanted.keys())
    if missing or surplus:
        raise InputError(f"{source}: names do not match; missing: {missing or 'none'}; surplus: {surplus or 'none'}")
    for name, array in wanted.items():
        if np.shape(got[name]) != np.shape(array):
            raise InputError(f"{source}: {name} has shape {np.shape(got[name])}, wanted {np.shape(array)}")


def save(folder, variables: Any, config: dict[str, Any], *, half: bool = False) -> pathlib.Path:
    """Writes a tree of arrays and its description; `half` stores float32 as float16 (restored as float32)."""
    from safetensors.numpy import save as to_bytes

    folder = pathlib.Path(folder)
    flat = {n: np.ascontiguousarray(a, dtype=np.float16 if half and np.asarray(a).dtype == np.float32 else None)
            for n, a in flatten(variables).items()}
    data = to_bytes(flat)
    write_atomically(folder / WEIGHTS, data)
    record = {**config, "sha256": hashlib.sha256(data).hexdigest()}
    write_atomically(folder / CONFIG, json.dumps(record, indent=2) + "\n")
    return folder


def tensors(data: bytes, source: str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name; half precision, bfloat16 included, becomes float32, which holds it.

    Raises:
        InputError: bytes that are no safetensors file; an array of another type, such as 8-bit floats.
    """
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(data)
    except SafetensorError as e:
        raise InputError(f"{source}: not a safetensors file ({' '.join(str(e).split())[:160]})") from None
    out = {}
    for name, about in found:
        kind = about["dtype"]
        if kind not in TYPES:
            raise InputError(f"{source}: {name} is stored as {kind}, wanted one of {', '.join(TYPES)}; "
                             "store it as float32")
        array = np.frombuffer(about["data"], TYPES[kind])
        if kind == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        out[name] = (array.astype(np.float32) if kind == "F16" else array).reshape(about["shape"])
    return out


def load(folder) -> tuple[dict[str, Any], dict[str, Any]]:
    """(variables, config) of a folder that `save` wrote.

    Raises:
        InputError: names the file that is missing or damaged.
    """
    folder = pathlib.Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"weights {str(folder)!r}: no file {name}; wanted a folder with {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        wanted = config["sha256"]
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(f"{folder / CONFIG}: not the JSON of a model ({e.__class__.__name__}: {e})") from None
    data = (folder / WEIGHTS).read_bytes()
    got = hashlib.sha256(data).hexdigest()
    if got != wanted:
        raise InputError(
            f"{folder / WEIGHTS}: damaged or exchanged: got {len(data)} bytes with SHA-256 {got}, wanted {wanted}"
        )
    return unflatten(tensors(data, str(folder / WEIGHTS))), config


def checksum(name_or_path) -> str:
    """The SHA-256 that stands beside the weights of a name or folder; of a name outside irob that of its file."""
    if registry.is_outside(str(name_or_path)):
        return registry.source(str(name_or_path), kind="model")
    return str(json.loads((resolve(name_or_path) / CONFIG).read_text(encoding="utf-8"))["sha256"])


def resolve(name_or_path) -> pathlib.Path:
    """The folder of a shipped name ("acgan_mnist") or of a path."""
    from irob.core.check import unknown

    path = pathlib.Path(name_or_path)
    if path.is_dir():
        return path
    shipped = {p.parent.relative_to(SHIPPED).as_posix() for p in SHIPPED.glob(f"**/{CONFIG}")}
    if str(name_or_path) in shipped:
        return SHIPPED / str(name_or_path)
    if path.suffix == ".py":
        raise InputError(f"{path}: got a Python file, wanted the function in it too that makes the model, as in "
                         f"{path}:factory")
    if path.is_absolute() or len(path.parts) > 1:
        raise InputError(f"weights {str(name_or_path)!r}: no such folder; shipped are {', '.join(sorted(shipped))}")
    raise unknown("weights", str(name_or_path), shipped)
