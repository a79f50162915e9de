"""Adversarial training (Madry et al., 2018): min E max_{x' in B(x)} CE(f(x'), y), on adversarial images alone."""

import dataclasses

import jax

from irob.core.config import option
from irob.core.threat import ImageThreat
from irob.core.types import Classifier, Generator, value
from irob.training import search, settings
from irob.training.method import Method, Network, mean_cross_entropy
from irob.training.source import Batch


@dataclasses.dataclass(frozen=True)
class Settings(settings.Searching):
    """Adversarial training (Madry et al., 2018): cross entropy at the worst point of each image's ball."""

    attack: str = option("", "attack that searches in the place of the ascent, for --steps steps: apgd_ce, pgd, ... or "
                         "package.module:build")


@value()
class Adversarial(Method):
    """Adversarial training; `build` explains its fields."""

    search: search.Search

    def perturb(self, key: jax.Array, classifier: Classifier, batch: Batch) -> jax.Array:
        """x_adv: an image of large cross entropy in each example's ball."""
        return self.search.worst(key, classifier, batch)

    def loss(self, network: Network, batch: Batch, adversarial: jax.Array) -> jax.Array:
        """Mean cross entropy of the adversarial batch."""
        return mean_cross_entropy(network(adversarial), batch.y)

    def ramp(self, factor: jax.Array) -> "Adversarial":
        """Adversarial training in smaller balls."""
        return Adversarial(self.search.at(factor))


def build(
    threat: ImageThreat,
    *,
    steps: int = 40,
    step_size: float = 0.5,
    start: str = "noise",
    attack: str = "",
    generator: Generator | str = "",
) -> Adversarial:
    """Adversarial training with the paper's inner loop: 40 steps of 0.5 from x + 0.001 N(0, I), last iterate.

    Args:
        threat: the ball; the paper's is l2 with radius 3.
        steps: gradient evaluations of the inner loop.
        step_size: in image units.
        start: "noise", "random" or "zero".
        attack: a registered attack as the inner loop, or one named package.module:build; it takes `steps` and has
            its own step size and start.
        generator: that drew the images, or its name, for an attack in the latent space.

    >>> from irob.training.run import plan
    >>> plan("adv").method.search.steps
    40

    Reference: Madry et al., 2018, https://arxiv.org/abs/1706.06083
    """
    if attack:
        return Adversarial(search.by_attack(attack, threat, steps, generator))
    return Adversarial(search.ascent(threat, steps, step_size, start))
