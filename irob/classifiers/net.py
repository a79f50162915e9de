"""A feed-forward network from a plan: the Linen module behind every architecture of this room.

A plan is a tuple of steps.  The module runs them on a batch; `to_layers` reads the same plan with given weights as
explicit layers (irob.core.layers), so that a certifier walks exactly what the classifier computes.
"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from irob.core import layers
from irob.core.layers import Padding


@dataclasses.dataclass(frozen=True)
class Conv:
    """Convolution to `features` channels."""

    features: int
    size: int
    stride: int = 1
    padding: Padding = 0


@dataclasses.dataclass(frozen=True)
class Dense:
    """Dense layer to `features` units; `zero` starts it with zero weights and bias."""

    features: int
    zero: bool = False


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Drops units with probability `rate` in training, does nothing otherwise."""

    rate: float


@dataclasses.dataclass(frozen=True)
class Plain:
    """A step without weights: "relu", "max_pool" or "flatten"."""

    kind: str


RELU, MAX_POOL, FLATTEN = Plain("relu"), Plain("max_pool"), Plain("flatten")
_LAYER = {"relu": layers.ReLU(), "max_pool": layers.MaxPool(), "flatten": layers.Flatten()}
Step = Conv | Dense | Dropout | Plain


def he_normal_in(key, shape, dtype=jnp.float32):
    """N(0, 2 / fan_in), fan_in = kh kw c: PyTorch's kaiming_normal_."""
    return math.sqrt(2 / math.prod(shape[:-1])) * jax.random.normal(key, shape, dtype)


def he_normal_out(key, shape, dtype=jnp.float32):
    """N(0, 2 / (kh kw o)): the initialiser of the convex-adversarial networks."""
    kh, kw, _, out = shape
    return math.sqrt(2 / (kh * kw * out)) * jax.random.normal(key, shape, dtype)


def uniform(fan_in: int):
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for dense weights and biases."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -1, 1) / math.sqrt(fan_in)

    return init


_CONV_INIT = {"he_in": he_normal_in, "he_out": he_normal_out}


class Architecture(nn.Module):
    """A registered architecture: a Linen module that says what it is made of."""

    def options(self) -> dict:
        """What `build` was given, for the description of saved weights."""
        return {}

    def describe(self) -> tuple[str, ...] | None:
        """The kinds of the explicit layers; None where there are none."""
        return None


class Net(Architecture):
    """x f[n,H,W,C] in [0,1] -> logits f[n,K].  Inference mode unless `train`, which needs rngs={"dropout": key}."""

    plan: tuple[Step, ...]
    conv_init: str = "he_in"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for i, step in enumerate(self.plan):
            match step:
                case Conv():
                    shape = (step.size, step.size, x.shape[-1], step.features)
                    x = layers.conv(x, *self._weights(i, shape), step.stride, step.padding)
                case Dense():
                    x = layers.dense(x, *self._weights(i, (x.shape[-1], step.features)))
                case Dropout():
                    x = nn.Dropout(step.rate, deterministic=not train, name=f"dropout_{i}")(x)
                case Plain("relu"):
                    x = nn.relu(x)
                case Plain("max_pool"):
                    x = layers.max_pool(x)
                case Plain("flatten"):
                    x = x.reshape(len(x), -1)
        return x

    def _weights(self, i: int, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        zeros, step = nn.initializers.zeros, self.plan[i]
        if len(shape) == 4:
            inits = _CONV_INIT[self.conv_init], zeros
        else:
            inits = (zeros, zeros) if isinstance(step, Dense) and step.zero else (uniform(shape[0]), uniform(shape[0]))
        name = self.name_of(i)
        return self.param(f"{name}_kernel", inits[0], shape), self.param(f"{name}_bias", inits[1], shape[-1:])

    def name_of(self, i: int) -> str:
        """ "conv_0", "conv_1", ..., "dense_0", ...: counted by kind."""
        kind = type(self.plan[i])
        return f"{kind.__name__.lower()}_{sum(isinstance(s, kind) for s in self.plan[:i])}"

    def to_layers(self, variables) -> tuple:
        """The explicit layers of inference mode, for `irob.core.layers.of`."""
        params = variables["params"]
        found: list = []
        for i, step in enumerate(self.plan):
            if isinstance(step, Conv | Dense):
                kernel, bias = (params[f"{self.name_of(i)}_{part}"] for part in ("kernel", "bias"))
                found.append(layers.Conv(kernel, bias, step.stride, step.padding) if isinstance(step, Conv)
                             else layers.Dense(kernel, bias))
            elif isinstance(step, Plain):
                found.append(_LAYER[step.kind])
        return tuple(found)

    def describe(self) -> tuple[str, ...]:
        """The kinds of the explicit layers."""
        kinds = {"relu": "ReLU", "max_pool": "MaxPool", "flatten": "Flatten"}
        return tuple(kinds[s.kind] if isinstance(s, Plain) else type(s).__name__
                     for s in self.plan if not isinstance(s, Dropout))
