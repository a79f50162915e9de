"""Where an activation may lie, and how far a linear functional falls there.

    R = { centre + d : -down <= d <= up, |d|_p <= epsilon },        fall(a) = max over R of -a d

An lp ball about an image is cut by the box of images: a black pixel only grows lighter.  In l2 the fall is a knapsack;
for every multiplier m >= 0 weak duality gives, with c the cap of d against the sign of a,

    fall(a) <= sum_i max over 0 <= t <= c_i of (|a_i| t - m t^2 / 2) + m epsilon^2 / 2,

with equality at the right m; at m = |a| / epsilon and without caps it is epsilon |a|.  Any m gives a bound, so that
rounding of m costs nothing; t is counted in units of epsilon, so that no square vanishes.  In l1 likewise

    fall(a) <= sum_i c_i max(|a_i| - m, 0) + m epsilon.
"""

import jax
import jax.numpy as jnp

from irob.certify.proof.functionals import Rows, windows
from irob.core.threat import Threat
from irob.core.types import value
from irob.math import rounding
from irob.math.rounding import UNIT

ROUNDS = 3  # steps to the multiplier in l2, from below in the fall that they save
HALVINGS = 12  # in l1
TINY = 1e-30


@value("norm")
class Region:
    """norm: "l1", "l2", or "linf", where the caps say all.  centre, down, up: f[*shape].  epsilon: f[]."""

    norm: str
    centre: jax.Array
    down: jax.Array
    up: jax.Array
    epsilon: jax.Array


def ball(threat: Threat, x: jax.Array) -> Region:
    """The threat set about x, rounded outwards; no radius is longer than the box."""
    low, high = threat.bounds
    epsilon = jnp.minimum(jnp.asarray(threat.strength, x.dtype), 2.0 * x.size * (high - low)) * (1 + 4 * UNIT) + TINY
    edge = 4 * UNIT * (jnp.abs(x) + max(abs(low), abs(high)))
    down, up = (jnp.clip(d + edge, 0, epsilon) for d in (x - low, high - x))
    return Region(threat.norm, x, down, up, epsilon)


def box(low: jax.Array, high: jax.Array) -> Region:
    """All activations between two, rounded outwards."""
    half = jnp.maximum(high - low, 0) / 2 + 2 * UNIT * (jnp.abs(low) + jnp.abs(high)) + TINY
    return Region("linf", (low + high) / 2, half, half, jnp.asarray(jnp.inf))


def spread(rows: Rows, v: jax.Array) -> jax.Array:
    """v of the rows' shape, laid out to be multiplied with rows.a; 0 outside of the image."""
    return v if rows.window is None else windows(v, rows.window, (rows.a.shape[3], rows.a.shape[4]))[:, :, None]


def total(rows: Rows, terms: jax.Array, reduce=None) -> jax.Array:
    """Terms laid out as rows.a, summed or reduced for every functional: f[r], with the axes of rows.a."""
    front = 1 if rows.window is None else 3
    if reduce is not None:
        return reduce(terms, axis=tuple(range(front, terms.ndim)), keepdims=True)
    found = rounding.total(terms, terms.shape[front:])
    return found.reshape(*found.shape, *(1,) * (terms.ndim - front))


def fall(rows: Rows, region: Region) -> tuple[jax.Array, jax.Array]:
    """(an upper bound of the fall of every functional f[r], at least 0; the size of its terms)."""
    caps = jnp.where(rows.a > 0, spread(rows, region.down), spread(rows, region.up))
    size = jnp.abs(rows.a)
    if region.norm == "linf":
        found = total(rows, size * caps).reshape(-1)
        return found, found
    live = jnp.where(caps > 0, jax.lax.stop_gradient(size), 0.0)
    epsilon = region.epsilon
    if region.norm == "l1":
        top = total(rows, live, jnp.max)

        def halve(_, ends):
            middle = (ends[0] + ends[1]) / 2
            over = total(rows, jnp.where(live > middle, caps, 0.0)) > epsilon
            return jnp.where(over, middle, ends[0]), jnp.where(over, ends[1], middle)

        _, high = jax.lax.fori_loop(0, HALVINGS, halve, (jnp.zeros_like(top), top))
        # At the top the sum is empty: the largest coefficient takes all, which is exact if its cap lets it.
        plain = epsilon * total(rows, jnp.where(caps > 0, size, 0.0), jnp.max)
        found = jnp.minimum(total(rows, caps * jax.nn.relu(size - high)) + epsilon * high, plain).reshape(-1)
        return found, found
    # The largest entry is taken out, so that squares neither overflow nor vanish.
    unit = jnp.maximum(total(rows, live, jnp.max), TINY)
    live, caps = live / unit, caps / epsilon
    m = jnp.sqrt(total(rows, live**2))
    for _ in range(ROUNDS):
        full = live >= m * caps
        left = 1 - total(rows, jnp.where(full, caps**2, 0.0))
        better = jnp.sqrt(total(rows, jnp.where(full, 0.0, live**2)) / jnp.maximum(left, TINY))
        m = jnp.where((left > 0) & (better < m), better, m)
    m = jax.lax.stop_gradient(jnp.maximum(m, TINY))
    t = jnp.minimum(live / m, caps)
    gained, paid = total(rows, size * t), unit * m / 2
    square = total(rows, t**2)
    found, size = ((epsilon * (gained + paid * v)).reshape(-1) for v in (1 - square, 1 + square))
    return found, size
