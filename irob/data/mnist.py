"""Real MNIST: 60,000 training and 10,000 test images, 28x28, from IDX files or as tfds has prepared it.

Any ten-class set in the same four files (Fashion-MNIST, KMNIST) reads the same way; `provenance` says
whether the files are the official ones.
"""

import hashlib
import pathlib

import numpy as np

from irob.core.check import InputError
from irob.core.types import Dataset
from irob.data import from_bytes, idx

STEM = {"train": "train", "test": "t10k"}
FOLDERS = ("", "mnist", "MNIST/raw")  # the folder itself, or one that holds it (torchvision's layout too)
# SHA-256 of the decompressed files as published
OFFICIAL = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def _spellings(part: str, axes: int) -> list[str]:
    return [f"{part}{sep}idx{axes}-ubyte{gz}" for sep in "-." for gz in ("", ".gz")]


def find(data_dir, split: str) -> tuple[pathlib.Path, pathlib.Path] | None:
    """The image file and the label file of a split, or None if neither is there."""
    for folder in FOLDERS:
        root = pathlib.Path(data_dir, folder)
        found = [next((root / n for n in _spellings(f"{STEM[split]}-{part}", axes) if (root / n).is_file()), None)
                 for part, axes in (("images", 3), ("labels", 1))]
        if found[0] and found[1]:
            return found[0], found[1]
        if found[0] or found[1]:
            part, axes = ("labels", 1) if found[0] else ("images", 3)
            missing = _spellings(f"{STEM[split]}-{part}", axes)[0]
            raise InputError(f"data folder {str(root)!r}: {missing} (or .gz) is missing; put it beside the other file")
    return None


def prepared(name: str, split: str, data_dir=None) -> tuple[np.ndarray, np.ndarray] | None:
    """Images u8[n,...] and labels that tfds has prepared, read without TensorFlow; None if it has not."""
    import logging

    import tensorflow_datasets as tfds

    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)  # what is missing is said once, by the caller
    try:
        source = tfds.data_source(name, split=split, data_dir=data_dir, download=False)
        rows = [(row["image"], row["label"]) for row in source]
    except Exception:  # tfds raises many types for what is not there; the caller says what to do in any case
        return None
    finally:
        log.setLevel(level)
    return np.stack([r[0] for r in rows]), np.asarray([r[1] for r in rows])


def provenance(data_dir) -> dict[str, object]:
    """SHA-256 of each decompressed file, and whether all four are the official MNIST."""
    sums = {}
    for split, stem in STEM.items():
        files = find(data_dir, split)
        if files:
            for part, file in zip(("images", "labels"), files, strict=True):
                sums[f"{stem}-{part}"] = hashlib.sha256(idx.contents(file)).hexdigest()
    return {"sha256": sums, "official": sums == OFFICIAL}


def build(split: str, *, data_dir: str | None = None, count: int | None = None) -> Dataset:
    """MNIST as a `Dataset`.

    Args:
      split: "train" or "test".
      data_dir: folder of the four IDX files, gzipped or not, or of a data set prepared by tfds.
      count: only the first `count` images.
    """
    if data_dir is not None and not pathlib.Path(data_dir).is_dir():
        raise InputError(f"data folder {str(data_dir)!r}: there is no such folder; wanted the four IDX files of MNIST")
    files = find(data_dir, split) if data_dir is not None else None
    if files:
        x, y = idx.read(files[0], axes=3), idx.read(files[1], axes=1)
    else:
        pair = prepared("mnist", split, data_dir)
        if pair is None:
            where = f"no MNIST in {str(data_dir)!r}" if data_dir is not None else "no MNIST prepared by tfds"
            raise InputError(
                f"{where}: pass --data-dir with train-images-idx3-ubyte, train-labels-idx1-ubyte, "
                "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or .gz); or prepare it once with TensorFlow "
                "(pip install 'irob[tfds]', then tfds.builder('mnist', file_format='array_record')"
                ".download_and_prepare()); or use --dataset mnist_gen, which needs no files")
        x, y = pair
    return from_bytes(x, y, num_classes=10, name="mnist", count=count)
