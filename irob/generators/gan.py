"""The unconditional GAN of the paper: the ACGAN without the label input and without the class head.

It is measured with the same sampler as the ACGAN, so that the Lipschitz constants of the two can be compared.
As a `Generator` it has one class, 0, and does not look at the label.
"""

import jax
import jax.numpy as jnp

from irob.core.check import InputError
from irob.core.types import Generator
from irob.generators.acgan import IMAGE_SHAPE, LATENT_DIM, DiscriminatorNet, GeneratorNet, Rescale


def build(variables=None, *, key: jax.Array | None = None) -> Generator:
    """The generator with the given variables, or with fresh ones drawn with `key`.

    >>> g = build(key=jax.random.key(0))
    >>> g(jnp.ones(100), 0).shape
    (28, 28, 1)
    """
    module = GeneratorNet(num_classes=0)
    if variables is None:
        if key is None:
            raise InputError("gan generator: got neither variables nor a key; pass key=jax.random.key(0)")
        variables = module.init(key, jnp.zeros((1, LATENT_DIM)), jnp.zeros(1, jnp.int32))
    return Generator(variables, module, LATENT_DIM, 1, IMAGE_SHAPE, (Rescale(),), name="gan")


def discriminator() -> DiscriminatorNet:
    """The network that it is trained against: one head, real against generated."""
    return DiscriminatorNet(num_classes=0)
