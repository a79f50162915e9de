"""A method of training as another package would have it: nothing of it stands in irob."""

import jax
import jax.numpy as jnp

from irob.core.types import value
from irob.training.method import Method


@value()
class SmoothedLabels(Method):
    """Cross entropy with targets 1 - share for the label and share / K for every class."""

    share: float

    def loss(self, network, batch, adversarial):
        """(1 - share) CE + share times the mean over classes of -log p_k."""
        logs = jax.nn.log_softmax(network(adversarial))
        own = jnp.take_along_axis(logs, batch.y[:, None], axis=1)[:, 0]
        return -((1 - self.share) * own + self.share * logs.mean(axis=1)).mean()


def build(*, share: float = 0.1) -> SmoothedLabels:
    """Label smoothing (Szegedy et al., 2016).

    Args:
        share: of the target that all classes get alike.
    """
    return SmoothedLabels(share)


def no_method(threat, *, share: float = 0.1):
    """What is built here is no `Method`."""
    return share
