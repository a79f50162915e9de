"""Where an activation may lie, and how far a linear functional falls there.

    R = { centre + d : -down <= d <= up, |d|_p <= epsilon },        fall(a) = max over R of -a d

An lp ball about an image is cut by the box of images: a black pixel only grows lighter.  In l2 the fall is a knapsack;
for every multiplier m >= 0 weak duality gives, with c the cap of d against the sign of a,

    fall(a) <= sum_i max over 0 <= t <= c_i of (|a_i| t - m t^2 / 2) + m epsilon^2 / 2,

with equality at the right m; at m = |a| / epsilon and without caps it is epsilon |a|.  In l1 likewise

    fall(a) <= sum_i c_i max(|a_i| - m, 0) + m epsilon.
"""

import jax
import jax.numpy as jnp

from irob.certify._rows import Rows, windows
from irob.core.threat import LpBall
from irob.core.types import value

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


def ball(threat: LpBall, x: jax.Array) -> Region:
    """The threat set about x."""
    low, high = threat.bounds
    epsilon = jnp.asarray(threat.epsilon, x.dtype)
    down, up = (jnp.clip(d, 0, epsilon) for d in (x - low, high - x))
    return Region(threat.norm, x, down, up, epsilon)


def box(low: jax.Array, high: jax.Array) -> Region:
    """All activations between two."""
    half = jnp.maximum(high - low, 0) / 2
    return Region("linf", (low + high) / 2, half, half, jnp.inf)


def spread(rows: Rows, v: jax.Array) -> jax.Array:
    """v of the rows' shape, laid out to be multiplied with rows.a; 0 outside of the image."""
    return v if rows.window is None else windows(v, rows.window, rows.a.shape[3:5])[:, :, None]


def total(rows: Rows, terms: jax.Array, reduce=jnp.sum) -> jax.Array:
    """Terms laid out as rows.a, summed for every functional: f[r]."""
    return reduce(terms, axis=tuple(range(1 if rows.window is None else 3, terms.ndim)), keepdims=True)


def fall(rows: Rows, region: Region) -> jax.Array:
    """An upper bound of the fall of every functional, f[r], at least 0."""
    caps = jnp.where(rows.a > 0, spread(rows, region.down), spread(rows, region.up))
    size = jnp.abs(rows.a)
    if region.norm == "linf":
        return total(rows, size * caps).reshape(-1)
    live = jnp.where(caps > 0, jax.lax.stop_gradient(size), 0.0)
    epsilon = region.epsilon
    if region.norm == "l1":
        top = total(rows, live, jnp.max)
        low, high = jnp.zeros_like(top), top
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            over = total(rows, jnp.where(live > middle, caps, 0.0)) > epsilon
            low, high = jnp.where(over, middle, low), jnp.where(over, high, middle)
        # At the top the sum is empty: the largest coefficient takes all, which is exact if its cap lets it.
        plain = epsilon * total(rows, jnp.where(caps > 0, size, 0.0), jnp.max)
        return jnp.minimum(total(rows, caps * jax.nn.relu(size - high)) + epsilon * high, plain).reshape(-1)
    # The largest entry is taken out, so that squares neither overflow nor vanish.
    unit = jnp.maximum(total(rows, live, jnp.max), TINY)
    live = live / unit
    m = jnp.sqrt(total(rows, live**2)) / jnp.maximum(epsilon, TINY)
    for _ in range(ROUNDS):
        full = live >= m * caps
        left = epsilon**2 - total(rows, jnp.where(full, caps**2, 0.0))
        better = jnp.sqrt(total(rows, jnp.where(full, 0.0, live**2)) / jnp.maximum(left, TINY))
        m = jnp.where((left > 0) & (better < m), better, m)
    m = jax.lax.stop_gradient(jnp.maximum(m, TINY))
    t = jnp.minimum(live / m, caps)
    falls = total(rows, size * t) - unit * (total(rows, m * t**2) - m * epsilon**2) / 2
    return falls.reshape(-1)
