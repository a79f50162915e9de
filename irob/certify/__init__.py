"""Certifiers: build one by name, run it over many examples.

    certifier = build("crown", steps=20)
    result = run(certifier, classifier, x, y, LpBall("l2", 0.5))     # Certificate(margin, certified, ...)

A certifier that walks explicit layers is an `irob.core.promises.LayerCertifier`, whose margin of one example is a lower
bound of min over x' in the threat set of f_y(x') - max_k!=y f_k(x').  f is the network of real numbers with
these weights, and its float32 evaluation by XLA too: what rounding may cost is subtracted, proved for any weights,
scale and size (`irob.math.rounding`); -infinity where numbers overflow.  A certifier of another kind is a
`ModelCertifier` with a run of its own.
Adding one is adding a file with `build(**options)`, whose name is the certifier's; one that stands elsewhere has the
name package.module:build or path/to/file.py:build.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import batch, check, compile, layers, registry
from irob.core.batch import Work
from irob.core.evidence import Certificate
from irob.core.promises import LayerCertifier, ModelCertifier
from irob.core.threat import Threat
from irob.core.types import Classifier

__all__ = ["build", "names", "radius", "run", "takes"]


def names() -> tuple[str, ...]:
    """The certifiers there are.

    >>> "interval" in names()
    True
    """
    return registry.names("irob.certify")


def takes(name: str) -> list[str]:
    """The options of a certifier, `key` among them if it draws random numbers.

    >>> "steps" in takes("crown"), "key" in takes("smoothing")
    (True, True)
    """
    return list(inspect.signature(registry.factory("irob.certify", name, kind="certifier")).parameters)


def build(name: str, **options) -> LayerCertifier | ModelCertifier:
    """The certifier `name`: registered, or package.module:build or path/to/file.py:build for one of your own.

    Raises:
        InputError: unknown certifier or option (the nearest is suggested), a value out of range, or what is built is
            no certifier.

    >>> build("crown", steps=5).steps
    5
    """
    known = takes(name)
    for option in options:
        if option not in known:
            raise check.unknown(f"option of certifier {name!r}", option, known)
    with registry.failing(name, kind="certifier"):
        certifier = registry.factory("irob.certify", name, kind="certifier")(**options)
    if not isinstance(certifier, LayerCertifier | ModelCertifier):
        raise check.InputError(f"certifier {name!r}: got {type(certifier).__name__}, wanted a LayerCertifier or "
                               "ModelCertifier of irob.core.promises")
    return certifier


def run(
    certifier: LayerCertifier | ModelCertifier, classifier: Classifier, x, y, threat: Threat, *, work: Work = Work()
) -> Certificate:
    """Certifies every example in chunks, under float32 matrix products.

    One compiled program serves all chunks, radii, and classifiers of equal structure.

    Args:
        certifier: from `build`.
        classifier: made of explicit layers, or able to list them.
        x: f[n,H,W,C] in [0,1].  y: i[n] in [0, num_classes).
        threat: epsilon at least 0.
        work: its chunk is examples at a time, by default the certifier's own; memory grows with it, not with n.

    Returns:
        Certificate of numpy arrays.  certified: margin above 1e-5 (1 + max |f(x)|), hence rightly classified in the
        whole threat set.  prediction: argmax f(x).

    Raises:
        InputError: wrong shapes, pixels outside [0,1], labels out of range, an opaque classifier, a layer that the
            certifier does not know (by name), a threat or a norm that it is not for, NaN logits.

    >>> from irob import classifiers
    >>> from irob.core.threat import LpBall
    >>> net = [layers.Flatten(), layers.Dense(jnp.eye(2), jnp.zeros(2)), layers.ReLU()]
    >>> f, x = classifiers.from_layers(net, 2, (1, 2, 1)), np.array([0.9, 0.1], np.float32).reshape(1, 1, 2, 1)
    >>> [run(build(name), f, x, np.array([0]), LpBall("linf", 0.1)).margin.round(3)[0] for name in ("interval", "dual")]
    [np.float32(0.6), np.float32(0.6)]
    """
    _instances(classifier, threat)
    certifier.meets(threat.validate(), method(certifier))
    if isinstance(certifier, ModelCertifier):
        return certifier.run(classifier, x, y, threat, work=work)
    found, _ = _stream(certifier, classifier, x, y, threat, None, work)
    margin, certified, prediction = found
    return Certificate(margin, certified, None, prediction, method(certifier))


def radius(
    certifier: LayerCertifier | ModelCertifier, classifier: Classifier, x, y, threat: Threat, *, steps: int = 12,
    work: Work = Work(),
) -> Certificate:
    """The largest epsilon that is certified for every example, by bisection of [0, high]; certified where above 0.

        certified accuracy at epsilon  =  the share of examples with radius >= epsilon

    Every radius is one that the certifier proved, hence from below; it is within high / 2^steps of the largest where
    the certifier's margin falls with epsilon.

    Args:
        threat: its strength, above 0, is `high`: no radius above is tried.
        steps: bisections, each at the cost of one certificate.

    Returns:
        Certificate with the radius in the unit of the threat's strength, and the margin at it.

    Raises:
        InputError: as `run`; also a certifier with a run of its own, which finds its radii itself.
    """
    if isinstance(certifier, ModelCertifier):
        raise check.InputError(f"{method(certifier)}: got a certifier that is no walk over layers; use certify.run")
    _instances(classifier, threat)
    certifier.meets(threat.validate(), method(certifier))
    check.number("epsilon", threat.strength, low=0.0, open_low=True)
    steps = check.integer("steps", steps, low=1)
    (margin, certified, prediction), reach = _stream(certifier, classifier, x, y, threat, steps, work)
    return Certificate(margin, certified, reach, prediction, method(certifier))


def _instances(classifier, threat) -> None:
    check.instance("classifier", classifier, Classifier, "classifiers.load(NAME) or classifiers.wrap(MODEL)")
    check.instance("threat", threat, Threat, "LpBall('l2', 0.5)")


def method(certifier) -> str:
    """The name of a certifier: that of its file; of its class where the file is a user's, named by its path."""
    file = type(certifier).__module__.rpartition(".")[2]
    return type(certifier).__name__ if file.startswith("_") else file


def _stream(certifier, classifier, x, y, threat, steps, work):
    """((margin, certified, prediction), radius or None) of all examples."""
    check.images(x, y, num_classes=classifier.num_classes)
    x, y = np.asarray(x, np.float32), np.asarray(y, np.int32)
    if len(y) == 0:
        raise check.InputError("images: got none, wanted at least one")
    if classifier.image_shape is not None and x.shape[1:] != tuple(classifier.image_shape):
        raise check.InputError(f"images: got {x.shape[1:]}, the classifier wants {tuple(classifier.image_shape)}")
    walked = layers.of(classifier)
    # What the certifier does not know is said here, before anything is compiled.
    jax.eval_shape(certifier.margin, walked, x[0], y[0], threat)
    number = (int, float, np.number)
    certifier, threat = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32) if isinstance(a, number) else a, (certifier, threat))
    certifier, walked = jax.device_put((certifier, walked))
    with jax.default_matmul_precision("float32"):
        found, reach, finite = batch.stream(
            lambda _, x, y: _chunk(certifier, walked, x, y, threat, steps), x, y,
            chunk=work.chunk or certifier.chunk, label=work.label)
    if not finite.all():
        first = int(np.argmin(finite))
        raise check.InputError(f"logits: got NaN or infinity on clean image {first}, wanted finite numbers")
    return found, reach


@compile.jit(static_argnums=(5,))
def _chunk(certifier, walked: tuple[Any, ...], x, y, threat: Threat, steps: int | None):
    """The certificates of one chunk; with `steps`, at the largest certified radius below the threat's."""

    def one(x, y):
        logits = layers.run(walked, x)
        prediction = jnp.argmax(logits).astype(jnp.int32)

        def prove(epsilon):
            margin = certifier.margin(walked, x, y, threat.at(epsilon))
            return margin, (margin > 0) & (prediction == y)  # False for NaN

        def halve(_, carry):
            low, high, margin, certified = carry
            middle = (low + high) / 2
            new, holds = prove(middle)
            kept = (middle, high, new, holds), (low, middle, margin, certified)
            return jax.tree.map(lambda a, b: jnp.where(holds, a, b), *kept)

        finite = jnp.all(jnp.isfinite(logits))
        if steps is None:
            return (*prove(threat.strength), prediction), None, finite
        clean = logits[y] - jnp.max(jnp.where(jnp.arange(len(logits)) == y, -jnp.inf, logits))
        start = (jnp.zeros(()), jnp.asarray(threat.strength), clean, jnp.zeros((), bool))
        low, _, margin, certified = jax.lax.fori_loop(0, steps, halve, start)
        return (margin, certified, prediction), low, finite

    return jax.vmap(one)(x, y)
