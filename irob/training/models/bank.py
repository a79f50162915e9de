"""Images of a generator, drawn once into a bank of 8-bit pixels that a training goes through many times.

Drawing costs more than a step of a small network; a bank on disk is read back by a run that goes on.  What is
certified afterwards is measured on fresh images elsewhere.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import batch, keys, latents
from irob.core.compile import jit
from irob.core.types import Generator

CHUNK = 1000


def bank(key: jax.Array, generator: Generator, count: int, probabilities, *, label: str = "") -> np.ndarray:
    """Images u8[count, pixels] of fresh codes, components drawn with the given probabilities f[K]."""
    latents.require(generator.latent)
    p, generator = jnp.asarray(probabilities, jnp.float32), jax.device_put(generator)
    return batch.stream(lambda index, _: _pixels(generator, p, keys.for_examples(key, index)),
                        np.empty(count, np.bool_), chunk=CHUNK, label=label)


def labels(key: jax.Array, count: int, probabilities) -> np.ndarray:
    """The components i[count] of the bank that `bank` draws with the same key and probabilities."""
    p = jnp.asarray(probabilities, jnp.float32)
    return np.asarray(_labels(p, keys.for_examples(key, jnp.arange(count))))


def kept(path: pathlib.Path, key, generator: Generator, count: int, probabilities, label: str) -> np.ndarray:
    """The bank of this file, drawn and written if it is not there."""
    if path.is_file():
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.shape == (count, int(np.prod(generator.image_shape))):
            return found
    drawn = bank(key, generator, count, probabilities, label=f"{label}, {path.stem}")
    temporary = path.with_suffix(".part.npy")
    np.save(temporary, drawn)
    temporary.replace(path)
    return drawn


def _label(p: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(the key of one image's code, its label)."""
    code, label = jax.random.split(key)
    return code, jax.random.choice(label, len(p), p=p)


@jit
def _labels(p: jax.Array, each: jax.Array) -> jax.Array:
    return jax.vmap(lambda k: _label(p, k)[1])(each)


@jit
def _pixels(generator: Generator, p: jax.Array, each: jax.Array) -> jax.Array:
    """One image u8[pixels] for each key."""

    def one(key):
        code, label = _label(p, key)
        x = generator(jax.random.normal(code, (generator.latent_dim,)), label)
        return jnp.round(jnp.clip(x.ravel(), 0, 1) * 255).astype(jnp.uint8)

    return jax.vmap(one)(each)
