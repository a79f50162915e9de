"""How good a generator is, judged by a classifier trained on real images.

Intended label: the share of generated images that the classifier gives the label they were made for, with exact
intervals.  Diversity, in the classifier's penultimate features and against real images: improved precision and
recall (Kynkaanniemi et al., 2019), and the mean distance to the nearest real image.  The real images are halved:
generated images are held against one half, and so is the other half, as the yardstick.
"""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from irob.core import batch, check, layers
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.types import Classifier, Dataset, Generator
from irob.data import generated
from irob.evaluation.accuracy.attacked import interval
from irob.math import neighbours

K = 3  # neighbours, as in the reference
CHUNK = 500


def share(correct: np.ndarray) -> dict[str, Any]:
    """The share of true values with its exact 95 % interval.

    >>> share(np.array([True, True, False, True]))["share"]
    0.75
    """
    hits, n = int(np.sum(correct)), len(correct)
    if not n:
        return {"share": None, "low": 0.0, "high": 1.0, "correct": 0, "n": 0}
    low, high = interval(hits, n)
    return {"share": hits / n, "low": low, "high": high, "correct": hits, "n": n}


def penultimate(classifier: Classifier, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(logits f[K], features f[m]) of one image: the features enter the last dense layer.

    Found in the explicit layers, or by listening to a Linen module; any other model gives its logits twice.
    """
    try:
        *before, last = layers.of(classifier)
    except InputError:
        return _listened(classifier, x)
    features = layers.run(tuple(before), x)
    return last(features), features.reshape(-1)


def _listened(classifier: Classifier, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits and features of a model whose layers are not known, by watching its last dense layer."""
    heard = []

    def listen(call, args, kwargs, context):
        if isinstance(context.module, nn.Dense):
            heard.append(args[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(listen):
        logits = classifier(x)
    return logits, heard[-1].reshape(-1) if heard else logits


@jit
def _seen(classifier: Classifier, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    logits, features = jax.vmap(lambda x: penultimate(classifier, x))(x)
    return logits.argmax(-1), features


def seen(classifier: Classifier, x: np.ndarray, *, label: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Predicted classes i[n] and features f[n,m] of images f[n,H,W,C], in chunks."""
    with jax.default_matmul_precision("float32"):
        return batch.stream(lambda _, x: _seen(classifier, x), x, chunk=CHUNK, label=label)


def diversity(fake: np.ndarray, real: np.ndarray, *, k: int = K) -> dict[str, Any]:
    """Precision, recall and nearest distances of features, generated f[n,m] against real f[r,m].

    Every set is cut to the same size, half the real one or less, since all of these figures depend on it.
    """
    half = min(len(real) // 2, len(fake))
    if half <= k:
        raise InputError(f"diversity: got {len(fake)} generated and {len(real)} real images, wanted over {2 * k} each")
    fake, first, second = fake[:half], real[:half], real[half : 2 * half]
    return {
        "n": half,
        "neighbours": k,
        "precision": neighbours.coverage(fake, second, k),
        "recall": neighbours.coverage(second, fake, k),
        "nearest": float(neighbours.nearest(fake, second).mean()),
        "real": {
            "precision": neighbours.coverage(first, second, k),
            "recall": neighbours.coverage(second, first, k),
            "nearest": float(neighbours.nearest(first, second).mean()),
        },
    }


def quality(
    key: jax.Array, generator: Generator, classifier: Classifier, real: Dataset | None = None, count: int = 10_000
) -> dict[str, Any]:
    """Intended-label share, in all and per class, and diversity if real images are given.

    Args:
      key: of codes and labels.
      generator, classifier: the classifier was trained on real images of the same classes and shape.
      real: real images; None leaves out the diversity, which has no meaning without them.
      count: images to generate.

    Returns:
      {"intended": {"overall", "per_class"}, "real": the classifier's own accuracy, "diversity": ...}.
    """
    classes, shape = generator.num_classes, tuple(generator.image_shape)
    if classes and classes != classifier.num_classes:
        raise InputError(f"quality: got {classes} generated classes, wanted the classifier's {classifier.num_classes}")
    if real is not None and tuple(real.image_shape) != shape:
        raise InputError(f"quality: got real images {tuple(real.image_shape)}, wanted the generator's {shape}")
    count = check.integer("count", count, low=1)
    z, y = generated.codes(key, count, generator.latent_dim, generator.components)
    x = generated.images(generator, z, y, label="generated")
    predicted, fake = seen(classifier, x, label="classified")
    result: dict[str, Any] = {"count": count}
    y = generator.labels(y)
    if classes:
        hit = predicted == y
        result["intended"] = {"overall": share(hit), "per_class": [share(hit[y == c]) for c in range(classes)]}
    if real is not None:
        found, genuine = seen(classifier, real.x, label="real")
        result["real"] = {"dataset": real.name, "classifier": share(found == real.y)}
        result["diversity"] = diversity(fake, genuine)
    return result


def summary(result: dict[str, Any]) -> list[str]:
    """What a person wants to read of `quality`, a line each."""
    lines = []
    if "intended" in result:
        of, classes = result["intended"]["overall"], result["intended"]["per_class"]
        worst = min((c for c in range(len(classes)) if classes[c]["n"]), key=lambda c: classes[c]["share"])
        low, high = of["low"], of["high"]
        lines.append(f"intended label: {of['share']:.2%} of {of['n']} (95 % interval {low:.2%} to {high:.2%})")
        lines.append(f"worst class: {worst} with {classes[worst]['share']:.2%}")
    if "diversity" in result:
        lines.append(f"the classifier is right on {result['real']['classifier']['share']:.2%} of the real images")
        ours, real = result["diversity"], result["diversity"]["real"]
        lines += [f"{name}: {ours[name]:.3f} (real against real {real[name]:.3f})"
                  for name in ("precision", "recall", "nearest")]
    return lines
