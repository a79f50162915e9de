"""Gratings by a formula: labelled images that need no files, no weights and no random numbers.

    x[h, w] = 1/2 + 1/2 cos(2 pi (3 (u cos a + v sin a) + p)) exp(-4 (u^2 + v^2)),   u, v in [-1/2, 1/2]

with the angle a = pi y / K given by the class y and the phase p by the example.  For smoke tests and examples:
a small network learns it in a few steps.  Not a benchmark.
"""

import numpy as np

from irob.core import check
from irob.core.types import Dataset

COUNT = {"train": 512, "test": 256}
GOLDEN = (5**0.5 - 1) / 2  # multiples modulo 1 spread evenly, however many there are


def build(split: str, *, count: int | None = None, size: int = 28, num_classes: int = 10) -> Dataset:
    """Gratings as a `Dataset`; the classes take turns.

    >>> build("train", count=4, num_classes=3).y.tolist()
    [0, 1, 2, 0]
    """
    count = check.integer("count", COUNT[split] if count is None else count, low=1)
    size = check.integer("size", size, low=2)
    num_classes = check.integer("num_classes", num_classes, low=1)
    index = np.arange(count)
    y = index % num_classes
    phase = (index * GOLDEN + (0.0 if split == "train" else 0.25)) % 1.0
    u = np.linspace(-0.5, 0.5, size)
    angle = np.pi * y / num_classes
    along = np.cos(angle)[:, None, None] * u[None, :, None] + np.sin(angle)[:, None, None] * u[None, None, :]
    window = np.exp(-4 * (u[:, None] ** 2 + u[None, :] ** 2))
    x = 0.5 + 0.5 * np.cos(2 * np.pi * (3 * along + phase[:, None, None])) * window
    return Dataset(x[..., None].astype(np.float32), y.astype(np.int32), None, num_classes, (size, size, 1), "synthetic")
