"""Standard normal noise by counter, at a fraction of the cost of a forward pass.

Draw number j of a key is a function of (key, j) alone, so that noise does not depend on how many draws are made at a
time.  Two words of Threefry-2x32 at the counter (j, i) become two normals (Box and Muller, 1958):

    u, v uniform:   sqrt(-2 log u) (cos 2 pi v, sin 2 pi v)

The two top bits of v choose the quadrant, and sine and cosine are polynomials on the quarter turn about 0: that
leaves one logarithm and one root for two normals.  Both words of the cipher are used, where `jax.random` folds them
into one.  u has 24 bits, so that no draw exceeds sqrt(50 log 2) = 5.9; the mass beyond it is 4e-9.

References: Box and Muller (1958); Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3.
"""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import threefry2x32_p

_UNIT = 2.0**-24


def words(key: jax.Array, index: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Two independent streams of uniform 32-bit words, u32[count] each, of draw number `index`."""
    first, second = jax.random.bits(key, (2,))
    draw = jnp.asarray(index, jnp.uint32)
    # The cipher wants both halves of the counter in one shape, under vmap too, and is fast while the key stays scalar.
    shared = jnp.zeros(count, jnp.uint32) + (draw & 0) + (first & 0)
    a, b = threefry2x32_p.bind(first, second, draw + shared, jnp.arange(count, dtype=jnp.uint32) + shared)
    return a, b


def normal(key: jax.Array, index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw number `index` of N(0, I); vmap it over indices.

    Args:
        key: typed key.
        index: i[], at least 0.
        shape: of the draw (static).

    Returns:
        f32[*shape]

    >>> x = jax.vmap(lambda j: normal(jax.random.key(0), j, (50,)))(jnp.arange(200))
    >>> x.shape, bool(abs(x.mean()) < 0.03), bool(abs(x.std() - 1) < 0.02)
    ((200, 50), True, True)
    """
    size = math.prod(shape)
    a, b = words(key, index, (size + 1) // 2)
    radius = jnp.sqrt(-2.0 * jnp.log(((a >> 8).astype(jnp.float32) + 0.5) * _UNIT))
    quadrant = b >> 30
    turn = (jnp.pi / 2) * (((b & 0x3FFFFFFF) >> 6).astype(jnp.float32) * _UNIT - 0.5)
    t = turn * turn
    sine = turn * (1 + t * (-1 / 6 + t * (1 / 120 - t / 5040)))
    cosine = 1 + t * (-1 / 2 + t * (1 / 24 + t * (-1 / 720 + t / 40320)))
    odd = (quadrant & 1) == 1  # a quarter turn: (c, s) -> (-s, c)
    x = _signed(jnp.where(odd, sine, cosine), (quadrant >> 1) ^ (quadrant & 1))
    y = _signed(jnp.where(odd, cosine, sine), quadrant >> 1)
    return jnp.concatenate([radius * x, radius * y])[:size].reshape(shape)


def _signed(v: jax.Array, bit: jax.Array) -> jax.Array:
    """-v where the bit is 1."""
    flipped = jax.lax.bitcast_convert_type(v, jnp.uint32) ^ (bit << 31)
    return jax.lax.bitcast_convert_type(flipped, jnp.float32)
