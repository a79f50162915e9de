"""A certifier as another package would have it: nothing of it stands in irob."""

import jax.numpy as jnp

from irob.core import layers
from irob.core.promises import LayerCertifier
from irob.core.types import value

SLACK = 1e-3  # more than float32 loses in the small networks that this is for


@value()
class ProductOfNorms(LayerCertifier):
    """margin(x) - sqrt(2) epsilon times the product of the Frobenius norms, for l2 and dense layers."""

    norms = ("l2",)

    def margin(self, given, x, y, threat):
        """Lower bound of min over x' of f_y(x') - max over k != y of f_k(x'), one example."""
        logits = layers.run(given, x)
        lead = logits[y] - jnp.max(jnp.where(jnp.arange(len(logits)) == y, -jnp.inf, logits))
        slope = jnp.prod(jnp.array([jnp.linalg.norm(v.kernel) for v in given if isinstance(v, layers.Dense)]))
        return lead - jnp.sqrt(2.0) * slope * threat.epsilon - SLACK


def build() -> ProductOfNorms:
    """The certifier; it has no options."""
    return ProductOfNorms()
