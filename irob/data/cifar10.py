"""CIFAR-10: 50,000 training and 10,000 test images, 32x32 RGB, from the binary version, .npz, or tfds.

Binary: data_batch_1.bin to data_batch_5.bin and test_batch.bin, records of 1 label byte and 3072 pixel bytes
(red, green, blue planes, row by row).  Reference: Krizhevsky, "Learning multiple layers of features", 2009.
"""

import pathlib

import numpy as np

from irob.core.check import InputError
from irob.core.types import Dataset
from irob.data import from_bytes, mnist, npz

RECORD = 1 + 3 * 32 * 32
FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
FOLDERS = ("", "cifar10", "cifar-10-batches-bin")


def read_batch(path) -> tuple[np.ndarray, np.ndarray]:
    """Images u8[n,32,32,3] and labels u8[n] of one binary batch."""
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise InputError(f"data file {str(path)!r}: cannot be read ({e.strerror}); wanted a CIFAR-10 batch") from None
    if not data or len(data) % RECORD:
        raise InputError(
            f"data file {str(path)!r}: got {len(data)} bytes, wanted records of {RECORD} bytes; fetch it again")
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise InputError(f"data file {str(path)!r}: got label {records[:, 0].max()}, wanted 0 to 9; fetch it again")
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]


def _files(data_dir, split: str) -> list[pathlib.Path]:
    """The batches of a split; an error if some are there and some are not."""
    for folder in FOLDERS:
        files = [pathlib.Path(data_dir, folder, name) for name in FILES[split]]
        there = [f.is_file() for f in files]
        if all(there):
            return files
        if any(there):
            missing = ", ".join(f.name for f, t in zip(files, there, strict=True) if not t)
            raise InputError(f"data folder {str(files[0].parent)!r}: {missing} missing; put them beside the others")
    return []


def build(split: str, *, data_dir: str | None = None, count: int | None = None) -> Dataset:
    """CIFAR-10 as a `Dataset`.

    Args:
      split: "train" or "test".
      data_dir: folder of the binary version, of train.npz and test.npz (arrays x u8[n,32,32,3], y), or of tfds.
      count: only the first `count` images.
    """
    if data_dir is not None and not pathlib.Path(data_dir).is_dir():
        raise InputError(f"data folder {str(data_dir)!r}: there is no such folder; wanted CIFAR-10's binary version")
    files = _files(data_dir, split) if data_dir is not None else []
    if files:
        batches = [read_batch(f) for f in files]
        x, y = (np.concatenate(a) for a in zip(*batches, strict=True))
    elif data_dir is not None and pathlib.Path(data_dir, f"{split}.npz").is_file():
        content = npz.arrays(pathlib.Path(data_dir, f"{split}.npz"), ("x", "y"))
        x, y = content["x"], content["y"]
    else:
        pair = mnist.prepared("cifar10", split, data_dir)
        if pair is None:
            where = f"no CIFAR-10 in {str(data_dir)!r}" if data_dir is not None else "no CIFAR-10 prepared by tfds"
            raise InputError(
                f"{where}: pass --data-dir with data_batch_1.bin to data_batch_5.bin and test_batch.bin (the binary "
                f"version), or with {split}.npz of arrays x and y; or prepare it once with TensorFlow (pip install "
                "'irob[tfds]', then tfds.builder('cifar10', file_format='array_record').download_and_prepare())")
        x, y = pair
    if x.dtype != np.uint8 or x.shape[1:] != (32, 32, 3):
        raise InputError(f"CIFAR-10: got images {x.dtype}{list(x.shape)}, wanted uint8 [n, 32, 32, 3]")
    return from_bytes(x, y, num_classes=10, name="cifar10", count=count)
