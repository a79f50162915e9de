"""Adversarial training (Madry et al., 2018): min E max_{x' in B(x)} CE(f(x'), y), on adversarial images alone."""

import jax

from irob.core.check import integer, number, unknown
from irob.core.threat import LpBall
from irob.core.types import value
from irob.training.method import Inner, Predict, cross_entropy, mean_cross_entropy


@value()
class Adversarial:
    """See `build`."""

    inner: Inner

    def perturb(self, key: jax.Array, predict: Predict, x: jax.Array, y: jax.Array) -> jax.Array:
        """x_adv: ascent of the cross entropy in each example's ball."""
        return self.inner.ascend(key, lambda v, y: cross_entropy(predict(v[None])[0], y), x, y)

    def loss(self, predict: Predict, x: jax.Array, x_adv: jax.Array, y: jax.Array) -> jax.Array:
        """Mean cross entropy of the adversarial batch."""
        return mean_cross_entropy(predict(x_adv), y)


def inner(threat: LpBall, steps: int, step_size: float, start: str) -> Inner:
    """The checked inner loop, for every method that has one."""
    from irob.attacks.pgd import STARTS

    if start not in STARTS:
        raise unknown("start", start, STARTS)
    number("step_size", step_size, low=0, open_low=True)
    return Inner(threat.validate(), step_size, integer("steps", steps, low=1), start)


def build(threat: LpBall, *, steps: int = 40, step_size: float = 0.5, start: str = "noise") -> Adversarial:
    """Adversarial training with the paper's inner loop: 40 steps of 0.5 from x + 0.001 N(0, I), last iterate.

    Args:
        threat: the ball; the paper's is l2 with radius 3.
        steps: gradient evaluations of the inner loop.
        step_size: in image units.
        start: "noise", "random" or "zero".

    >>> build(LpBall("l2", 3.0)).inner.steps
    40

    Reference: Madry et al., 2018, https://arxiv.org/abs/1706.06083
    """
    return Adversarial(inner(threat, steps, step_size, start))
