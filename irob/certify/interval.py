"""Interval bounds: boxes pushed forward through the layers.  The first affine layers take the ball's own dual norm.

    W x + b with x in [l, u]:  centre W (l + u)/2 + b, radius |W| (u - l)/2;   monotone layers:  [phi(l), phi(u)]

Under l1 and l2 that is what keeps the ball from being replaced by its bounding box, which is larger by sqrt(D).
The affine layers after the last box are walked back as one, for f_y - f_k rather than for both apart.
"""

import jax
import jax.numpy as jnp

from irob.certify.proof import backward, envelope, roundoff
from irob.certify.proof.functionals import Rows
from irob.core.promises import LayerCertifier
from irob.core.threat import Threat
from irob.core.types import value


@value()
class Interval(LayerCertifier):
    """Boxes pushed forward through the layers."""

    chunk = 32

    def margin(self, layers, x: jax.Array, y: jax.Array, threat: Threat) -> jax.Array:
        """Lower bound of min over x' of f_y(x') - max over k != y of f_k(x'), one example.

        Args:
            layers: from irob.core.layers.of(classifier).
            x: f[H,W,C] in [0,1].  y: i[].

        Raises:
            InputError: a layer that intervals do not know, by name.
        """
        layers = roundoff.single(layers)
        envelope.supported(layers, "interval")
        roundoff.require(layers, backward.shapes(layers, x), "interval")
        with jax.default_matmul_precision("float32"):
            region = backward.ball(threat, x)
            bounds, _, _ = backward.inner(layers, region, start=envelope.adaptive, how="interval")
            (classes,) = backward.shapes(layers, x)[-1]
            rows = Rows(backward.differences(classes, y), (classes,))
            return roundoff.proved(jnp.min(backward.from_boxes(rows, layers, region, bounds)))


def build() -> Interval:
    """Interval bounds for l1, l2 and linf.

    >>> build().norms
    ('l1', 'l2', 'linf')

    Reference: Gowal et al., 2018, https://arxiv.org/abs/1810.12715
    """
    return Interval()
