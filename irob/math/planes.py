"""The shortest step from a point of a box onto a hyperplane, within the box, in l1, l2 or linf.

    min |d|   subject to   w . d = gap,   low <= x + d <= high

Turn the signs so that gap >= 0.  Then every coordinate moves the way of its w_i, by at most room_i (its distance from
the face there), and gains |w_i| times its way.

l2, linf: d_i = min(lambda v_i, room_i) with v = |w| or v = 1, lambda the multiplier of the plane.  The gain
phi(lambda) = sum |w_i| min(lambda v_i, room_i) is concave and piecewise linear, so Newton's method from 0 meets
phi = gap from the left, never overshoots, and ends exactly on the piece that holds the root: where a bisection needs
some 50 halvings of a bracket, it takes about 5 steps.
l1: the coordinates of largest |w_i| go first and all the way (a fractional knapsack), which a sort solves.

If even the corner of the box does not reach the plane, the step goes to that corner, the nearest that there is.

Reference: Croce and Hein, 2020, https://arxiv.org/abs/1907.02044
"""

import jax
import jax.numpy as jnp

STEPS = 50  # far more than the multiplier takes; a guard against rounding that never settles


def step_onto(
    x: jax.Array,
    w: jax.Array,
    gap: jax.Array | float,
    bounds: tuple[float, float] = (0.0, 1.0),
    order: str = "l2",
) -> jax.Array:
    """The shortest d with w . d = gap and x + d in the box; towards the plane as far as the box allows.

    Args:
        x: f[...] in the box, one example.
        w: f[...], the plane's normal, of any scale; where it is 0 everywhere d is 0.
        gap: f[], of either sign.
        bounds: of the box.
        order: "l1", "l2" or "linf".

    Returns:
        d: f[...].

    >>> import numpy as np
    >>> np.allclose(step_onto(jnp.array([0.5, 0.5]), jnp.array([3.0, 4.0]), 1.0), [0.12, 0.16])
    True
    >>> np.allclose(step_onto(jnp.array([0.5, 0.9]), jnp.array([1.0, 1.0]), 0.3, order="linf"), [0.2, 0.1])
    True
    >>> step_onto(jnp.array([0.5, 0.5]), jnp.array([1.0, 2.0]), -9.0, order="l1").tolist()
    [-0.5, -0.5]
    """
    scale = jnp.max(jnp.abs(w))
    scale = jnp.where(scale == 0, 1.0, scale)
    w, gap = w / scale, gap / scale
    way = jnp.sign(w) * jnp.where(gap < 0, -1.0, 1.0)
    gap = jnp.abs(gap)
    low, high = bounds
    room = jnp.where(way > 0, high - x, jnp.where(way < 0, x - low, 0.0))
    room = jnp.maximum(room, 0.0)
    return way * (_knapsack if order == "l1" else _multiplier)(jnp.abs(w), room, gap, order)


def _multiplier(w: jax.Array, room: jax.Array, gap: jax.Array, order: str) -> jax.Array:
    """min(lambda v, room) of gain `gap`; w, room, gap >= 0."""
    v = w if order == "l2" else jnp.ones_like(w)

    def newton(carry):
        multiplier, count, _ = carry
        free = multiplier * v < room
        slope = jnp.sum(jnp.where(free, w * v, 0.0))
        left = gap - jnp.sum(w * jnp.minimum(multiplier * v, room))
        onwards = jnp.where(slope > 0, left / jnp.where(slope > 0, slope, 1.0), 0.0)
        following = multiplier + jnp.maximum(onwards, 0.0)
        return following, count + 1, following > multiplier * (1 + 1e-7)

    start = (jnp.zeros_like(gap), jnp.asarray(0), gap > 0)
    multiplier, *_ = jax.lax.while_loop(lambda c: c[2] & (c[1] < STEPS), newton, start)
    return jnp.minimum(multiplier * v, room)


def _knapsack(w: jax.Array, room: jax.Array, gap: jax.Array, order: str) -> jax.Array:
    """The cheapest way to gain `gap`: the largest w first; w, room, gap >= 0."""
    flat_w, flat_room = w.ravel(), room.ravel()
    largest_first = jnp.argsort(flat_w, descending=True)
    gains = (flat_w * flat_room)[largest_first]
    before = jnp.cumsum(gains) - gains
    share = jnp.clip((gap - before) / jnp.where(gains > 0, gains, 1.0), 0.0, 1.0)
    return jnp.zeros_like(flat_w).at[largest_first].set(share * flat_room[largest_first]).reshape(w.shape)
