"""Training for randomized smoothing (Cohen et al., 2019): min E CE(f(x + sigma xi), y), xi ~ N(0, I).

The smoothed classifier g(x) = argmax_k Pr[f(x + sigma xi) = k] asks f on noisy images alone, so f learns on them.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from irob import certify
from irob.core.batch import Work
from irob.core.check import number
from irob.core.config import option
from irob.core.threat import LpBall
from irob.core.types import Classifier, Dataset, value
from irob.training import settings
from irob.training.method import Method, Network, mean_cross_entropy
from irob.training.source import Batch


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """Gaussian augmentation (Cohen et al., 2019): cross entropy at noisy images, for randomized smoothing."""

    sigma: float = option(1.0, "standard deviation of the noise; certify with the same", unit="image units")


@value()
class Smooth(Method):
    """Gaussian augmentation; `build` explains its fields."""

    sigma: jax.Array | float

    def perturb(self, key: jax.Array, classifier: Classifier, batch: Batch) -> jax.Array:
        """The batch plus Gaussian noise, fresh in every step; not clipped, as the certificate's noise is not."""
        return batch.x + self.sigma * jax.random.normal(key, batch.x.shape, batch.x.dtype)

    def loss(self, network: Network, batch: Batch, adversarial: jax.Array) -> jax.Array:
        """Mean cross entropy of the noisy batch."""
        return mean_cross_entropy(network(adversarial), batch.y)

    def figures(self, key: jax.Array, classifier: Classifier, test: Dataset) -> dict[str, Any]:
        """For the recipe: certified accuracy of the smoothed classifier at radii in steps of sigma / 2."""
        certifier = certify.build("smoothing", key=key, sigma=float(self.sigma))
        found = certify.run(certifier, classifier, test.x, test.y, LpBall("l2", 0.0), work=Work(label="certify"))
        right, radii = found.prediction == test.y, 0.5 * float(self.sigma) * np.arange(5)
        certified = {f"{r:g}": float(np.mean(right & (found.radius > r))) for r in radii}
        return {"certified": certified, "certified_by": found.method, "certified_images": len(test)}


def build(*, sigma: float = 0.5) -> Smooth:
    """Gaussian augmentation.

    Args:
        sigma: standard deviation of the noise in image units, above 0; the smoothing's own.

    >>> build(sigma=0.25).sigma
    0.25

    Reference: Cohen, Rosenfeld and Kolter, 2019, https://arxiv.org/abs/1902.02918
    """
    return Smooth(number("sigma", sigma, low=0, open_low=True))
