"""An attack as another package would have it: nothing of it stands in irob."""

import jax

from irob.core.promises import Attack
from irob.core.threat import LpBall
from irob.core.types import Proposal, value


@value()
class OneStep(Attack):
    """The fast gradient method (Goodfellow et al., 2015)."""

    threat: LpBall

    norms = ("l2", "linf")

    def perturb(self, key, classifier, x, y, *, z=None):
        """x + epsilon d, d the direction of steepest ascent of the cross entropy."""
        gradient = jax.grad(lambda v: -jax.nn.log_softmax(classifier(v))[y])(x)
        return Proposal((x + self.threat.epsilon * self.threat.normalise(gradient))[None])


def build(threat: LpBall) -> OneStep:
    """The attack; it has no options."""
    return OneStep(threat)


def no_attack(threat: LpBall) -> LpBall:
    """What is built here is no attack."""
    return threat
