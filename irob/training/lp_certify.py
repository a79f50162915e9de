"""LP-Certify (Wong and Kolter, 2018; Wong et al., 2018): training on the dual bound of the worst case.

    min_w  mean CE(-J(x, y), y),    J_k(x, y) <= f_y(x') - f_k(x') for every x' in the ball,  J_y = 0

-J bounds every logit's lead over that of y from above, so this is the cross entropy of the worst case or more.
The inner bounds come from random projections, the last pull to the input is exact.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from irob import certify
from irob.certify import dual, dual_projections
from irob.core import batch
from irob.core.check import integer, number
from irob.core.compile import jit
from irob.core.threat import LpBall
from irob.core.types import Classifier, Dataset, value
from irob.training.method import Predict, mean_cross_entropy

CHUNK = 500


@value("projections")
class LpCertify:
    """See `build`."""

    threat: LpBall
    first: jax.Array | float
    projections: int = 50

    def perturb(self, key: jax.Array, predict: Predict, x: jax.Array, y: jax.Array) -> jax.Array:
        """No images: the key of the projections, which `loss` gets in their place."""
        return key

    def loss(self, predict: Predict, x: jax.Array, key: jax.Array, y: jax.Array) -> jax.Array:
        """Mean cross entropy of the worst case over the batch; the same random vectors serve all of it."""
        given = predict.layers()

        def worst(x, y):
            of = dual.region(self.threat, x)
            if self.projections:
                inner = dual_projections.bounds(key, given, of, self.projections)
            else:
                inner = dual.bounds(given, of, rounded=False)
            return -dual.margins(given, of, y, inner)

        return mean_cross_entropy(jax.vmap(worst)(x, y), y)

    def ramp(self, factor: jax.Array) -> "LpCertify":
        """The method at a radius between the first and the full one, factor in [0, 1]."""
        radius = self.first + (self.threat.epsilon - self.first) * factor
        return dataclasses.replace(self, threat=dataclasses.replace(self.threat, epsilon=radius))

    @property
    def measures(self) -> dict[str, Callable[[Classifier, Dataset, LpBall], float]]:
        """What log and recipe get beside accuracies: the share that the exact bound certifies as its label."""
        return {"certified": lambda f, data, threat: float(certified(f, data, threat).mean())}


def build(threat: LpBall, *, projections: int = 50, first_epsilon: float = 0.05) -> LpCertify:
    """LP-Certify with the paper's settings.

    Args:
        threat: l2 or linf with epsilon above 0; the paper's is l2 with radius 2.
        projections: random vectors for the inner bounds; 0 for exact ones.
        first_epsilon: the radius at which a ramp begins, above 0, in image units; at most the ball's counts.

    >>> build(LpBall("l2", 2.0)).projections
    50

    Reference: Wong et al., 2018, https://arxiv.org/abs/1805.12514
    """
    dual.require(threat)
    first = min(number("first epsilon", first_epsilon, low=0, open_low=True), float(threat.epsilon))
    return LpCertify(threat, first, integer("projections", projections))


def certified(classifier: Classifier, data: Dataset, threat: LpBall) -> np.ndarray:
    """Whether the exact bound proves that each image's whole ball is classified as its label: bool[n]."""
    return certify.run(certify.build("dual"), classifier, data.x, data.y, threat).certified


def constant(classifier: Classifier, data: Dataset, threat: LpBall) -> tuple[np.ndarray, np.ndarray]:
    """(whether the exact bound proves one class, be it right or wrong, on each image's ball bool[n], that class)."""
    prediction = batch.stream(lambda _, x: _predicted(classifier, x), data.x, chunk=CHUNK)
    return certified(classifier, dataclasses.replace(data, y=prediction), threat), prediction


@jit
def _predicted(classifier: Classifier, x: jax.Array) -> jax.Array:
    return jnp.argmax(jax.vmap(classifier)(x), axis=-1)


def select(data: Dataset, chosen: np.ndarray) -> Dataset:
    """The chosen examples, bool[n]."""
    return dataclasses.replace(data, x=data.x[chosen], y=data.y[chosen], z=None if data.z is None else data.z[chosen])
