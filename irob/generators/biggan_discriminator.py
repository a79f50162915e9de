"""What BigGAN is trained against: the 32x32 discriminator of BigGAN-PyTorch, residual blocks and a projection.

    logit = w . h + e_y . h,    h = sum over pixels of relu(block_4(... block_1(x)))

Blocks have two 3x3 convolutions of 4 x width channels; the first two halve the image.  Spectral normalisation is
applied to the weights before they are given to it (irob.training.spectral).

References: Miyato and Koyama (2018), cGANs with projection discriminator, https://arxiv.org/abs/1802.05637
    Brock, Donahue, Simonyan (2019), https://arxiv.org/abs/1809.11096, appendix B
"""

import flax.linen as nn
import jax.numpy as jnp

from irob.core import operations
from irob.generators.biggan import ORTHOGONAL, Conv

HALVES = (True, True, False, False)


class Block(nn.Module):
    """Residual block; the first of the network does not begin with a ReLU."""

    features: int
    half: bool
    first: bool

    @nn.compact
    def __call__(self, x):
        h = Conv(self.features, name="conv_0")(x if self.first else nn.relu(x))
        h = Conv(self.features, name="conv_1")(nn.relu(h))
        if not self.half:
            return h + (Conv(self.features, 1, name="skip")(x) if x.shape[-1] != self.features else x)
        # A 1x1 convolution and a mean commute: the mean first, which is four times less work.
        return operations.avg_pool(h) + Conv(self.features, 1, name="skip")(operations.avg_pool(x))


class DiscriminatorNet(nn.Module):
    """x f[n,32,32,3] in [-1, 1], y i[n] -> f[n], large for real images."""

    width: int = 64
    num_classes: int = 10
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, y):
        h, features = x.astype(self.dtype), 4 * self.width
        for i, half in enumerate(HALVES):
            h = Block(features, half, i == 0, name=f"block_{i}")(h)
        h = jnp.sum(nn.relu(h).astype(jnp.float32), axis=(1, 2))
        linear = self.param("dense_kernel", ORTHOGONAL, (features, 1))
        bias = self.param("dense_bias", nn.initializers.zeros, (1,))
        embedding = self.param("embedding", ORTHOGONAL, (self.num_classes, features))
        return (h @ linear + bias)[:, 0] + jnp.sum(jnp.asarray(embedding)[y] * h, axis=-1)
