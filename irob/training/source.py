"""Where a training takes its batches from: arrays in memory or on disk, a mixture of two sources, a generator.

A batch depends on the run's key, the epoch and the step alone, so a run that was killed and resumed sees the very
batches of one that was not.  A source holds what it was given and makes one batch at a time.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from irob.core import check, keys
from irob.core.check import InputError
from irob.core.types import Dataset, Generator, value
from irob.data import generated

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


@dataclasses.dataclass(frozen=True, eq=False)
class Generated(Source):
    """Fresh images of a generator in every step of every epoch; none is ever kept.

    Args:
        key: typed key of codes and labels; example i of epoch e depends on (key, e, i) alone.
        generator: with normal codes; labels are uniform over its classes.
        count: images that make an epoch.

    Reference: training on generated images, Gowal et al., 2021, https://arxiv.org/abs/2110.09468
    """

    key: jax.Array
    generator: Generator
    count: int = 60_000
    name: str = "generated"

    def __post_init__(self):
        keys.require(self.key)
        check.integer("count", self.count, low=1)
        object.__setattr__(self, "num_classes", max(1, self.generator.num_classes))
        object.__setattr__(self, "image_shape", tuple(self.generator.image_shape))

    def __len__(self) -> int:
        return self.count

    def batches(self, key: jax.Array, epoch: int, size: int) -> Batches:
        """Examples of the epoch's own stream in turn; they are random already, so `key` orders nothing."""
        stream, g = jax.random.fold_in(self.key, epoch), self.generator

        def batch(step: int) -> Batch:
            start = step * size
            z, y = generated.codes(stream, size, g.latent_dim, g.num_classes, start=start)
            return Batch(generated.images(g, z, y), y, np.arange(start, start + size, dtype=np.int32), z)

        return batch


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture(Source):
    """Batches of which one part is real and the rest a proxy for the same distribution.

    Args:
        real: an epoch is one pass over it.
        proxy: as many as go with that; its passes go on within an epoch where it has fewer, each in a new order.
        share: of a batch that is real, in (0, 1); its examples come first.

    The number (`index`) of a proxy's example comes after those of the real ones.

    Raises:
        InputError: sources of other classes or image shapes, a share that leaves a part of the batch empty.

    Reference: Sehwag et al., 2022 (proxy distributions), https://arxiv.org/abs/2104.09425
    """

    real: Source
    proxy: Source
    share: float = 0.5
    name: str = ""

    def __post_init__(self):
        check.number("share", self.share, low=0, high=1, open_low=True)
        got, wanted = ((s.num_classes, s.image_shape) for s in (self.proxy, self.real))
        if got != wanted:
            raise InputError(f"mixture: got a proxy of {got[0]} classes and images {got[1]}, "
                             f"wanted {wanted[0]} and {wanted[1]} as in the real data")
        object.__setattr__(self, "num_classes", self.real.num_classes)
        object.__setattr__(self, "image_shape", self.real.image_shape)
        object.__setattr__(self, "name", self.name or self.real.name)

    def __len__(self) -> int:
        return round(len(self.real) / self.share)

    def parts(self, size: int) -> tuple[int, int]:
        """Real and proxy examples in a batch of `size`."""
        first = round(self.share * size)
        if not 0 < first < size:
            raise InputError(f"share: got {self.share:g} of a batch of {size}, wanted an example of each part or more")
        return first, size - first

    def steps(self, size: int) -> int:
        """Batches in one pass over the real source; none where either source is smaller than its part."""
        first, second = self.parts(size)
        return self.real.steps(first) if self.proxy.steps(second) else 0

    def refuse(self, size: int) -> InputError:
        """The error for a batch of which one source cannot fill its part."""
        parts = f"{len(self.real)} real examples and {len(self.proxy)} of the proxy"
        return InputError(f"batch size: got {size}, {self.share:g} of it real, wanted one that {parts} can fill")

    def batches(self, key: jax.Array, epoch: int, size: int) -> Batches:
        """The two sources' batches, joined."""
        first, second = self.parts(size)
        real = self.real.batches(key, epoch, first)
        proxy = self.proxy.batches(keys.named(key, "proxy"), epoch, second)

        def batch(step: int) -> Batch:
            a, b = real(step), proxy(step)
            z = None if a.z is None or b.z is None else np.concatenate([a.z, b.z])
            return Batch(np.concatenate([a.x, b.x]), np.concatenate([a.y, b.y]),
                         np.concatenate([a.index, b.index + len(self.real)]), z)

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
