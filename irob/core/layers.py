"""Explicit layers, for models that must be walked through, as certifiers do: frozen pytrees, called on one example."""

import math
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.check import InputError, integer, number
from irob.core.operations import Padding, avg_pool, conv, conv_transpose, dense, max_pool
from irob.core.types import Classifier, Generator, value
from irob.math.orthogonal import group_sort


@value()
class Dense:
    """x -> x @ kernel + bias;  kernel f[i,o], bias f[o]."""

    kernel: jax.Array
    bias: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return dense(x, self.kernel, self.bias)


@value("stride", "padding")
class Conv:
    """Convolution of one image f[h,w,c];  kernel f[kh,kw,c,o], bias f[o]; stride and padding static."""

    kernel: jax.Array
    bias: jax.Array
    stride: int = 1
    padding: Padding = 0

    def __post_init__(self):
        integer("stride", self.stride, low=1)
        if self.padding not in ("SAME", "VALID"):
            if isinstance(self.padding, str):
                raise InputError(f"padding: got {self.padding!r}, wanted pixels on each side, 'SAME' or 'VALID'")
            integer("padding", self.padding)

    def __call__(self, x: jax.Array) -> jax.Array:
        return conv(x[None], self.kernel, self.bias, self.stride, self.padding)[0]


@value()
class ReLU:
    """x -> max(x, 0)."""

    slope = 0.0  # below 0, where `LeakyReLU` has one of its own

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.relu(x)


@value()
class MaxPool:
    """Maximum over 2x2 blocks of one image."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return max_pool(x[None])[0]


@value()
class AvgPool:
    """Mean over 2x2 blocks of one image."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return avg_pool(x[None])[0]


@value()
class Flatten:
    """f[h,w,c] -> f[h*w*c], channels last."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.reshape(-1)


@value()
class ConvTranspose:
    """Transposed convolution 4x4, stride 2, padding 1, of one image f[h,w,c];  kernel f[4,4,c,o], bias f[o]."""

    kernel: jax.Array
    bias: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return conv_transpose(x[None], self.kernel, self.bias)[0]


@value()
class Scale:
    """x -> gain * x + bias, unit by unit or channel by channel: batch-norm in inference, or a change of units.

    >>> Scale(jnp.array([2.0, 3.0]), jnp.ones(2))(jnp.ones(2)).tolist()
    [3.0, 4.0]
    """

    gain: jax.Array
    bias: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.gain * x + self.bias


@value("slope")
class LeakyReLU:
    """x -> max(x, slope x), slope in [0, 1]."""

    slope: float = 0.2

    def __post_init__(self):
        number("slope of LeakyReLU", self.slope, low=0.0, high=1.0)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.leaky_relu(x, self.slope)


@value()
class Tanh:
    """x -> tanh(x)."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(x)


@value()
class GroupSort:
    """Neighbouring units sorted in pairs."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return group_sort(x)


@value("low", "high")
class Clip:
    """x -> min(max(x, low), high), low < high, both finite."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        low, high = (number(f"{name} of Clip", v) for name, v in (("low", self.low), ("high", self.high)))
        if not -math.inf < low < high < math.inf:
            raise InputError(f"Clip: got low {low:g} and high {high:g}, wanted finite numbers with low < high")

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.clip(x, self.low, self.high)


@value("shape")
class Reshape:
    """An array in another shape, last axis fastest."""

    shape: tuple[int, ...]

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.reshape(self.shape)


def batch_norm(scale, bias, mean, variance, epsilon: float = 1e-5) -> Scale:
    """Batch-norm in inference as a `Scale`: gain = scale / sqrt(variance + epsilon), bias - gain mean."""
    gain = jnp.asarray(scale) / jnp.sqrt(jnp.asarray(variance) + epsilon)
    return Scale(gain, jnp.asarray(bias) - gain * jnp.asarray(mean))


def run(layers: tuple[Any, ...], x: jax.Array) -> jax.Array:
    """One example through all layers in order; the `module` of a classifier made from layers.

    >>> run((Flatten(), Dense(jnp.ones((4, 1)), jnp.zeros(1)), ReLU()), jnp.ones((2, 2, 1))).tolist()
    [4.0]
    """
    for layer in layers:
        x = layer(x)
    return x


class OfClass:
    """The `module` of a generator made from layers: g(z, y) runs the layers of class y.

    variables: one tuple of layers whose arrays have the classes as their first axis, or, for `shared`, as they are.
    """

    def __init__(self, shared: bool):
        self.shared = shared

    def __call__(self, variables: tuple[Any, ...], z: jax.Array, y: jax.Array) -> jax.Array:
        return run(self.to_layers(variables, y), z)

    def to_layers(self, variables: tuple[Any, ...], y) -> tuple[Any, ...]:
        """The layers of class y."""
        return variables if self.shared else jax.tree.map(lambda a: a[y], variables)


SHARED, BY_CLASS = OfClass(True), OfClass(False)  # one of each, so that programs are shared


def shapes(given: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The shape of one example after every layer, from that before the first.

    Raises:
        InputError: a layer that does not fit what comes before it, or whose weights do not fit each other.

    >>> shapes((Dense(jnp.ones((4, 6)), jnp.zeros(6)), Reshape((3, 2))), (4,))
    ((6,), (3, 2))
    """
    found: list[tuple[int, ...]] = []
    for i, layer in enumerate(given):
        kind = type(layer).__name__
        why = _misfit(layer, shape)
        if why:
            raise InputError(f"layers: layer {i}, {kind}, got an input of shape {shape} and {why}")
        if isinstance(layer, ReLU | LeakyReLU | Tanh | Clip | Scale | GroupSort):
            after = shape
        elif isinstance(layer, Dense):
            after = (*shape[:-1], np.shape(layer.kernel)[1])
        else:
            after = _traced(layer, shape, f"layers: layer {i}, {kind}")
        if math.prod(after) == 0:
            raise InputError(f"layers: layer {i}, {kind}, leaves nothing of an input of shape {shape}")
        found.append(after)
        shape = after
    return tuple(found)


def _traced(layer: Any, shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    try:
        return tuple(jax.eval_shape(layer, jax.ShapeDtypeStruct(shape, jnp.float32)).shape)
    except InputError:
        raise
    except (TypeError, ValueError, IndexError) as e:
        reason = (str(e).strip() or "no reason given").splitlines()[0]
        raise InputError(f"{name}, does not fit an input of shape {shape}: {reason}") from None


def _misfit(layer: Any, shape: tuple[int, ...]) -> str:
    """What is wrong with the weights of a layer at an input of that shape, or nothing.

    XLA would broadcast some of these: a bias of more units than the kernel, gains that repeat their input.
    """
    if isinstance(layer, Scale):
        try:
            fits = np.broadcast_shapes(np.shape(layer.gain), np.shape(layer.bias), shape) == shape
        except ValueError:
            fits = False
        return "" if fits else (f"a gain {np.shape(layer.gain)} and a bias {np.shape(layer.bias)}, "
                                "wanted such as broadcast to the input")
    if isinstance(layer, GroupSort):
        return "" if shape and shape[-1] % 2 == 0 else "wanted an even last axis"
    if not isinstance(layer, Dense | Conv | ConvTranspose):
        return ""
    kernel, bias = np.shape(layer.kernel), np.shape(layer.bias)
    images = not isinstance(layer, Dense)
    rank, wanted = (4, "f[kh,kw,c,o]") if images else (2, "f[i,o]")
    if isinstance(layer, ConvTranspose):
        wanted = "f[4,4,c,o]"
    fits = len(kernel) == rank and bias == kernel[-1:] and (len(shape) == 3 or not images) and (
        shape[-1:] == kernel[-2:-1]) and (not isinstance(layer, ConvTranspose) or kernel[:2] == (4, 4))
    what = f"a kernel {kernel} with a bias {bias}, wanted a kernel {wanted} and a bias f[o]"
    return "" if fits else what + (" on an image f[h,w,c]" if images else "")


@typing.runtime_checkable
class Layered(typing.Protocol):
    """What can list its explicit layers: a user's module too, which knows nothing of irob."""

    def to_layers(self, *given: Any) -> tuple[Any, ...]:
        """The layers: of a classifier's module given (variables), of a generator's (variables, y), of a stage ()."""


def of_generator(generator: Generator, y: int) -> tuple[Any, ...]:
    """The explicit layers of component y of a generator, from the normal code f[d] to the image, stages included.

    A latent law that is not the standard one is the first of them.  Its module lists the others by
    `to_layers(variables, y)`, and so does each stage by `to_layers()`.

    Raises:
        InputError: the generator or a stage is an opaque function.
    """
    for part in (generator.module, *generator.stages):
        if not isinstance(part, Layered):
            name = getattr(part, "__name__", type(part).__name__)
            raise InputError(f"generator: got {name}, which lists no layers; wanted a module and stages with to_layers")
    parts = generator.module.to_layers(generator.variables, y)
    stages: tuple[Any, ...] = generator.stages
    first = () if generator.latent.standard or not generator.latent.known else (generator.latent,)
    return (*first, *parts, *(layer for stage in stages for layer in stage.to_layers()))


def of(classifier: Classifier) -> tuple[Any, ...]:
    """The explicit layers of a classifier: those it is made of, or lists, or that are read from its program.

    Raises:
        InputError: the classifier is no chain of known layers (see `irob.core.reading`), or states no image_shape.
    """
    if classifier.module is run:
        return classifier.variables
    if isinstance(classifier.module, Layered):
        return classifier.module.to_layers(classifier.variables)
    if classifier.image_shape is None:
        raise InputError("classifier: got an opaque function without image_shape, wanted layers "
                         "(classifiers.from_layers), or the shape with which to read them")
    from irob.core import reading

    return reading.read(classifier, classifier.image_shape)
