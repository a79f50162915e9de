"""Layers: pure operations in the formulation that is fastest on the CPU, and explicit layer values.

Operations take a batch [n, ...] in NHWC; kernels are HWIO.  Off the CPU they are the plain ones.
Measured for the small CNN of the paper, batch 128, on one core (milliseconds; PyTorch 68 to 81 and 82):

    gradient of the input    reduce_window max-pool 90, reshape and maximum 65
    gradient of the weights  bias by broadcasting 140, bias in two stages 126

The slow custom fusion of un-padded convolutions is switched off in `irob.core.compile`; with it off, XLA's own
convolution beats im2col, shifted products and padding with slicing, forward and backward.

Layer values are for models that must be walked through, as certifiers do: frozen pytrees, called on one example.
"""

import contextlib
import contextvars
import functools
import math
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.check import InputError, integer, number
from irob.core.types import Classifier, Generator, value
from irob.math.orthogonal import group_sort

Padding = int | str


def conv(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, stride: int = 1, padding: Padding = 0
) -> jax.Array:
    """Convolution: x f[n,h,w,c], kernel f[kh,kw,c,o], bias f[o] -> f[n,h',w',o], h' = (h + 2 padding - kh)/stride + 1.

    bias: None for the linear part alone.

    padding: pixels on each side, or "VALID" (none) or "SAME".

    >>> conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), jnp.zeros(1)).ravel().tolist()
    [9.0, 9.0, 9.0, 9.0]
    """
    sides = padding if isinstance(padding, str) else ((padding, padding), (padding, padding))
    if _on_cpu() and stride > 1 and not any(k % stride for k in kernel.shape[:2]):
        y = _conv(*_blocks_as_channels(x, kernel, stride, sides), 1, "VALID")
    else:
        y = _conv(x, kernel, stride, sides)
    return y if bias is None else y + _spread(bias, y.shape[1:])


_written = contextvars.ContextVar("written", default=False)


@contextlib.contextmanager
def as_written():
    """What is traced in here has the plain operations, for `irob.core.reading`."""
    token = _written.set(True)
    try:
        yield
    finally:
        _written.reset(token)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu" and not _written.get()


def _plain(x, kernel, stride, sides, kernel_layout="HWIO"):
    layouts = ("NHWC", kernel_layout, "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=layouts)


def _blocks_as_channels(x, kernel, stride, sides):
    """Image and kernel of the same convolution with stride 1: blocks of stride x stride pixels become channels.

    The gradient of a strided convolution puts zeros between the pixels and multiplies by them; this one's does not.
    """
    size = kernel.shape[:2]
    pads = jax.lax.padtype_to_pads(x.shape[1:3], size, (stride, stride), sides) if isinstance(sides, str) else sides
    edges = [(0, 0, 0)]
    for n, k, (low, high) in zip(x.shape[1:3], size, pads, strict=True):
        used = (n + low + high - k) // stride * stride + k
        edges.append((low, used - n - low, 0))
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [*edges, (0, 0, 0)])
    n, h, w, c = x.shape
    x = x.reshape(n, h // stride, stride, w // stride, stride, c).transpose(0, 1, 3, 2, 4, 5)
    kernel = phases(kernel, stride).transpose(0, 2, 1, 3, 4, 5)
    return x.reshape(*x.shape[:3], -1), kernel.reshape(*kernel.shape[:2], stride * stride * c, -1)


def phases(kernel, stride: int):
    """f[kh,kw,c,o] -> f[q,r,q',r',c,o] with tap = stride q + r in both axes, filled up with zeros.

    Tap t of output i reads pixel stride i + t = stride (i + q) + r: a convolution over q for every phase r.
    """
    kh, kw, c, o = kernel.shape
    rows, columns = -(-kh // stride), -(-kw // stride)
    full = jnp.pad(kernel, ((0, rows * stride - kh), (0, columns * stride - kw), (0, 0), (0, 0)))
    return full.reshape(rows, stride, columns, stride, c, o)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _conv(x, kernel, stride, sides):
    return _plain(x, kernel, stride, sides)


@_conv.defjvp
def _conv_jvp(stride, sides, primals, tangents):
    """The derivative of `_conv`, written so that the gradient is a convolution with an HWIO kernel.

    JAX transposes a convolution by reading the kernel as HWOI.  XLA's CPU back end has a fast path for HWIO alone,
    and rewrites other layouts to it only outside of loops: inside one, as in PGD, the same gradient took 590 ms
    instead of 70.  A derivative that reads a transposed kernel as HWOI has a gradient that reads it as HWIO.
    """
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _plain(x, kernel, stride, sides)
    dy = _plain(dx, kernel.transpose(0, 1, 3, 2), stride, sides, "HWOI") + _plain(x, dkernel, stride, sides)
    return y, dy


def _spread(bias: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The bias over one image.  Its gradient is then summed over the images first and over pixels last.

    XLA's one reduction over images and pixels walks memory a channel at a time: 7 ms against 0.5 for 128x26x26x32.
    The barrier keeps it from joining the two.
    """
    if not _on_cpu():
        return bias
    return jax.lax.optimization_barrier(jnp.broadcast_to(bias, shape))


def conv_transpose(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Transposed convolution 4x4, stride 2, padding 1: x f[n,h,w,c], kernel f[4,4,c,o], bias f[o] -> f[n,2h,2w,o].

    y[p] = bias + sum of x[i] kernel[3 - k] over the i, k with p = 2 i - 1 + k, in both axes.  The kernel is stored as
    for the convolution of the dilated input, as Flax and XLA store it; PyTorch's is flipped.

    On the CPU one matrix product gives all 16 contributions of every pixel, and four shifted sums lay them over each
    other: 64 images 7x7x128 -> 14x14x64 take 14 ms forward and backward on 2 cores, against 21 as a sub-pixel
    convolution and 168 as a convolution of the dilated input.

    >>> conv_transpose(jnp.ones((1, 1, 1, 1)), jnp.arange(16.0).reshape(4, 4, 1, 1), jnp.zeros(1)).ravel().tolist()
    [10.0, 9.0, 6.0, 5.0]
    """
    if _on_cpu():
        return _overlap_add(x, kernel) + bias
    return _dilated(x, kernel) + bias


def _dilated(x, kernel):
    layouts = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=layouts)


def _overlap_add(x, kernel):
    n, h, w, c = x.shape
    o = kernel.shape[3]
    matrix = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(c, 16 * o)
    # k = 2 q + r: the output row is p + 1 = 2 (i + q) + r, so q shifts by one coarse row and r is the fine one.
    y = (x.reshape(-1, c) @ matrix).reshape(n, h, w, 2, 2, 2, 2, o)
    y = _shifted_sum(y[:, :, :, 0], y[:, :, :, 1], axis=1)
    y = _shifted_sum(y[:, :, :, :, 0], y[:, :, :, :, 1], axis=2)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, o)[:, 1:-1, 1:-1]


def _shifted_sum(first: jax.Array, second: jax.Array, axis: int) -> jax.Array:
    """first at place i, second at place i + 1."""
    before = [(0, 0)] * first.ndim
    after = list(before)
    before[axis], after[axis] = (0, 1), (1, 0)
    return jnp.pad(first, before) + jnp.pad(second, after)


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Affine map: x f[...,i], kernel f[i,o], bias f[o] -> f[...,o].

    >>> dense(jnp.ones(2), jnp.eye(2), jnp.ones(2)).tolist()
    [2.0, 2.0]
    """
    return x @ kernel + bias


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 2x2 blocks: f[n,h,w,c] -> f[n,h/2,w/2,c].  Equal maxima share the gradient.

    The gradient of `lax.reduce_window` would be a select-and-scatter, 24 ms where this takes 2.

    >>> max_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
    3.0
    """
    return jnp.max(_blocks(x), axis=(2, 4))


def avg_pool(x: jax.Array) -> jax.Array:
    """Mean over 2x2 blocks: f[n,h,w,c] -> f[n,h/2,w/2,c].

    >>> avg_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
    1.5
    """
    return jnp.mean(_blocks(x), axis=(2, 4))


def _blocks(x: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    if h % 2 or w % 2:
        raise InputError(f"2x2 pooling: got an image of {h}x{w}, wanted even sides; crop or pad it first")
    return x.reshape(n, h // 2, 2, w // 2, 2, c)


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
