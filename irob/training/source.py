"""Where a training takes its batches from: arrays in memory or on disk; of generators and mixtures see `proxy`.

A batch depends on the run's key, the epoch and the step alone, so a run that was killed and resumed sees the very
batches of one that was not.  A source holds what it was given and makes one batch at a time.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from irob.core import check
from irob.core.check import InputError
from irob.core.types import Dataset, one_line, value

ORDER = 2**31 - 1  # what an epoch's key is folded with for its order; steps are below it
Examples = Any  # jax.Array within a step, np.ndarray before
Batches = Callable[[int], Any]  # the number of a step to its batch


@value()
class Batch:
    """Examples of one step.

    x: images f[n,H,W,C] in [0,1].  y: labels i[n].  index: i[n], each example's number in its source.  z: codes f[n,d]
    where all of them are known, else None.
    """

    x: Examples
    y: Examples
    index: Examples
    z: Examples | None = None


class Source(abc.ABC):
    """A stream of batches; a user's own says how many there are in an epoch and makes them."""

    num_classes: int = 0
    image_shape: tuple[int, ...] = ()
    name: str = ""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Examples in an epoch."""

    @abc.abstractmethod
    def batches(self, key: jax.Array, epoch: int, size: int) -> Batches:
        """The batches of an epoch: the number of a step to its `size` examples, arrays [size, ...] of the host.

        key: of this epoch.  epoch: its number, from 0.  A mixture may ask for more steps than an epoch has.
        """

    def steps(self, size: int) -> int:
        """Whole batches of `size` in an epoch; what is left over waits for another order."""
        return len(self) // size

    def refuse(self, size: int) -> InputError:
        """The error for a batch size that leaves no step in an epoch."""
        return InputError(f"batch size: got {size}, wanted at most the {len(self)} examples of the data set")


@dataclasses.dataclass(frozen=True, eq=False)
class Rows(Source):
    """A pytree of host arrays [n, ...], each epoch in an order of its own; the last partial batch is left out."""

    tree: Any

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.tree)[0])

    def batches(self, key: jax.Array, epoch: int, size: int) -> Batches:
        """Rows in the epoch's order."""
        order = _order(key, len(self), size)
        return lambda step: jax.tree.map(lambda a: a[order(step)], self.tree)


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays(Source):
    """Labelled images, each epoch in an order of its own; the last partial batch is left out.

    Args:
        x: f[n,H,W,C] in [0,1]; may be a memory map, of which only the rows of a batch are read.
        y: i[n].
        z: codes f[n,d], or None.
        num_classes: by default the largest label + 1.
        name: of the data set.

    Raises:
        InputError: pixels outside [0,1], labels that are no whole numbers in [0, num_classes), unequal lengths.

    >>> source = Arrays(np.zeros((5, 2, 2, 1), np.float32), np.array([0, 1, 2, 0, 1]))
    >>> batch = source.batches(jax.random.key(0), 0, 2)(1)
    >>> source.steps(2), batch.x.shape, bool((source.y[batch.index] == batch.y).all())
    (2, (2, 2, 2, 1), True)
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray | None = None
    num_classes: int = 0
    name: str = ""

    def __post_init__(self):
        check.images(self.x, self.y, num_classes=self.num_classes or None)
        if self.z is not None and len(self.z) != len(self.y):
            raise InputError(f"codes z: got {len(self.z)}, wanted one for each of {len(self.y)} images")
        object.__setattr__(self, "num_classes", self.num_classes or int(np.max(self.y, initial=0)) + 1)
        object.__setattr__(self, "image_shape", tuple(self.x.shape[1:]))

    __repr__ = one_line

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, key: jax.Array, epoch: int, size: int) -> Batches:
        """Examples in the epoch's order."""
        order = _order(key, len(self), size)

        def batch(step: int) -> Batch:
            rows = order(step)
            z = None if self.z is None else self.z[rows]
            return Batch(self.x[rows], self.y[rows], rows.astype(np.int32), z)

        return batch


def of(data: Dataset | Source) -> Source:
    """A data set as a source; a source as it is."""
    if isinstance(data, Source):
        return data
    return Arrays(data.x, data.y, data.z, data.num_classes, data.name)


def _order(key: jax.Array, n: int, size: int) -> Callable[[int], np.ndarray]:
    """The number of a step to its rows of range(n): a permutation, and after a whole pass another one."""
    passes: dict[int, np.ndarray] = {}
    count = max(1, n // size)

    def rows(step: int) -> np.ndarray:
        number, i = divmod(step, count)
        if number not in passes:
            passes.clear()
            within = key if number == 0 else jax.random.fold_in(key, ORDER - number)
            passes[number] = np.asarray(jax.random.permutation(jax.random.fold_in(within, ORDER), n))
        return passes[number][i * size : (i + 1) * size]

    return rows
