"""Free slopes, by gradient ascent: every choice is sound, so the best one that was seen is a bound.

Adam with a rate of 0.1, clipped to [0, 1], for every class on its own; if asked, through the bounds of hidden units
too.
"""

import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from irob.certify.proof import backward, envelope, roundoff
from irob.certify.proof.envelope import CURVED
from irob.certify.proof.functionals import Rows
from irob.core.promises import LayerCertifier
from irob.core.threat import Threat
from irob.core.types import value

RATE = 0.1


@value("steps", "inner", "through", "chunk")
class FreeSlopes(LayerCertifier):
    """A certifier by lines with free slopes, what CROWN and zonotopes have in common.

    steps: of gradient ascent on the slopes.  inner: how hidden units are bounded, one of `backward.INNER`.
    through: the slopes of hidden units' own bounds move too, one set for all classes.
    """

    steps: int
    inner: str
    through: bool
    chunk: int

    name = ""
    """Of the certifier, for what it says."""

    parallel = False
    """Whether a layer lies between two parallel lines, so that one slope serves both."""

    start: ClassVar[Callable]
    """(layer, l, u) -> the first free slopes."""

    def margin(self, layers, x: jax.Array, y: jax.Array, threat: Threat) -> jax.Array:
        """Lower bound of min over x' of f_y(x') - max over k != y of f_k(x'), one example; -infinity for no proof.

        Args:
            layers: from irob.core.layers.of(classifier).
            x: f[H,W,C] in [0,1].  y: i[].

        Raises:
            InputError: a layer that has no lines, by name.
        """
        given = roundoff.single(layers)
        envelope.supported(given, self.name)
        roundoff.require(given, backward.shapes(given, x), self.name)
        with jax.default_matmul_precision("float32"):
            return roundoff.proved(self._smallest(given, x, y, threat))

    def _smallest(self, given, x, y, threat):
        region = backward.ball(threat, x)
        sizes = backward.shapes(given, x)
        curved = [layer for layer in given if isinstance(layer, CURVED)]
        (classes,) = sizes[-1]
        wanted = backward.differences(classes, y)
        boxes = functools.partial(
            backward.inner, given, region, start=self.start, parallel=self.parallel, how=self.inner)

        def bound(free, bounds, losses, coefficients):
            found = [envelope.lines(a, l, u, f, self.parallel)
                     for a, (l, u), f in zip(curved, bounds, free, strict=True)]
            return backward.lower(Rows(coefficients[None], (classes,)), given, sizes, found, region, losses)[0]

        bounds, free, losses = boxes()
        plain = backward.from_boxes(Rows(wanted, (classes,)), given, region, bounds)
        if not curved:
            return jnp.min(plain)
        if self.through and self.steps:
            def whole(free):
                inner, _, lost = boxes(free)
                values = jax.vmap(lambda c: bound(free, inner, lost, c))(wanted)
                return jnp.min(values), (inner, lost)

            _, (best, (bounds, losses)) = ascend(whole, free, self.steps)
            plain = backward.better(plain, best)
            free = [self.start(a, *b) for a, b in zip(curved, bounds, strict=True)]

        def one(coefficients):
            def goal(free):
                return bound(free, bounds, losses, coefficients), ()

            return ascend(goal, free, self.steps)[1][0]

        return jnp.min(backward.better(plain, jax.vmap(one)(wanted)))


def ascend(goal, free: list[jax.Array], steps: int):
    """(free, (value, extra)) of the best of steps + 1 evaluations of goal(free) -> (f[], extra)."""
    def keep(new, old):
        better = new[1][0] > old[1][0]  # False for NaN
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)

    first = (free, goal(free))
    if not steps:
        return first

    # A quarter of the rate at the end: free numbers that swing about an optimum come to rest.
    rule = optax.adam(optax.linear_schedule(RATE, RATE / 4, steps), eps=1e-12)

    def step(carry, _):
        free, state, best = carry
        (found, extra), gradient = jax.value_and_grad(goal, has_aux=True)(free)
        best = keep((free, (found, extra)), best)
        updates, state = rule.update(jax.tree.map(jnp.negative, gradient), state)
        free = jax.tree.map(lambda f, u: jnp.clip(f + u, 0.0, 1.0), free, updates)
        return (free, state, best), None

    (free, _, best), _ = jax.lax.scan(step, (free, rule.init(free), first), length=steps)
    return keep((free, goal(free)), best)
