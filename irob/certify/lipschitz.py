"""Global Lipschitz certificates: the margin of the logits falls by no more than its Lipschitz constant times epsilon.

    z_y(x') - z_k(x')  >=  z_y(x) - z_k(x) - |w_y - w_k| L epsilon    for |x' - x|_2 <= epsilon,

L the product of the operator norms of all layers before the last, w_k the rows of a dense last layer; for a last layer
of another kind sqrt(2) L with its own norm in L.  For networks of orthogonal layers L = 1 and this is tight enough to
be the best certificate there is; for others the product is large and CROWN is better.

The certificate speaks of the function that the stored weights define in exact arithmetic.  Norms are upper bounds that
are proved (irob.math.operator_norm); logits are computed in float64 with a proved bound on their rounding
(irob.certify.proof.float64), and every constant is rounded up.  An l1 ball lies in the l2 ball of its radius, an linf
ball in one of sqrt(H W C) times its radius.

Reference: Tsuzuku, Sato, Sugiyama, "Lipschitz-margin training", NeurIPS 2018, https://arxiv.org/abs/1802.04034
"""

import dataclasses
import math
from typing import Any

import numpy as np

from irob.certify.proof import float64
from irob.core import batch, check, layers
from irob.core.batch import Work
from irob.core.evidence import Certificate
from irob.core.promises import ModelCertifier
from irob.core.threat import Threat
from irob.core.types import Classifier
from irob.math.operator_norm import UNIT, gamma, lengths


@dataclasses.dataclass(frozen=True)
class Lipschitz(ModelCertifier):
    """Certificates by global Lipschitz constants."""

    chunk = 1000

    def run(self, classifier: Classifier, x, y, threat: Threat, *, work: Work = Work()):
        """Certifies every example on the host, with its certified radius; arguments as of `certify.run`.

        Returns:
            Certificate of numpy arrays in float64.  margin: the lower bound over the ball.  radius: in the threat's
            norm, 0 where the prediction is not y for certain.  certified: margin above 0.

        Raises:
            InputError: wrong shapes, an opaque classifier, a layer that is not known, weights that are not finite,
                logits that overflow float64.
        """
        threat.validate()
        check.images(x, y, num_classes=classifier.num_classes)
        x, y = np.asarray(x, np.float32), np.asarray(y, np.int32)
        if len(y) == 0:
            raise check.InputError("images: got none, wanted at least one")
        if classifier.image_shape is not None and x.shape[1:] != tuple(classifier.image_shape):
            raise check.InputError(f"images: got {x.shape[1:]}, the classifier wants {tuple(classifier.image_shape)}")
        walked = float64.supported(layers.of(classifier), "lipschitz")
        slopes = constants(walked, classifier.num_classes)
        if threat.norm == "linf":
            slopes = slopes * (math.sqrt(math.prod(x.shape[1:])) * (1 + 4 * UNIT))
        parts = [_margins(walked, x[s], y[s], slopes, float(threat.strength))
                 for s in batch.slices(len(y), work.chunk or self.chunk)]
        margin, radius, prediction = (np.concatenate(a) for a in zip(*parts))
        return Certificate(margin, margin > 0, radius, prediction, "lipschitz")


def constants(given: tuple[Any, ...], count: int) -> np.ndarray:
    """Upper bounds f[K,K] on the Lipschitz constants of z_i - z_j in l2, from layers in float64.

    >>> from irob.core.layers import Dense
    >>> constants((Dense(np.array([[3.0, 0.0], [0.0, 4.0]]), np.zeros(2)),), 2).round(6).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    if given and isinstance(given[-1], layers.Dense):
        rows = given[-1].kernel.T
        trunk = float64.product(float64.stretch(layer) for layer in given[:-1])
        apart = np.stack([lengths(rows - row) for row in rows]) * (1 + gamma(4))  # a difference rounds once an entry
    else:
        trunk = float64.product(float64.stretch(layer) for layer in given)
        apart = np.sqrt(2) * (1 + 2 * UNIT) * (1 - np.eye(count))
    with np.errstate(all="ignore"):
        found = np.nextafter(apart * trunk, np.inf)
    found = np.where(np.isnan(found), np.inf, np.maximum(found, float64.SMALLEST))
    return np.where((apart == 0) | (trunk == 0), 0.0, found)


def _margins(given, x, y, slopes, epsilon: float):
    """(margin f[n], radius f[n], prediction i[n]) of a chunk, both from below."""
    z, e = float64.run(given, x)
    if not (np.isfinite(z).all() and np.isfinite(e).all()):
        first = int(np.argmin(np.isfinite(z + e).all(-1)))
        raise check.InputError(f"logits: got NaN or infinity on image {first} of a chunk, wanted finite numbers")
    each = np.arange(len(y))
    own, error, slope = z[each, y][:, None], e[each, y][:, None], slopes[y]
    with np.errstate(all="ignore"):
        sizes = np.abs(own) + np.abs(z) + error + e
        lead = own - z - (error + e) - 8 * UNIT * sizes - 8 * float64.SMALLEST  # z_y - z_k, from below
        fall = np.where(slope == 0, 0.0, slope * epsilon) * (1 + 4 * UNIT) + float64.SMALLEST
        margin = lead - fall - 4 * UNIT * (np.abs(lead) + fall)
        reach = np.where(slope == 0, np.inf, lead / slope * (1 - 4 * UNIT))
    other = np.arange(z.shape[1]) != y[:, None]
    margin = np.where(other, margin, np.inf).min(1)
    lowest = np.where(other, lead, np.inf).min(1)
    radius = np.where(lowest > 0, np.maximum(np.where(other, reach, np.inf).min(1), 0.0), 0.0)
    return np.where(np.isnan(margin), -np.inf, margin), radius, np.argmax(z, 1).astype(np.int32)


def build() -> Lipschitz:
    """Global Lipschitz constants, for l2 and through it for l1 and linf.

    >>> build().norms
    ('l1', 'l2', 'linf')
    """
    return Lipschitz()
