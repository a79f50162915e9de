"""Labelled images from a generator: the law sum_i p_i (g_i)_* N(0, I_d) with equal p_i of its components.

Components, which are the labels unless the generator has more, are drawn independently and uniformly, as the published
data were, so each has about n/K images and exact binomial intervals hold.  Components and codes are the same on every
machine for the same seed: they start as integers of a counter-based generator with a fixed algorithm, become normal in
float64 (float32 libraries differ in the last bits of log and erfinv between CPU and GPU), and are rounded to multiples
of 2^-16, which swallows what float64 libraries differ in (about 2^-52; the chance that one of seven million codes falls
on an edge is below 0.1 %).  Images agree to about 1e-5: float32 sums depend on their order.
"""

import jax
import numpy as np
from scipy.special import ndtri

from irob.core import batch, check, drawing, keys, latents, memory, registry
from irob.core.check import InputError, unknown
from irob.core.compile import jit
from irob.core.types import Dataset, Generator

STREAMS = {"train": 0, "test": 1}
GRID = 2.0**16
BLOCK = 10_000  # examples whose integers are drawn at once


@jit
def _integers(key: jax.Array, index: jax.Array, shape: jax.Array) -> jax.Array:
    """One label integer and d code integers for each example; `shape` only carries d."""
    return jax.vmap(lambda k: jax.random.bits(k, (1 + len(shape),), np.uint32))(keys.for_examples(key, index))


def stream(seed: int, split: str) -> jax.Array:
    """The key of a split's labels and codes.  Its algorithm is named: jax_default_prng_impl does not change data."""
    if split not in STREAMS:
        raise unknown("split", split, STREAMS)
    seed = check.integer("seed", seed, high=keys.LARGEST_SEED)
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), STREAMS[split])


def codes(
    key: jax.Array, count: int, latent_dim: int, components: int, *, start: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Latent codes f[n,d] ~ N(0, I) and components i[n] uniform, the examples start to start + n of a key's stream.

    An example depends on the key and its own index alone, so a longer set begins with a shorter one.

    >>> z, y = codes(stream(0, "test"), 3, latent_dim=2, components=10)
    >>> z.shape, bool((codes(stream(0, "test"), 2, 2, 10, start=1)[0] == z[1:]).all())
    ((3, 2), True)
    """
    keys.require(key)
    count = check.integer("count", count, low=1)
    z, y = np.empty((count, latent_dim), np.float32), np.empty(count, np.int32)
    for s in batch.slices(count, BLOCK):
        bits = batch.stream(lambda index, _: _integers(key, index, np.zeros(latent_dim, bool)),
                            np.empty(s.stop - s.start, bool), chunk=BLOCK, start=start + s.start)
        y[s] = bits[:, 0] % max(1, components)
        z[s] = np.rint(ndtri((bits[:, 1:] + 0.5) / 2.0**32) * GRID) / GRID
    return z, y


def images(
    generator: Generator, z: np.ndarray, y: np.ndarray, *, chunk: int | None = None, label: str = ""
) -> np.ndarray:
    """Images f[n,H,W,C] of codes f[n,d] and components i[n], `chunk` at a time, in float32 products everywhere.

    chunk: default 1000, or what the memory holds.
    """
    latents.require(generator.latent)
    x = drawing.images(generator, z, y, chunk=chunk, label=label)
    check.images(x)
    return x


def by_class(x: np.ndarray, y: np.ndarray, num_classes: int, rows: int) -> np.ndarray:
    """Figure 1's arrangement f[r,K,H,W,C]: a column for each class, r <= rows full rows (possibly none).

    >>> by_class(np.arange(5), np.array([0, 1, 0, 1, 1]), 2, rows=10).tolist()
    [[0, 1], [2, 3]]
    """
    columns = [np.flatnonzero(y == c)[:rows] for c in range(num_classes)]
    full = min(len(c) for c in columns)
    return np.stack([x[c[:full]] for c in columns], axis=1)


def dataset(
    generator: Generator, split: str, count: int, *, seed: int = 0, chunk: int | None = None, name: str = ""
) -> Dataset:
    """`count` labelled images of a generator, with their codes; without where a label does not say which component."""
    z, y = codes(stream(seed, split), count, generator.latent_dim, generator.components)
    chunk = memory.fitting(generator, min(1000, count)) if chunk is None else chunk
    x = images(generator, z, y, chunk=chunk, label=f"{name or 'generated'} {split}" if count > chunk else "")
    return labelled(generator, x, y, z, name)


def labelled(generator: Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray, name: str) -> Dataset:
    """Images of codes f[n,d] and components i[n] as a data set of labels."""
    known = None if generator.label_of else z
    return Dataset(x, generator.labels(y), known, max(1, generator.num_classes), tuple(x.shape[1:]), name)


def loaded(
    generator: Generator | str | None, name: str, *, shape: tuple[int, ...], how: str, classes: int = 10, narrow=None
) -> Generator:
    """The generator of a data set, by value, shipped name or folder; narrow: to the data set's classes and size.

    Raises:
        InputError: none was given, or it draws other classes or images.
    """
    if generator is None:
        raise InputError(f"data set {name!r}: got no generator, and none is shipped; {how}")
    g = generator if isinstance(generator, Generator) else registry.room("generators").load(generator)
    g = narrow(g) if narrow else g
    if (g.num_classes, g.image_shape) != (classes, shape):
        raise InputError(f"data set {name!r}: got a generator of {g.num_classes} classes and images "
                         f"{g.image_shape}, wanted {classes} and {shape}; {how}")
    return g
