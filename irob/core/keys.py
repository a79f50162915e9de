"""Random keys: typed, passed first, folded in by step and by example index.

A result then does not depend on batch size, chunk size or number of devices.
"""

import jax
import jax.numpy as jnp

from irob.core.check import InputError, integer

LARGEST_SEED = 2**32 - 1  # beyond it two seeds have one key


def from_seed(seed: int) -> jax.Array:
    """The key of an integer seed; only the doors call this."""
    return jax.random.key(integer("seed", seed, high=LARGEST_SEED))


def require(key) -> jax.Array:
    """Raises `InputError` unless `key` is one typed key, as `jax.random.key(0)` makes it."""
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise InputError(f"key: got {type(key).__name__}, wanted a typed key; make one with jax.random.key(0)")
    return key


def for_examples(key: jax.Array, index: jax.Array) -> jax.Array:
    """One key for each example: fold_in(key, index[i]).  index: i[n] -> keys[n]."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def named(key: jax.Array, name: str) -> jax.Array:
    """A key for a named purpose ("attack", "sample"), the same on every machine."""
    import zlib

    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
