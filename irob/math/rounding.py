"""What a float32 sum of products may lose, proved for any order of summation.

One operation:  fl(x y) = x y (1 + d) + e,  |d| <= u = 2^-24,  |e| <= 2^-126 (1 + |x| + |y|),

where e is what a processor loses that takes numbers below 2^-126 for 0.  Of n products, in whatever order they are
summed and with or without fused multiplication and addition, the sum errs by at most

    gamma_n sum (|x| + t) (|y| + t) + gamma_n n t,    gamma_n = n u / (1 - n u),  t = 2^-100 > 2^-126 / u.

The bound grows with n, and is nearly met: of equal signs the roundings of a long sum go one way.  So long sums that
are ours are taken axis by axis, which leaves the sum of the sides for their product.  Those of the classifier itself
are XLA's, in an order that nobody promises: for them n is the fan-in.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapters 3 and 4.
"""

import math

import jax
import jax.numpy as jnp

UNIT = 2.0**-24
TINY = 2.0**-100
LARGEST = 2.0**120  # what is larger counts as overflow
MOST = 2**22  # terms of one sum
LONG = 4096  # terms; longer sums are taken axis by axis


def allowance(n: int) -> float:
    """gamma_n, and what the sum of sizes, a float32 sum of n terms itself, may fall short by: 1.02 n u / (1 - 2 n u).

    Infinite, hence of no use, for sums of more than 4 million terms.

    >>> f"{allowance(1000):.2e}"
    '6.08e-05'
    """
    return 1.02 * n * UNIT / (1 - 2 * n * UNIT) if n <= MOST else math.inf


def roundings(shape: tuple[int, ...]) -> int:
    """How many roundings one term meets in `total` over the shape.

    >>> roundings((28, 28, 1)), roundings((224, 224, 3)), roundings((65536,))
    (784, 451, 512)
    """
    n = math.prod(shape)
    return n if n <= LONG else sum(_sides(shape))


def total(terms: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The sum over the last axes, which are `shape`: f[..., *shape] -> f[...].

    >>> float(total(jnp.full((2, 65536), 0.5), (65536,))[0])
    32768.0
    """
    front = terms.ndim - len(shape)
    if math.prod(shape) <= LONG:
        return jnp.sum(terms, axis=tuple(range(front, terms.ndim)))
    sides = _sides(shape)
    flat = terms.reshape(*terms.shape[:front], -1)
    flat = jnp.pad(flat, [(0, 0)] * front + [(0, math.prod(sides) - flat.shape[-1])])
    terms = flat.reshape(*terms.shape[:front], *sides)
    for _ in sides:
        # The barrier keeps XLA from joining the sums again.
        terms = jax.lax.optimization_barrier(jnp.sum(terms, axis=-1))
    return terms


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a long sum; one alone is cut into a square."""
    shape = tuple(s for s in shape if s > 1)
    if len(shape) > 1:
        return shape
    side = math.isqrt(math.prod(shape) - 1) + 1
    return side, side
