"""What a method of training a classifier is: how it perturbs a batch, and what it then minimises.

    adversarial = method.perturb(key, f, batch)              # f: the classifier in inference mode, no gradient to w
    minimise      method.loss(g, batch, adversarial) over w  # g: the same network in training mode (dropout on)

`adversarial` is whatever the loss wants: images, or for a method that bounds the worst case the key of its random
vectors.  f is the per-example `Classifier` that attacks take, f(x) -> logits of one image, so any of them can search.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from irob.core.threat import Threat
from irob.core.types import Classifier, Dataset
from irob.training.source import Batch, Source

Measure = Callable[[Classifier, Dataset, Threat], float]


@dataclasses.dataclass(frozen=True)
class Network:
    """A classifier in the mode in which it is trained: a batch of images f[n,H,W,C] to logits f[n,K].

    classifier: the same weights in inference mode, gradients included.  options: of training mode, such as dropout's
    random key; they go to a Linen module only.
    """

    classifier: Classifier
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x f[n,H,W,C] -> f[n,K]."""
        return self.classifier.batch(x, **self.options)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A training of its own within one call of `irob.training.train`.

    method: what it minimises.  source: what it trains on.  test: what it is measured on.  start: where its weights
    begin, None for fresh ones.  number: from 1.  carried: what the method keeps for its next stages.
    """

    method: "Method"
    source: Source
    test: Dataset
    start: Classifier | None = None
    number: int = 1
    carried: Any = None


class Method(abc.ABC):
    """A way of training a classifier; a frozen pytree (`irob.core.types.value`) that at least says what it minimises.

    staged: whether `next_stage` may give one; then each stage has a folder of its own.
    """

    staged: bool = False

    def perturb(self, key: jax.Array, classifier: Classifier, batch: Batch) -> Any:
        """What the loss gets beside the batch: by default its images themselves.  key: of this step."""
        return batch.x

    @abc.abstractmethod
    def loss(self, network: Network, batch: Batch, adversarial: Any) -> jax.Array:
        """What a step minimises, f[]; its gradient with respect to the network's weights is taken."""

    def ramp(self, factor: jax.Array) -> "Method":
        """The method at the beginning of a warm-up, with a threat of `factor` in [0, 1] times the strength."""
        return self

    @property
    def measures(self) -> Mapping[str, Measure]:
        """What log and recipe get beside accuracies, by name: functions of (classifier, data, threat)."""
        return {}

    def figures(self, key: jax.Array, classifier: Classifier, test: Dataset) -> dict[str, Any]:
        """What the recipe gets once, at the end: too dear to measure after every epoch."""
        return {}

    def next_stage(self, trained: Classifier, stage: Stage) -> Stage | None:
        """What is trained after this stage: other layers, or what is left of the data; None for nothing."""
        return None


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    """-log softmax(logits)_y.  logits: f[...,K], y: i[...] -> f[...].

    >>> round(float(cross_entropy(jax.numpy.zeros(10), jax.numpy.int32(3))), 4)
    2.3026
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def mean_cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    """The mean of -log softmax(logits)_y over a batch.  logits: f[n,K], y: i[n] -> f[]."""
    return cross_entropy(logits, y).mean()
