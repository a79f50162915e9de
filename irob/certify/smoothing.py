"""Randomized smoothing (Cohen, Rosenfeld and Kolter, 2019): a certificate for any classifier, at a stated confidence.

    g(x) = argmax_k Pr[f(x + sigma xi) = k],   xi ~ N(0, I)

If Pr[f(x + sigma xi) = c] >= p > 1/2 then g = c on the whole open l2 ball of radius sigma Phi^-1(p) about x.  CERTIFY
chooses c by the vote of `selection` noisy copies, and bounds p from below on `samples` fresh ones, by the exact limit
of Clopper and Pearson; copies that chose c must not count for it, so the two votes have keys of their own.  PREDICT
asks whether the winner of one vote beats the runner-up in a binomial test.  Both abstain where the votes do not tell.

The certificate is one of the smoothed classifier g, not of f, and wrong with a probability of at most 1 - confidence
for each example.  An attack to be held against it must be one on g: see `smoothed`.  Limits and radii are rounded down;
the noise is the Gaussian one up to what `irob.math.noise` says of its tail and float32 of its digits.

Reference: https://arxiv.org/abs/1902.02918
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import bdtrc, ndtr, ndtri

from irob.core import batch, check, compile, keys, memory
from irob.core.batch import Work
from irob.core.check import InputError, integer, number
from irob.core.evidence import Certificate
from irob.core.promises import ModelCertifier
from irob.core.threat import Threat
from irob.core.types import Classifier, value
from irob.math import noise, norms
from irob.math.confidence import clopper_pearson

ABSTAIN = -1
INEXACT = 1e-12  # of Phi and its inverse in float64
CALL = 16384  # forward passes in one call from the host, about


@value("samples", "selection", "confidence", "convert")
class Smoothing(ModelCertifier):
    """Randomized smoothing; `build` explains its fields."""

    key: jax.Array | None
    sigma: jax.Array | float
    samples: int
    selection: int
    confidence: float
    convert: bool

    needs_layers = False
    needs_key = True
    otherwise = "convert=True certifies the ball of another norm that the l2 ball holds"

    @property
    def norms(self) -> tuple[str, ...]:  # type: ignore[override]
        """l2, or with `convert` all."""
        return tuple(norms.NORMS) if self.convert else ("l2",)

    @property
    def largest(self) -> float:
        """The l2 radius where all samples agree: sigma Phi^-1((1 - confidence)^(1/samples))."""
        return float(self._radius(clopper_pearson(self.samples, self.samples, self.confidence, "lower")))

    def certify(self, classifier: Classifier, x, *, work: Work = Work()):
        """CERTIFY: classes i[n], -1 where it abstains, and l2 radii f[n], 0 there."""
        selected, estimated = self._votes(classifier, x, (self.selection, self.samples), work)
        chosen = selected.argmax(-1)
        hits = np.take_along_axis(estimated, chosen[:, None], -1)[:, 0]
        p = clopper_pearson(hits, self.samples, self.confidence, "lower")
        sure = p > 0.5
        return np.where(sure, chosen, ABSTAIN), np.where(sure, self._radius(np.where(sure, p, 0.5)), 0.0)

    def predict(self, classifier: Classifier, x, *, work: Work = Work()) -> np.ndarray:
        """PREDICT: classes i[n] that are those of g with probability >= confidence, -1 where it abstains."""
        (votes,) = self._votes(classifier, x, (self.samples,), work)
        second, first = np.sort(votes, axis=-1)[:, -2:].T
        # two-sided binomial test at 1/2, whose tails are alike: 2 Pr[Bin(first + second, 1/2) >= first]
        level = np.minimum(1.0, 2 * bdtrc(first - 1.0, first + second, 0.5))
        return np.where(level <= 1 - self.confidence, votes.argmax(-1), ABSTAIN)

    def run(self, classifier: Classifier, x, y, threat: Threat, *, work: Work = Work()):
        """CERTIFY of every example against a threat set.

        Args:
            classifier: logits of one image.
            x: f[n,H,W,C] in [0,1].  y: i[n] in [0, num_classes).
            threat: the ball; l2, or with `convert` any.
            work: its chunk is noisy copies at a time, by default 256 on the CPU, 4096 elsewhere, or what fits.

        Returns:
            Certificate of numpy arrays.  margin: a lower bound over the ball of Pr[y] - max_k Pr[k] under noise,
            2 Phi(Phi^-1(p) - epsilon / sigma) - 1, and -1 where nothing is known.  radius: in the threat's norm.
            certified: the class is y and the radius exceeds epsilon, since the certified ball is open.

        Raises:
            InputError: another norm than l2 without `convert`; wrong shapes; NaN logits.
        """
        self.meets(threat.validate(), "smoothing")
        check.images(x, y, num_classes=classifier.num_classes)
        # What an l2 radius certifies in another norm: |d|_2 <= |d|_1 and |d|_2 <= sqrt(size) |d|_inf.
        factor = 1 / math.sqrt(math.prod(np.shape(x)[1:])) if threat.norm == "linf" else 1.0
        predicted, radius = self.certify(classifier, x, work=work)
        right = predicted == np.asarray(y)
        epsilon = float(threat.strength)
        reach = radius * factor * (1 - INEXACT)
        left = (reach - epsilon) / factor / max(self._drawn, np.finfo(np.float64).tiny)
        margin = np.where(right, np.maximum(2 * ndtr(left) - 1 - INEXACT, -1.0), -1.0)
        return Certificate(margin=margin, certified=right & (reach > epsilon), radius=reach,
                           prediction=predicted, method=self.describe())

    @property
    def _drawn(self) -> float:
        """No more than the standard deviation that the noise has, which is sigma in float32."""
        return min(float(self.sigma), float(np.float32(self.sigma)))

    def _radius(self, p):
        """sigma Phi^-1(p), rounded down."""
        return np.maximum(self._drawn * (1 - INEXACT) * (ndtri(p) - INEXACT), 0.0)

    def describe(self) -> str:
        """What the certificate is, in words."""
        return (f"smoothing (sigma {float(self.sigma):g}, {self.samples} samples, "
                f"confidence {self.confidence:g} per example)")

    def _votes(self, classifier, x, samples: tuple[int, ...], work: Work) -> list[np.ndarray]:
        """i[n,K] for each of the votes, whose noise is independent."""
        keys.require(self.key)
        check.images(x)
        if classifier.image_shape is not None and np.shape(x)[1:] != tuple(classifier.image_shape):
            raise InputError(f"images: got {np.shape(x)[1:]}, the classifier wants {tuple(classifier.image_shape)}")
        x = np.asarray(x, np.float32)
        most = fitting(classifier, x.shape[1:], work.chunk)
        sigma, classifier = jnp.asarray(self.sigma, jnp.float32), jax.device_put(classifier)
        together = _together(len(x), max(CALL, most) // sum(samples))
        with jax.default_matmul_precision("float32"):
            votes = batch.stream(
                lambda index, x: _call(self.key, classifier, sigma, index, x, samples=samples, most=most),
                x, chunk=together, label=work.label, start=work.start)
        for found, wanted in zip(votes, samples):
            if not np.all(found.sum(-1) == wanted):
                first = int(np.argmax(found.sum(-1) != wanted))
                raise InputError(f"logits: got NaN or infinity on noisy copies of image {first}, wanted finite numbers")
        return votes


def fitting(classifier: Classifier, shape: tuple[int, ...], chunk: int | None) -> int:
    """Noisy copies at a time: what is fast, or fewer where the memory does not hold them."""
    most = chunk or (256 if jax.default_backend() == "cpu" else 4096)
    return max(1, memory.together(classifier, jnp.zeros(shape), budget=memory.available(), most=most))


def _together(n: int, most: int) -> int:
    """Examples in one call: at most so many, and such that filling up the last call costs 2 % or less.

    >>> _together(100, 30), _together(101, 30), _together(10, 3), _together(10, 0)
    (25, 17, 2, 1)
    """
    return next(c for c in range(max(1, min(most, n)), 0, -1) if -n % c <= 0.02 * n)


@compile.jit(static_argnames=("samples", "most"))
def _call(key, classifier, sigma, index, x, *, samples, most):
    """The votes of one stretch of examples.  index: i[c], x: f[c,H,W,C] -> i[c,K] for each vote."""
    return [_vote(jax.random.fold_in(key, i), classifier, sigma, index, x, count, most)
            for i, count in enumerate(samples)]


def _vote(key, classifier, sigma, index, x, samples: int, most: int):
    """How often each class wins among `samples` noisy copies, exactly; at most `most` copies at a time.

    Copy j of example i is a function of (key, i, j), whatever the sizes of blocks.  Copies are cut into blocks of
    nearly equal size, so that hardly one is computed in vain.  A copy whose logits are not finite has no vote.
    """
    blocks = -(-samples // most)
    size = -(-samples // blocks)

    def one(key, x):
        seed = noise.seed(key)

        def copy(j):
            logits = classifier(x + sigma * noise.normal(seed, j, x.shape))
            counts = (j < samples) & jnp.all(jnp.isfinite(logits))
            return jnp.where(counts, jnp.argmax(logits), ABSTAIN)

        def block(b, votes):
            classes = jax.vmap(copy)(b * size + jnp.arange(size))
            return votes + jnp.sum(classes[:, None] == jnp.arange(classifier.num_classes), axis=0)

        return jax.lax.fori_loop(0, blocks, block, jnp.zeros(classifier.num_classes, jnp.int32))

    return batch.map_examples(one, keys.for_examples(key, index), x, chunk=max(1, most // size))


@compile.jit(static_argnames=("count", "shape"))
def _draws(key, *, count, shape):
    return jax.vmap(lambda j: noise.normal(noise.seed(key), j, shape))(jnp.arange(count))


@dataclasses.dataclass(frozen=True)
class _Mean:
    """The smoothed classifier's surrogate as a function of variables and image, compared by value."""

    module: Any
    num_classes: int
    image_shape: tuple[int, ...] | None

    def __call__(self, variables, x: jax.Array) -> jax.Array:
        inner = Classifier(variables["inner"], self.module, self.num_classes, self.image_shape)
        logits = jax.vmap(lambda shift: jax.nn.log_softmax(inner(x + shift)))(variables["shifts"])
        return jax.nn.logsumexp(logits, axis=0) - math.log(len(logits))


def smoothed(
    classifier: Classifier, key: jax.Array, sigma: float, samples: int, *, image_shape: tuple[int, ...] | None = None
) -> Classifier:
    """The smoothed classifier as one to attack: logits log mean_j softmax f(x + sigma xi_j) over fixed noise.

    Votes have no gradient; the mean of softmax does, and fixed noise makes it one function of x (Salman et al., 2019).
    It is a surrogate: an adversarial example that is found on it must be judged by `Smoothing.predict`.

    Args:
        classifier: the one that is smoothed.
        key: typed key of the noise.
        sigma: standard deviation, above 0, in image units.
        samples: copies of the image for each evaluation, at least 1; memory and time grow with it.
        image_shape: where the classifier does not say.

    Reference: Salman et al., 2019, Provably robust deep learning via adversarially trained smoothed classifiers,
    https://arxiv.org/abs/1906.04584
    """
    shape = image_shape or classifier.image_shape
    if shape is None:
        raise InputError("image_shape: got None, the classifier says none; wanted the shape of its images")
    number("sigma", sigma, low=0.0, open_low=True)
    keys.require(key)
    draws = _draws(key, count=integer("samples", samples, low=1), shape=tuple(shape))
    variables = {"inner": classifier.variables, "shifts": sigma * draws}
    module = _Mean(classifier.module, classifier.num_classes, tuple(shape))
    return Classifier(variables, module, classifier.num_classes, tuple(shape), None, f"{classifier.name} smoothed")


def least(confidence: float, share: float = 0.5) -> int:
    """The fewest samples that can show, if all agree, that a class has more than a share of the noise.

    (1 - confidence)^(1/n) > share

    >>> least(0.999), least(0.95)
    (10, 5)
    """
    return math.floor(math.log1p(-confidence) / math.log(share)) + 1


def build(
    *,
    key: jax.Array | None = None,
    sigma: float = 0.5,
    samples: int = 1000,
    selection: int = 100,
    confidence: float = 0.999,
    convert: bool = False,
) -> Smoothing:
    """Randomized smoothing.

    Args:
        key: typed key of the noise; nothing can be certified without one.
        sigma: standard deviation of the noise in image units, above 0; the one the classifier was trained with.
        samples: noisy copies of each image for the estimate; the radius is at most that of `Smoothing.largest`.
        selection: noisy copies that choose the class.
        confidence: of each example's certificate, in (0, 1); 1 minus the publication's alpha.
        convert: certify another norm's ball as well, through the l2 ball that holds it: radius / sqrt(H W C) for
            linf, radius for l1.

    Raises:
        InputError: a number out of range; too few samples for the confidence, with the fewest that would do.

    >>> build(key=jax.random.key(0), sigma=1.0, samples=100_000).largest.__round__(2)
    3.81

    Reference: Cohen, Rosenfeld and Kolter, 2019, https://arxiv.org/abs/1902.02918
    """
    number("sigma", sigma, low=0.0, open_low=True)
    integer("noisy copies", samples, low=1)
    integer("selection", selection, low=1)
    if not 0 < number("confidence", confidence) < 1:
        raise InputError(f"confidence: got {confidence:g}, wanted a number in (0, 1)")
    if samples < least(confidence):
        raise InputError(f"noisy copies: got {samples}, too few for confidence {confidence:g}; wanted at least "
                         f"{least(confidence)}")
    return Smoothing(key, sigma, samples, selection, confidence, convert)
