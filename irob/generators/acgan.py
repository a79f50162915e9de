"""The auxiliary-classifier GAN of the paper (Odena et al., 2017): 28x28 images of ten classes from z ~ N(0, I_100).

Generator: (z, one-hot y) -> dense 1024 -> dense 128*7*7 -> transposed convolution to 64 at 14x14 -> to 1 at 28x28,
batch-norm and ReLU between, tanh at the end; `Rescale` takes [-1, 1] to [0, 1].
Discriminator: convolution to 64 -> to 128 -> dense 1024, leaky ReLU 0.2 and batch-norm between; two heads,
one logit for real against generated and one logit a class.
All kernels 4x4, stride 2, padding 1.  Weights start as N(0, 0.02), biases at 0.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from irob.core import layers
from irob.core.check import InputError
from irob.core.operations import conv, conv_transpose
from irob.core.types import Generator

LATENT_DIM, NUM_CLASSES, IMAGE_SHAPE = 100, 10, (28, 28, 1)
INIT = nn.initializers.normal(0.02)
# PyTorch's batch-norm: eps 1e-5, and its momentum 0.1 is Flax's 0.9.  (PyTorch keeps the unbiased variance for
# inference, Flax the biased one: 64/63 at batch 64.)
BatchNorm = functools.partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)
Dense = functools.partial(nn.Dense, kernel_init=INIT)


@dataclasses.dataclass(frozen=True)
class Rescale:
    """[-1, 1] to [0, 1]: x -> (x + 1) / 2, which halves every Lipschitz constant."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return (x + 1) / 2

    def to_layers(self) -> tuple:
        """The same as an explicit layer."""
        return (layers.Scale(jnp.float32(0.5), jnp.float32(0.5)),)


class Upsample(nn.Module):
    """Transposed convolution 4x4, stride 2, padding 1; kernel (4, 4, in, out)."""

    features: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", INIT, (4, 4, x.shape[-1], self.features))
        return conv_transpose(x, kernel, self.param("bias", nn.initializers.zeros, (self.features,)))


class Downsample(nn.Module):
    """Convolution 4x4, stride 2, padding 1; kernel (4, 4, in, out)."""

    features: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", INIT, (4, 4, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return conv(x, kernel, bias, 2, 1)


class GeneratorNet(nn.Module):
    """z f[n,d], y i[n] -> x f[n,28,28,1] in [-1, 1].  num_classes 0 leaves the label out."""

    num_classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, z, y, train: bool = False):
        norm = functools.partial(BatchNorm, use_running_average=not train)
        if self.num_classes:
            z = jnp.concatenate([z, jax.nn.one_hot(y, self.num_classes, dtype=z.dtype)], axis=-1)
        h = nn.relu(norm(name="fc_1")(Dense(1024, name="fc_0")(z)))
        h = nn.relu(norm(name="fc_4")(Dense(7 * 7 * 128, name="fc_3")(h)))
        h = h.reshape(-1, 7, 7, 128)  # the published model has the channels first: the importer permutes
        h = nn.relu(norm(name="deconv_1")(Upsample(64, name="deconv_0")(h)))
        return jnp.tanh(Upsample(1, name="deconv_3")(h))

    def to_layers(self, variables, y: int) -> tuple:
        """The explicit layers of class y in inference, from the code to the image in [-1, 1].

        The label's row of the first kernel joins the bias; batch-norm becomes a gain and a bias.
        """
        p, stats = variables["params"], variables["batch_stats"]
        kernel, bias = p["fc_0"]["kernel"], p["fc_0"]["bias"]
        if self.num_classes:
            latent = kernel.shape[0] - self.num_classes
            kernel, bias = kernel[:latent], bias + kernel[latent + y]

        def norm(name):
            return layers.batch_norm(p[name]["scale"], p[name]["bias"], stats[name]["mean"], stats[name]["var"])

        def up(name):
            return layers.ConvTranspose(p[name]["kernel"], p[name]["bias"])

        return (
            layers.Dense(kernel, bias), norm("fc_1"), layers.ReLU(),
            layers.Dense(p["fc_3"]["kernel"], p["fc_3"]["bias"]), norm("fc_4"), layers.ReLU(),
            layers.Reshape((7, 7, 128)), up("deconv_0"), norm("deconv_1"), layers.ReLU(),
            up("deconv_3"), layers.Tanh(),
        )


class DiscriminatorNet(nn.Module):
    """x f[n,28,28,1] in [-1, 1] -> (logit of "real" f[n], class logits f[n,K] or None)."""

    num_classes: int = NUM_CLASSES

    @nn.compact
    def __call__(self, x, train: bool = False):
        norm = functools.partial(BatchNorm, use_running_average=not train)
        leaky = functools.partial(nn.leaky_relu, negative_slope=0.2)
        h = leaky(Downsample(64, name="conv_0")(x))
        h = leaky(norm(name="conv_3")(Downsample(128, name="conv_2")(h)))
        h = leaky(norm(name="fc_1")(Dense(1024, name="fc_0")(h.reshape(len(x), -1))))
        real = Dense(1, name="dc")(h)[:, 0]
        return real, Dense(self.num_classes, name="cl")(h) if self.num_classes else None


def build(variables=None, *, key: jax.Array | None = None) -> Generator:
    """The generator with the given variables, or with fresh ones drawn with `key`.

    >>> import jax
    >>> g = build(key=jax.random.key(0))
    >>> g(jax.numpy.zeros(100), 3).shape
    (28, 28, 1)
    """
    module = GeneratorNet()
    if variables is None:
        if key is None:
            raise InputError("acgan generator: got neither variables nor a key; pass key=jax.random.key(0)")
        variables = module.init(key, jnp.zeros((1, LATENT_DIM)), jnp.zeros(1, jnp.int32))
    return Generator(variables, module, LATENT_DIM, NUM_CLASSES, IMAGE_SHAPE, (Rescale(),), name="acgan")


def discriminator() -> DiscriminatorNet:
    """The network that it is trained against: real or generated, and which class."""
    return DiscriminatorNet()
