"""What a method of training a classifier is: how it perturbs a batch, and what it then minimises.

    adversarial = method.perturb(key, f, x, y)              # f: the classifier in inference mode, no gradient to w
    minimise      method.loss(g, x, adversarial, y) over w  # g: the same classifier in training mode (dropout on)

`adversarial` is whatever the loss wants: images, or for a method that bounds the worst case the key of its random
vectors.  f and g also list the explicit layers, f.layers(), where the architecture can.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from irob.attacks import pgd
from irob.core import keys
from irob.core.threat import LpBall
from irob.core.types import value


@dataclasses.dataclass(frozen=True)
class Predict:
    """A network with given weights: a batch of images f[n,H,W,C] to logits f[n,K]."""

    module: Any
    variables: Any
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x f[n,H,W,C] -> f[n,K]."""
        return self.module.apply(self.variables, x, **self.options)

    def layers(self) -> tuple[Any, ...]:
        """The explicit layers of inference mode, for a method that walks through them."""
        return self.module.to_layers(self.variables)



@value("steps", "start")
class Inner:
    """The inner maximisation: projected steepest ascent, last iterate.

    threat: the ball.  step_size: in image units.  steps: gradient evaluations.  start: "noise" is x + 0.001 N(0, I),
    as published; "random" is uniform in the ball, better where steps are few.
    """

    threat: LpBall
    step_size: jax.Array | float = 0.5
    steps: int = 40
    start: str = "noise"

    def ascend(self, key: jax.Array, loss: Callable, x: jax.Array, *per_example: jax.Array) -> jax.Array:
        """x f[n,H,W,C] -> x_adv, maximising loss(x_adv[i], *per_example[i]) -> f[] in every example's ball."""

        def one(key, x, *rest):
            return pgd.ascend(key, lambda v: loss(v, *rest), x, self.threat,
                              steps=self.steps, step_size=self.step_size, start=self.start)

        each = keys.for_examples(key, jax.numpy.arange(len(x)))
        return jax.lax.stop_gradient(jax.vmap(one)(each, x, *per_example))


    def at(self, factor: jax.Array) -> "Inner":
        """The same search in a smaller ball: radius and step times `factor`."""
        threat = dataclasses.replace(self.threat, epsilon=self.threat.epsilon * factor)
        return dataclasses.replace(self, threat=threat, step_size=self.step_size * factor)


def ramped(method, factor: jax.Array):
    """The method with its inner search, or what it has in the place of one, in the smaller ball."""
    if hasattr(method, "ramp"):
        return method.ramp(factor)
    return dataclasses.replace(method, inner=method.inner.at(factor)) if hasattr(method, "inner") else method


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    """-log softmax(logits)_y of one example.  logits: f[K], y: i[] -> f[].

    >>> round(float(cross_entropy(jax.numpy.zeros(10), 3)), 4)
    2.3026
    """
    return jax.nn.logsumexp(logits) - logits[y]


def mean_cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Its mean over a batch.  logits: f[n,K], y: i[n] -> f[]."""
    return jax.vmap(cross_entropy)(logits, y).mean()
