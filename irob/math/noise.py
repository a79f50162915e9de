"""Standard normal noise by counter, at a fraction of the cost of a forward pass.

Draw number j of a seed is a function of (seed, j) alone, so that noise does not depend on how many draws are made at a
time.  Two words of Threefry-2x32 at the counter (j, i) become two normals (Box and Muller, 1958):

    u, v uniform:   sqrt(-2 log u) (cos 2 pi v, sin 2 pi v)

The two top bits of v choose the quadrant, and sine and cosine are polynomials on the quarter turn about 0: that
leaves one logarithm and one root for two normals.  Both words of the cipher are used, where `jax.random` folds them
into one, and its rounds are written out, where JAX has a loop on the CPU: XLA then makes few passes of cipher and
normals, in 60 % of the time.  u has 24 bits, so that no draw exceeds sqrt(50 log 2) = 5.9; the mass beyond it is 4e-9.

References: Box and Muller (1958); Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3.
"""

import math

import jax
import jax.numpy as jnp

_UNIT = 2.0**-24
_TURNS = ((13, 15, 26, 6), (17, 29, 16, 24))  # of Threefry-2x32, by Salmon et al.
_PARITY = 0x1BD11BDA


def seed(key: jax.Array) -> jax.Array:
    """The cipher's key u32[2] of a typed key, to be made once and outside of loops."""
    return jax.random.bits(key, (2,))


def words(seed: jax.Array, index: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Two independent streams of uniform 32-bit words, u32[count] each, of draw number `index`."""
    return threefry(seed[0], seed[1], jnp.asarray(index, jnp.uint32), jnp.arange(count, dtype=jnp.uint32))


def threefry(k, m, x, y) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds: the words of counter (x, y) under key (k, m), all u32 of shapes that broadcast.

    Round: x <- x + y, y <- x ^ (y turned left); after every four the next two of the three words of the key are added.

    >>> [hex(word) for word in threefry(*jnp.array([0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3], jnp.uint32))]
    ['0xc4923a9c', '0x483df7a0']
    """
    schedule = (k, m, k ^ m ^ _PARITY)
    x, y = x + k, y + m
    for i in range(5):
        for turn in _TURNS[i % 2]:
            x = x + y
            y = x ^ ((y << turn) | (y >> (32 - turn)))
        x, y = x + schedule[(i + 1) % 3], y + schedule[(i + 2) % 3] + jnp.uint32(i + 1)
    return x, y


def normal(seed: jax.Array, index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw number `index` of N(0, I); vmap it over indices.

    Args:
        seed: from `seed`.
        index: i[], at least 0.
        shape: of the draw (static).

    Returns:
        f32[*shape]

    >>> x = jax.vmap(lambda j: normal(seed(jax.random.key(0)), j, (50,)))(jnp.arange(200))
    >>> x.shape, bool(abs(x.mean()) < 0.03), bool(abs(x.std() - 1) < 0.02)
    ((200, 50), True, True)
    """
    size = math.prod(shape)
    a, b = words(seed, index, (size + 1) // 2)
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
