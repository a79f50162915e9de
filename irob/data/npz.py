"""A user's own data: one .npz file, or a folder with train.npz and test.npz, of arrays x, y and optionally z.

x: u8[n,H,W] or u8[n,H,W,C], or floats in [0,1]; y: integers i[n]; z: latent codes f[n,d].
`python -m irob sample --out FILE.npz` writes such files.  Nothing is unpickled.
"""

import os
import pathlib
import zipfile
import zlib

import numpy as np

from irob.core import check
from irob.core.check import InputError
from irob.core.types import Dataset


def arrays(path, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, which must hold `wanted`; a missing or broken file is named."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"data file {str(path)!r}: there is no such file; wanted an .npz file")
    try:
        file = np.load(path, allow_pickle=False)
        content = None
        if not isinstance(file, np.ndarray):
            with file:
                content = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as e:
        size = path.stat().st_size
        why = " ".join(str(e).split()) or e.__class__.__name__
        raise InputError(f"data file {str(path)!r}: {size} bytes are not a readable .npz ({why})") from None
    if content is None or not set(wanted) <= content.keys():
        got = "a bare array" if content is None else f"arrays {', '.join(sorted(content)) or 'none'}"
        raise InputError(f"data file {str(path)!r}: got {got}, wanted {', '.join(wanted)}")
    return content


def save(path, **content: np.ndarray) -> pathlib.Path:
    """Writes an .npz under a temporary name and renames it; not through a copy in memory, for it may be large."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **content)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def build(split: str, *, data_dir: str, count: int | None = None, num_classes: int | None = None) -> Dataset:
    """A user's .npz as a `Dataset`.

    Args:
      split: "train" or "test": the file's name in a folder; a single file serves both.
      data_dir: the folder, or the file.
      count: only the first `count` examples.
      num_classes: number of classes; None means the largest label plus 1.
    """
    path = pathlib.Path(data_dir)
    content = arrays(path / f"{split}.npz" if path.is_dir() else path, ("x", "y"))
    x, y, z = content["x"], content["y"], content.get("z")
    where = f"data file {str(path)!r}"
    if count is not None:
        count = check.integer("count", count, low=1)
        x, y, z = x[:count], y[:count], None if z is None else z[:count]
    if x.ndim == 3:
        x = x[..., None]
    if x.dtype == np.uint8:
        x = np.divide(x, 255, dtype=np.float32)
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"{where}: got labels of type {y.dtype}, wanted integers")
    if num_classes is None:
        num_classes = int(y.max()) + 1 if y.size else 0
    try:
        check.images(x, y, num_classes=num_classes)
    except InputError as e:
        raise InputError(f"{where}: {e}") from None
    if not len(y):
        raise InputError(f"{where}: got no examples, wanted at least one")
    if z is not None and (z.ndim != 2 or len(z) != len(y)):
        raise InputError(f"{where}: got codes of shape {z.shape}, wanted one row for each of {len(y)} images")
    if z is not None:
        check.finite(f"{where}: codes z", z)
    codes = None if z is None else z.astype(np.float32)
    return Dataset(x.astype(np.float32), y.astype(np.int32), codes, num_classes, tuple(x.shape[1:]), path.stem)
