"""The inner maximisation of adversarial training: projected ascent as published, or any registered attack.

    x' ~ argmax_{x' in B(x)} loss(f(x'), y),    one search for each example, every example with a key of its own
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from irob import attacks, generators
from irob.attacks.search.ascent import STARTS, AscentPlan, ascend
from irob.core import keys
from irob.core.check import InputError, integer, number, unknown
from irob.core.promises import Ensemble
from irob.core.threat import ImageThreat
from irob.core.types import Classifier, Generator, value
from irob.training.method import cross_entropy
from irob.training.source import Batch


class Search(abc.ABC):
    """What finds adversarial images of a batch."""

    @abc.abstractmethod
    def worst(self, key: jax.Array, classifier: Classifier, batch: Batch) -> jax.Array:
        """x_adv f[n,H,W,C] of large cross entropy in every example's ball, without a gradient."""

    @abc.abstractmethod
    def at(self, factor: jax.Array) -> "Search":
        """This search in a ball of `factor` times the radius."""


@value("steps", "start")
class Ascent(Search):
    """Projected steepest ascent, last iterate.

    threat: the ball.  step_size: in image units.  steps: gradient evaluations.  start: "noise" is x + 0.001 N(0, I),
    as published; "random" is uniform in the ball, better where steps are few.
    """

    threat: ImageThreat
    step_size: jax.Array | float = 0.5
    steps: int = 40
    start: str = "noise"

    def ascend(self, key: jax.Array, loss: Callable, x: jax.Array, *per_example: jax.Array) -> jax.Array:
        """x f[n,H,W,C] -> x_adv, maximising loss(x_adv[i], *per_example[i]) -> f[] in every example's ball."""

        def one(key, x, *rest):
            def scored(v):
                found = loss(v, *rest)
                return found, found

            return ascend(key, scored, x, self.threat, AscentPlan(self.step_size, self.steps, self.start))

        each = keys.for_examples(key, jnp.arange(len(x)))
        return jax.lax.stop_gradient(jax.vmap(one)(each, x, *per_example))

    def worst(self, key: jax.Array, classifier: Classifier, batch: Batch) -> jax.Array:
        """Ascent of the cross entropy."""
        return self.ascend(key, lambda v, y: cross_entropy(classifier(v), y), batch.x, batch.y)

    def at(self, factor: jax.Array) -> "Ascent":
        """This search with radius and step times `factor`."""
        threat = self.threat.at(self.threat.strength * factor)
        return dataclasses.replace(self, threat=threat, step_size=self.step_size * factor)


@value()
class AttackSearch(Search):
    """An attack of `irob.attacks`; of several restarts the image of largest cross entropy."""

    attack: Any

    def worst(self, key: jax.Array, classifier: Classifier, batch: Batch) -> jax.Array:
        """What the attack proposes, rendered by its threat as the referee does; the image itself for nothing."""
        threat = self.attack.threat
        if self.attack.needs_generator and batch.z is None:
            raise InputError("inner search: the attack starts from codes, wanted a data set or source that has them")

        def one(key, x, y, z):
            moves = threat.moves(self.attack.perturb(key, classifier, x, y, z=z))
            images = jax.vmap(lambda move: threat.render(x, y, move))(moves)

            def allowed(move, image):
                return threat.allows(move, image, threat.moved(x, z, move, image)) & jnp.isfinite(image).all()

            fits = jax.vmap(allowed)(moves, images)
            inside = jnp.where(fits.reshape(-1, *[1] * x.ndim), images, x)
            if len(inside) == 1:
                return inside[0]
            return inside[jnp.argmax(jax.vmap(lambda v: cross_entropy(classifier(v), y))(inside))]

        each = keys.for_examples(key, jnp.arange(len(batch.y)))
        return jax.lax.stop_gradient(jax.vmap(one)(each, batch.x, batch.y, batch.z))

    def at(self, factor: jax.Array) -> "AttackSearch":
        """The attack in the smaller ball, with steps as they were built."""
        threat = self.attack.threat
        return AttackSearch(dataclasses.replace(self.attack, threat=threat.at(threat.strength * factor)))


def ascent(threat: ImageThreat, steps: int, step_size: float, start: str) -> Ascent:
    """The checked ascent, for every method that has one."""
    if start not in STARTS:
        raise unknown("start", start, STARTS)
    number("step_size", step_size, low=0, open_low=True)
    return Ascent(threat.validate(), step_size, integer("steps", steps, low=1), start)


def by_attack(name: str, threat: ImageThreat, steps: int, generator: Generator | str = "") -> AttackSearch:
    """The search by a registered attack, or by one that is named package.module:build.

    Args:
        steps: of the attack, where it has such an option; its other options are at their defaults.
        generator: that drew the images, or its name, for attacks in the latent space.

    Raises:
        InputError: an unknown attack, an ensemble, an attack in the latent space without its generator.

    >>> by_attack("apgd_ce", attacks.build("pgd").threat, 5).attack.steps
    5
    """
    takes = attacks.takes(name)
    options: dict[str, Any] = {"steps": integer("steps", steps, low=1)} if "steps" in takes else {}
    if "generator" in takes:
        if isinstance(generator, str) and not generator:
            raise InputError(f"attack {name!r} starts from codes: give the generator of the data with --generator")
        options["generator"] = generators.load(generator) if isinstance(generator, str) else generator
    attack = attacks.build(name, threat, **options)
    if isinstance(attack, Ensemble):
        raise InputError(f"attack {name!r}: got an ensemble, wanted a single attack, such as apgd_ce or pgd")
    return AttackSearch(attack)
