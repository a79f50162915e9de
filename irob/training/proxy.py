"""Batches from a proxy for the data: images that a generator draws in passing, and mixtures of real ones with those."""

import dataclasses

import jax
import numpy as np

from irob.core import check, keys
from irob.core.check import InputError
from irob.core.types import Generator
from irob.data import generated
from irob.training.source import Batch, Batches, Source


@dataclasses.dataclass(frozen=True, eq=False)
class Generated(Source):
    """Fresh images of a generator in every step of every epoch; none is ever kept.

    Args:
        key: typed key of codes and labels; example i of epoch e depends on (key, e, i) alone.
        generator: its components are drawn alike often.
        count: images that make an epoch.

    >>> g = Generator((), lambda _, z, y: jax.nn.sigmoid(z).reshape(1, 1, 2), 2, 3, (1, 1, 2))
    >>> batch = Generated(jax.random.key(0), g, 8).batches(jax.random.key(1), 0, 4)(1)
    >>> batch.x.shape, batch.index.tolist()
    ((4, 1, 1, 2), [4, 5, 6, 7])

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
            z, y = generated.codes(stream, size, g.latent_dim, g.components, start=start)
            data = generated.labelled(g, generated.images(g, z, y), y, z, self.name)
            return Batch(data.x, data.y, np.arange(start, start + size, dtype=np.int32), data.z)

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

    >>> from irob.training.source import Arrays
    >>> real, proxy = (Arrays(np.zeros((n, 2, 2, 1), np.float32), np.arange(n) % 3) for n in (6, 30))
    >>> mixture = Mixture(real, proxy, 0.5)
    >>> mixture.steps(4), (mixture.batches(jax.random.key(0), 0, 4)(2).index >= 6).tolist()
    (3, [False, False, True, True])

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
