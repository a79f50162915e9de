"""Free slopes, by gradient ascent: every choice is sound, so the best one that was seen is a bound.

Adam with a rate of 0.1, clipped to [0, 1], for every class on its own; if asked, through the bounds of hidden units
too.
"""

import functools

import jax
import jax.numpy as jnp

from irob.certify.proof import backward, envelope, roundoff
from irob.certify.proof.envelope import CURVED
from irob.certify.proof.functionals import Rows
from irob.core.threat import Threat

RATE = 0.1


def margin(given, x: jax.Array, y: jax.Array, threat: Threat, *, name: str, start, parallel: bool, steps: int,
           how: str, through: bool) -> jax.Array:
    """The smallest lower bound of f_y - f_k over the classes k, one example; -infinity where nothing is proved.

    name: of the certifier, for what it says.  start: (layer, l, u) -> first free numbers.
    through: the free numbers of hidden units' own bounds move too, one set for all classes.
    """
    given = roundoff.single(given)
    envelope.supported(given, name)
    roundoff.require(given, backward.shapes(given, x), name)
    with jax.default_matmul_precision("float32"):
        return roundoff.proved(_margin(given, x, y, threat, start, parallel, steps, how, through))


def _margin(given, x, y, threat, start, parallel, steps, how, through):
    region = backward.ball(threat, x)
    sizes = backward.shapes(given, x)
    curved = [layer for layer in given if isinstance(layer, CURVED)]
    (classes,) = sizes[-1]
    wanted = backward.differences(classes, y)
    boxes = functools.partial(backward.inner, given, region, start=start, parallel=parallel, how=how)

    def value(free, bounds, losses, coefficients):
        found = [envelope.lines(a, b[0], b[1], f, parallel) for a, b, f in zip(curved, bounds, free, strict=True)]
        return backward.lower(Rows(coefficients[None], (classes,)), given, sizes, found, region, losses)[0]

    bounds, free, losses = boxes()
    plain = backward.from_boxes(Rows(wanted, (classes,)), given, region, bounds)
    if not curved:
        return jnp.min(plain)
    if through and steps:
        def whole(free):
            inner, _, lost = boxes(free)
            values = jax.vmap(lambda c: value(free, inner, lost, c))(wanted)
            return jnp.min(values), (inner, lost)

        _, (best, (bounds, losses)) = ascend(whole, free, steps)
        plain = backward.better(plain, best)
        free = [start(a, *b) for a, b in zip(curved, bounds, strict=True)]

    def one(coefficients):
        def goal(free):
            return value(free, bounds, losses, coefficients), ()

        return ascend(goal, free, steps)[1][0]

    return jnp.min(backward.better(plain, jax.vmap(one)(wanted)))


def ascend(goal, free: list[jax.Array], steps: int):
    """(free, (value, extra)) of the best of steps + 1 evaluations of goal(free) -> (f[], extra)."""
    def keep(new, old):
        better = new[1][0] > old[1][0]  # False for NaN
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)

    first = (free, goal(free))
    if not steps:
        return first

    def step(carry, i):
        free, mean, square, best = carry
        (found, extra), gradient = jax.value_and_grad(goal, has_aux=True)(free)
        best = keep((free, (found, extra)), best)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, gradient)
        # A quarter of the rate at the end: free numbers that swing about an optimum come to rest.
        rate = RATE * (1 - 0.75 * i / steps)

        def move(f, m, s):
            direction = m / (1 - 0.9 ** (i + 1)) / (jnp.sqrt(s / (1 - 0.999 ** (i + 1))) + 1e-12)
            return jnp.clip(f + rate * direction, 0.0, 1.0)

        return (jax.tree.map(move, free, mean, square), mean, square, best), None

    zero = jax.tree.map(jnp.zeros_like, free)
    (free, _, _, best), _ = jax.lax.scan(step, (free, zero, zero, first), jnp.arange(steps, dtype=jnp.float32))
    return keep((free, goal(free)), best)
