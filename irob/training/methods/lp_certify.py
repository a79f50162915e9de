"""LP-Certify (Wong and Kolter, 2018; Wong et al., 2018): training on the dual bound of the worst case.

    min_w  mean CE(-J(x, y), y),    J_k(x, y) <= f_y(x') - f_k(x') for every x' in the ball,  J_y = 0

-J bounds every logit's lead over that of y from above, so this is the cross entropy of the worst case or more.
The inner bounds come from random projections, the last pull to the input is exact.
"""

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from irob import certify
from irob.certify import dual
from irob.certify.proof import dual_projections
from irob.core import batch, layers
from irob.core.check import InputError, integer, number
from irob.core.compile import jit
from irob.core.config import option
from irob.core.progress import say
from irob.core.threat import Threat
from irob.core.types import Classifier, Dataset, value
from irob.training import settings
from irob.training.method import Measure, Method, Network, Stage, mean_cross_entropy
from irob.training.source import Arrays, Batch

CHUNK = 500
Labelled = Dataset | Arrays
D = TypeVar("D", Dataset, Arrays)


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """LP-Certify (Wong and Kolter, 2018): the cross entropy of a bound on the worst case in each image's ball."""

    classifier: str = option("lp_cnn", "architecture; layers that the dual bound knows, so no max-pooling")
    epochs: int = option(60, "passes over the data")
    batch_size: int = option(50, "images in a step")
    rule: str = option("adam", "rule of descent: adam or sgd")
    learning_rate: float | None = option(1e-3, "largest step of the rule")
    schedule: str = option("halving", "decay of the learning rate: halving (x 1/2, 1/4, 1/8 from 50, 67, 83 %% of the "
                           "epochs), trades, published, cosine, one_cycle, constant")
    norm: str = option("l2", "norm of the ball: l2 or linf")
    epsilon: float = option(2.0, "radius of the ball", unit="image units, pixels in [0,1]")
    first_epsilon: float = option(0.05, "radius at which its growth begins", unit="image units")
    epsilon_warmup: float = option(20.0, "passes over which the radius grows to full", unit="epochs")
    projections: int = option(50, "random vectors for the inner bounds; 0 for exact ones")
    final_radii: list[float] = option([1.0, 2.0, 3.0], "radii at which the end result is attacked and certified")
    cascade: int = option(1, "classifiers, each trained on what those before it do not certify")


@value("projections", "cascade")
class LpCertify(Method):
    """LP-Certify; `build` explains its fields."""

    threat: Threat
    first: jax.Array | float
    projections: int = 50
    cascade: int = 1

    @property
    def staged(self) -> bool:  # type: ignore[override]  # a class attribute elsewhere
        """Whether there is a cascade."""
        return self.cascade > 1

    def perturb(self, key: jax.Array, classifier: Classifier, batch: Batch) -> jax.Array:
        """No images: the key of the projections, which `loss` gets in their place."""
        return key

    def loss(self, network: Network, batch: Batch, adversarial: jax.Array) -> jax.Array:
        """Mean cross entropy of the worst case over the batch; the same random vectors serve all of it."""
        given, key = layers.of(network.classifier), adversarial

        def worst(x, y):
            of = dual.region(self.threat, x)
            if self.projections:
                inner = dual_projections.bounds(key, given, of, self.projections)
            else:
                inner = dual.bounds(given, of, rounded=False)
            return -dual.margins(given, of, y, inner)

        return mean_cross_entropy(jax.vmap(worst)(batch.x, batch.y), batch.y)

    def ramp(self, factor: jax.Array) -> "LpCertify":
        """The method at a radius between the first and the full one, factor in [0, 1]."""
        radius = self.first + (self.threat.strength - self.first) * factor
        return dataclasses.replace(self, threat=self.threat.at(radius))

    @property
    def measures(self) -> Mapping[str, Measure]:
        """What log and recipe get beside accuracies: the share that the exact bound certifies as its label."""
        return {"certified": lambda f, data, threat: float(certified(f, data, threat).mean())}

    def next_stage(self, trained: Classifier, stage: Stage) -> Stage | None:
        """A fresh network on the images that no classifier so far certifies as one class, be it right or wrong.

        An image belongs to the first classifier of the cascade that certifies it at all.  carried: the test images
        that are left, and how many were certified as their label.
        """
        if not self.staged:
            return None
        source, threat = stage.source, self.threat
        if not isinstance(source, Arrays):
            raise InputError("cascade: got images that are drawn in passing, wanted a data set to choose from")
        left, right = stage.carried or (stage.test, 0)
        proven, prediction = constant(trained, left, threat)
        right += int((proven & (prediction == left.y)).sum())
        left, rest = select(left, ~proven), select(source, ~constant(trained, source, threat)[0])
        say(f"stage {stage.number}: certified accuracy of the cascade {right / len(stage.test):.4f} at epsilon "
            f"{float(threat.strength):g}; {len(rest)} training images are left")
        if stage.number == self.cascade or not len(left):
            return None
        return dataclasses.replace(stage, source=rest, number=stage.number + 1, carried=(left, right))


def build(
    threat: Threat, *, projections: int = 50, first_epsilon: float = 0.05, cascade: int = 1
) -> LpCertify:
    """LP-Certify with the paper's settings.

    Args:
        threat: l2 or linf with epsilon above 0; the paper's is l2 with radius 2.
        projections: random vectors for the inner bounds; 0 for exact ones.
        first_epsilon: the radius at which a ramp begins, above 0, in image units; at most the ball's counts.
        cascade: classifiers, each trained on what those before it do not certify.

    >>> from irob.training.run import plan
    >>> plan("lp_certify").method.projections
    50

    Reference: Wong et al., 2018, https://arxiv.org/abs/1805.12514
    """
    dual.require(threat)
    first = min(number("first epsilon", first_epsilon, low=0, open_low=True), float(threat.strength))
    return LpCertify(threat, first, integer("projections", projections), integer("cascade", cascade, low=1))


def certified(classifier: Classifier, data: Labelled, threat: Threat) -> np.ndarray:
    """Whether the exact bound proves that each image's whole ball is classified as its label: bool[n]."""
    return certify.run(certify.build("dual"), classifier, data.x, data.y, threat).certified


def constant(classifier: Classifier, data: Labelled, threat: Threat) -> tuple[np.ndarray, np.ndarray]:
    """(whether the exact bound proves one class, be it right or wrong, on each image's ball bool[n], that class)."""
    prediction = batch.stream(lambda _, x: _predicted(classifier, x), data.x, chunk=CHUNK)
    return certified(classifier, dataclasses.replace(data, y=prediction), threat), prediction


@jit
def _predicted(classifier: Classifier, x: jax.Array) -> jax.Array:
    return jnp.argmax(jax.vmap(classifier)(x), axis=-1)


def select(data: D, chosen: np.ndarray) -> D:
    """The chosen examples, bool[n]."""
    return dataclasses.replace(data, x=data.x[chosen], y=data.y[chosen], z=None if data.z is None else data.z[chosen])
