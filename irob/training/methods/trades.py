"""TRADES (Zhang et al., 2019): accuracy on clean images plus agreement within their balls.

    min_w  mean CE(f(x), y) + beta mean max_{x' in B(x)} KL(p(x) || p(x')),   p = softmax f

Gradients flow through both arguments of KL in the outer loss, through x' alone in the inner one.  There p(x) is
constant, so it is computed once and not at every step.  The start must not be x itself, where the gradient is 0.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from irob.core.check import InputError, number
from irob.core.config import option
from irob.core.threat import ImageThreat
from irob.core.types import Classifier, value
from irob.training import search, settings
from irob.training.method import Method, Network, mean_cross_entropy
from irob.training.source import Batch


@dataclasses.dataclass(frozen=True)
class Settings(settings.Searching):
    """TRADES (Zhang et al., 2019): cross entropy plus beta times the divergence within each image's ball."""

    beta: float = option(6.0, "weight of the divergence")


def divergence(logits: jax.Array, logits_adv: jax.Array) -> jax.Array:
    """KL(softmax(logits) || softmax(logits_adv)), f[...,K] each -> f[...].

    >>> f = jnp.array([1.0, 2.0])
    >>> float(divergence(f, f + 3.0))
    0.0
    """
    return optax.losses.kl_divergence_with_log_targets(jax.nn.log_softmax(logits_adv), jax.nn.log_softmax(logits))


@value()
class Trades(Method):
    """TRADES; `build` explains its fields."""

    search: search.Ascent
    beta: jax.Array | float

    def perturb(self, key: jax.Array, classifier: Classifier, batch: Batch) -> jax.Array:
        """x_adv: ascent of the divergence from the clean prediction in each example's ball."""
        clean = classifier.batch(batch.x)
        return self.search.ascend(key, lambda v, clean: divergence(clean, classifier(v)), batch.x, clean)

    def loss(self, network: Network, batch: Batch, adversarial: jax.Array) -> jax.Array:
        """Mean over the batch of cross entropy + beta divergence; one forward pass for both halves."""
        logits, logits_adv = jnp.split(network(jnp.concatenate([batch.x, adversarial])), 2)
        return mean_cross_entropy(logits, batch.y) + self.beta * divergence(logits, logits_adv).mean()

    def ramp(self, factor: jax.Array) -> "Trades":
        """TRADES in smaller balls."""
        return Trades(self.search.at(factor), self.beta)


def build(
    threat: ImageThreat, *, beta: float = 6.0, steps: int = 40, step_size: float = 0.5, start: str = "noise"
) -> Trades:
    """TRADES with the paper's settings.

    Args:
        threat: the ball; the paper's is l2 with radius 3.
        beta: weight of the divergence, at least 0; 1/lambda of the publication.
        steps, step_size, start: of the inner loop, as in adversarial training; start must not be "zero".

    >>> from irob.training.run import plan
    >>> plan("trades").method.beta
    6.0

    Reference: Zhang et al., 2019, https://arxiv.org/abs/1901.08573
    """
    if start == "zero":
        raise InputError('start: got "zero", where the divergence has no gradient; wanted "noise" or "random"')
    return Trades(search.ascent(threat, steps, step_size, start), number("beta", beta, low=0))
