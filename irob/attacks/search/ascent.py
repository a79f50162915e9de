"""Projected steepest ascent: the inner loop of PGD, which training shares.

    x_{t+1} = project(x_t + step_size * d_t),   d_t = argmax_{|d| <= 1} d . grad loss(x_t)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from irob.core.check import unknown
from irob.core.threat import ImageThreat
from irob.core.types import value

STARTS = ("zero", "noise", "random")
NOISE = 1e-3


@value("start", "best", "kick")
class AscentPlan:
    """How an ascent goes.

    step_size: in image units.  steps: gradient evaluations; may be traced, where no derivative is taken of the ascent.
    start: "zero" (x), "noise" (x + 0.001 N(0, I)) or "random" (drawn from the threat).
    best: return the iterate of largest score, the start included, instead of the last one.
    kick: where the gradient is exactly 0, step in a fixed random direction instead of standing still.
    """

    step_size: jax.Array | float
    steps: jax.Array | int
    start: str = "zero"
    best: bool = False
    kick: bool = False


def ascend(
    key: jax.Array, loss: Callable, x: jax.Array, threat: ImageThreat, plan: AscentPlan, *,
    direction: Callable | None = None,
) -> jax.Array:
    """Steepest ascent of `loss` in the threat set of one example; vmap it over a batch.

    Args:
        key: typed key of this example.
        loss: x f[H,W,C] -> (f[] to be maximised, score f[] by which the best iterate is chosen).
        x: f[H,W,C] in [0,1], centre of the threat.
        direction: gradient -> step of length 1; the threat's own by default.

    Returns:
        x_adv f[H,W,C], in the threat set.

    >>> from irob import attacks
    >>> ball, plan = attacks.build("pgd").threat.at(1.0), AscentPlan(0.5, steps=4)
    >>> ascend(jax.random.key(0), lambda x: (x[0], x[0]), jnp.zeros(2), ball, plan).tolist()
    [1.0, 0.0]
    """
    if plan.start not in STARTS:
        raise unknown("start", plan.start, STARTS)
    direction = direction or threat.normalise
    begin, stuck = jax.random.split(key)
    if plan.start == "random":
        x0 = threat.sample(begin, x)
    elif plan.start == "noise":
        x0 = threat.project(x, x + NOISE * jax.random.normal(begin, x.shape, x.dtype))
    else:
        x0 = x
    way_out = threat.normalise(jax.random.normal(stuck, x.shape, x.dtype)) if plan.kick else jnp.zeros_like(x)

    def move(x_t, gradient):
        d = direction(gradient)
        if plan.kick:
            d = jnp.where(jnp.any(gradient != 0), d, way_out)
        return threat.project(x, x_t + plan.step_size * d)

    if not plan.best:
        slope = jax.grad(lambda v: loss(v)[0])
        return repeat(plan.steps, lambda _, x_t: move(x_t, slope(x_t)), x0)

    def keep(x_t, score, x_best, score_best):
        better = score > score_best  # False for NaN
        return jnp.where(better, x_t, x_best), jnp.where(better, score, score_best)

    def step(_, carry):
        x_t, *record = carry
        (_, score), gradient = jax.value_and_grad(loss, has_aux=True)(x_t)
        return move(x_t, gradient), *keep(x_t, score, *record)

    x_last, *record = repeat(plan.steps, step, (x0, x0, jnp.asarray(-jnp.inf, x.dtype)))
    return keep(x_last, loss(x_last)[1], *record)[0]


def repeat(steps: jax.Array | int, step: Callable, start):
    """`start` after so many steps (t, carry) -> carry.

    A traced number, also a float, makes one program serve every number of steps; it allows no derivative in reverse.

    >>> repeat(4, lambda t, total: total + t, 0).item()
    6
    """
    return jax.lax.fori_loop(0, steps if isinstance(steps, int) else steps.astype(jnp.int32), step, start)


def odds(logits: jax.Array, y: jax.Array) -> jax.Array:
    """log of Pr[not y] / Pr[y] = logsumexp_{k != y} f_k - f_y; cross entropy is softplus of it.

    >>> f = jnp.array([1.0, 4.0, 2.0])
    >>> bool(jnp.isclose(jax.nn.softplus(odds(f, 1)), -jax.nn.log_softmax(f)[1]))
    True
    """
    others = jnp.where(jnp.arange(logits.shape[-1]) == y, -jnp.inf, logits)
    return jax.nn.logsumexp(others) - logits[y]
