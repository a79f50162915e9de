"""Euclidean projections onto norm balls, and uniform draws from them, for one example of any shape.

Every projection is idempotent, leaves points of the ball alone, and is defined at epsilon = 0.
Shapes: v: f[...], one example; epsilon: f[], at least 0.
"""

import math

import jax
import jax.numpy as jnp

from irob.math.norms import norm, unit


def project(v: jax.Array, epsilon: jax.Array | float, order: str = "l2") -> jax.Array:
    """The point of {|u| <= epsilon} nearest to v in the Euclidean distance.

    l2: v min(1, epsilon / |v|).  linf: clip to [-epsilon, epsilon].  l1: soft threshold (`project_l1`).

    Args:
        v: f[...], one example.
        epsilon: f[], radius, at least 0.
        order: "l1", "l2" or "linf".

    Returns:
        f[...], of norm at most epsilon up to rounding.

    >>> project(jnp.array([3.0, 4.0]), 1.0).round(3).tolist()
    [0.6000000238418579, 0.800000011920929]
    >>> project(jnp.zeros(2), 0.0).tolist()
    [0.0, 0.0]
    """
    if order == "l1":
        return project_l1(v, epsilon)
    if order == "linf":
        return jnp.clip(v, -epsilon, epsilon)
    length = norm(v)
    outside = length > epsilon
    return jnp.where(outside, v * (epsilon / jnp.where(outside, length, 1.0)), v)


def project_l1(v: jax.Array, epsilon: jax.Array | float) -> jax.Array:
    """Exact projection onto the l1 ball: sign(v) max(|v| - theta, 0).

    With a_1 >= a_2 >= ... the sorted |v_i|, theta = (a_1 + ... + a_k - epsilon) / k for the last k at which
    a_k exceeds that quotient; the sort makes it exact in one pass.

    Reference: Duchi et al., 2008, "Efficient projections onto the l1-ball".

    >>> project_l1(jnp.array([2.0, -1.0, 0.5]), 2.0).tolist()
    [1.5, -0.5, 0.0]
    """
    a = jnp.abs(v).ravel()
    a_sorted = jnp.sort(a, descending=True)
    k = jnp.arange(1, a.size + 1)
    thetas = (jnp.cumsum(a_sorted) - epsilon) / k
    # At epsilon = 0 the first quotient equals a_1, no k qualifies, and theta = a_1 sends everything to 0.
    theta = thetas[jnp.maximum(jnp.sum(a_sorted > thetas), 1) - 1]
    shrunk = jnp.sign(v) * jnp.maximum(jnp.abs(v) - theta, 0.0)
    # theta is rounded at the scale of v, which may be far above epsilon: what is left over is scaled away.
    total = jnp.sum(jnp.abs(shrunk))
    shrunk = shrunk * jnp.where(total > epsilon, epsilon / jnp.where(total > 0, total, 1.0), 1.0)
    return jnp.where(jnp.sum(a) > epsilon, shrunk, v)


def project_l1_box(v: jax.Array, epsilon: jax.Array | float, low: jax.Array, high: jax.Array) -> jax.Array:
    """The point of {|u|_1 <= epsilon, low <= u <= high} nearest to v, for low <= 0 <= high.

    u_i = sign(v_i) clip(|v_i| - theta, 0, room_i) with room_i the way to the box's side; theta >= 0 is the smallest
    for which |u|_1 <= epsilon.  |u|_1 falls with theta, so halving brackets finds it; the upper end is inside the ball.

    Args:
        v: f[...], one example.
        epsilon: f[], radius, at least 0.
        low, high: f[...], the box about 0.

    Reference: Croce and Hein, 2021, https://arxiv.org/abs/2103.01208

    >>> near = project_l1_box(jnp.array([2.0, -1.0, 0.5]), 2.0, -jnp.ones(3), jnp.ones(3))
    >>> [round(float(v), 3) for v in near]
    [1.0, -0.75, 0.25]
    """
    a = jnp.abs(v)
    room = jnp.where(v > 0, high, -low)

    def shrunk(theta):
        return jnp.clip(a - theta, 0.0, room)

    def halve(_, bracket):
        below, above = bracket
        middle = 0.5 * (below + above)
        outside = jnp.sum(shrunk(middle)) > epsilon
        return jnp.where(outside, middle, below), jnp.where(outside, above, middle)

    # A float32 has 24 digits: more halvings cannot be seen.
    _, theta = jax.lax.fori_loop(0, 26, halve, (jnp.zeros((), v.dtype), jnp.max(a, initial=0.0)))
    return jnp.sign(v) * jnp.where(jnp.sum(shrunk(0.0)) > epsilon, shrunk(theta), shrunk(0.0))


def sample(key: jax.Array, shape: tuple[int, ...], epsilon: jax.Array | float, order: str = "l2") -> jax.Array:
    """One uniform draw from the ball {|v| <= epsilon}.

    l2: a uniform direction times epsilon U^(1/d).  linf: independent coordinates.
    l1: signed exponentials, divided by the sum of d + 1 of them.

    Reference: Barthe et al., 2005, "A probabilistic approach to the geometry of the l_p^n-ball".

    >>> import jax
    >>> bool(norm(sample(jax.random.key(0), (5,), 2.0, "l1"), "l1") <= 2)
    True
    """
    d = math.prod(shape)
    if order == "linf":
        return epsilon * jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    towards, away = jax.random.split(key)
    if order == "l2":
        return epsilon * jax.random.uniform(away) ** (1.0 / d) * unit(jax.random.normal(towards, shape))
    e = jax.random.exponential(towards, (d + 1,))
    sign = jax.random.rademacher(away, (d,)).astype(e.dtype)
    return epsilon * (sign * e[:d] / jnp.sum(e)).reshape(shape)
