"""Linear functionals of one activation, pulled back layer by layer towards the input.

A certifier that walks a network backward carries, for every unit that it bounds, the coefficients of a linear
functional of an earlier activation.  Units of a convolution see a window of it alone, so only the window is stored:

    a[p, q, o, i, j, c] is the coefficient of unit (p, q, o) on entry (p s + i - l, q s + j - l', c)

with stride s and low padding (l, l').  Before anything that depends on the place is multiplied in, all places have the
same coefficients and p, q have length 1.  For the second layer of the paper's LP-Certify network that is a fiftieth
of the work of pulling whole images back.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from irob.certify.proof.roundoff import WEIGHTED
from irob.core import layers
from irob.core.check import InputError
from irob.math import rounding

Pads = tuple[tuple[int, int], tuple[int, int]]
LAYOUTS = ("NHWC", "HWIO", "NHWC")
WIDER = 8  # a window at most so many times a kernel is pulled back by one matrix product


@dataclasses.dataclass(frozen=True)
class Window:
    """Where the windows lie: number of places, stride and low padding in both axes."""

    places: tuple[int, int]
    stride: int = 1
    low: tuple[int, int] = (0, 0)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Functionals of an activation of `shape`.  window None: a is f[r, *shape].

    inside: coefficients outside of the image are 0.  Otherwise they may be anything: there the activation is 0.
    """

    a: jax.Array
    shape: tuple[int, ...]
    window: Window | None = None
    inside: bool = False

    @property
    def span(self) -> tuple[int, ...]:
        """The shape that one functional sums over."""
        return self.shape if self.window is None else self.a.shape[3:]

    def dot(self, v: jax.Array, part=lambda a: a) -> jax.Array:
        """sum of part(a) v for every functional: v of `shape` -> f[r].  part: an elementwise function.

        A term meets `rounding.roundings(span)` roundings.
        """
        a = part(self.a)
        long = math.prod(self.span) > rounding.LONG
        if self.window is None:
            if long:
                return rounding.total(a * v, self.span)
            return a.reshape(len(a), -1) @ v.reshape(-1)
        seen = windows(v, self.window, a.shape[3:5])
        if long:
            return rounding.total(a * seen[:, :, None], self.span).reshape(-1)
        if a.shape[:2] == (1, 1):
            return jnp.einsum("oijc,pqijc->pqo", a[0, 0], seen).reshape(-1)
        return jnp.einsum("pqoijc,pqijc->pqo", a, seen).reshape(-1)

    def times(self, v: jax.Array) -> "Rows":
        """Functionals of v x as functionals of x, v of `shape`."""
        if self.window is None:
            return dataclasses.replace(self, a=self.a * v)
        _, _, _, height, width, _ = self.a.shape
        a = self.a * windows(v, self.window, (height, width))[:, :, None]
        return dataclasses.replace(self, a=a, inside=True)

    def pull(self, layer, shape: tuple[int, ...]) -> "Rows":
        """Functionals of the output of an affine layer without its bias as functionals of its input."""
        a = self.a
        if isinstance(layer, layers.Flatten | layers.Reshape):
            return Rows(a.reshape(len(a), *shape), shape)
        if isinstance(layer, layers.Dense):
            return Rows(a @ layer.kernel.T, shape)
        if isinstance(layer, layers.Scale):
            return dataclasses.replace(self.times(jnp.broadcast_to(layer.gain, shape)), shape=shape)
        if isinstance(layer, layers.AvgPool):
            axes, window = ((1, 2), None) if self.window is None else ((3, 4), _beneath(self.window, 2, (0, 0)))
            return Rows(jnp.repeat(jnp.repeat(a, 2, axes[0]), 2, axes[1]) / 4, shape, window, self.inside)
        assert isinstance(layer, layers.Conv)
        pads = padding(layer, shape)
        if self.window is None:
            return Rows(conv_transposed(a, layer.kernel, layer.stride, pads, shape), shape)
        if not self.inside and self.outside():
            a = self.times(jnp.ones(self.shape)).a  # padding is 0, and no output of the convolution below
        size = a.shape[3:]
        kh, kw, c, _ = layer.kernel.shape
        wide = ((size[0] - 1) * layer.stride + kh, (size[1] - 1) * layer.stride + kw, c)
        none = ((0, 0), (0, 0))
        flat = a.reshape(-1, *size)
        if wide[0] * wide[1] <= WIDER * kh * kw:
            taps = jnp.eye(math.prod(size)).reshape(-1, *size)
            matrix = conv_transposed(taps, layer.kernel, layer.stride, none, wide)
            flat = flat.reshape(len(flat), -1) @ matrix.reshape(len(taps), -1)
        else:
            flat = conv_transposed(flat, layer.kernel, layer.stride, none, wide)
        low = (pads[0][0], pads[1][0])
        return Rows(flat.reshape(*a.shape[:3], *wide), shape, _beneath(self.window, layer.stride, low))

    def outside(self) -> bool:
        """Whether a window reaches beyond the image."""
        assert self.window is not None
        each = zip(self.window.places, self.window.low, self.a.shape[3:5], self.shape[:2], strict=True)
        return any(low > 0 or (n - 1) * self.window.stride - low + k > size for n, low, k, size in each)


def _beneath(window: Window, stride: int, low: tuple[int, int]) -> Window:
    down = (window.low[0] * stride + low[0], window.low[1] * stride + low[1])
    return Window(window.places, window.stride * stride, down)


def units(shape: tuple[int, ...], below) -> Rows:
    """Every unit of an activation; as windows where nothing `below` it mixes all places."""
    if len(shape) == 3 and not any(isinstance(a, layers.Dense | layers.Flatten | layers.Reshape) for a in below):
        return Rows(jnp.eye(shape[2])[None, None, :, None, None, :], shape, Window(shape[:2]))
    n = math.prod(shape)
    return Rows(jnp.eye(n).reshape(n, *shape), shape)


def windows(v: jax.Array, window: Window, size: tuple[int, int]) -> jax.Array:
    """v f[h,w,c] -> f[p,q,i,j,c], zero outside of the image.  Slices, whose gradients are cheap, and no gather."""
    for axis in (0, 1):
        n, stride, low, k = window.places[axis], window.stride, window.low[axis], size[axis]
        high = (n - 1) * stride + k - low - v.shape[2 * axis]
        config = [(0, 0, 0)] * v.ndim
        config[2 * axis] = (low, high, 0)
        v = jax.lax.pad(v, jnp.zeros((), v.dtype), config)
        end = (n - 1) * stride + 1
        taps = [jax.lax.slice_in_dim(v, t, t + end, stride, axis=2 * axis) for t in range(k)]
        v = jnp.stack(taps, axis=2 * axis + 1)
    return v.transpose(0, 2, 1, 3, 4)


def padding(layer: layers.Conv, shape: tuple[int, ...]) -> Pads:
    """Pixels of padding of a convolution on its input: ((low, high), (low, high)).

    >>> padding(layers.Conv(jnp.ones((3, 3, 1, 1)), jnp.zeros(1), 2, "SAME"), (4, 4, 1))
    ((0, 1), (0, 1))
    """
    if isinstance(layer.padding, str):
        found = jax.lax.padtype_to_pads(shape[:2], layer.kernel.shape[:2], (layer.stride, layer.stride), layer.padding)
        (top, bottom), (left, right) = found
        return (top, bottom), (left, right)
    return ((layer.padding, layer.padding), (layer.padding, layer.padding))


def conv_transposed(y: jax.Array, kernel: jax.Array, stride: int, pads: Pads, shape: tuple[int, ...]) -> jax.Array:
    """The transpose of a convolution: y f[n,h',w',o] -> f[n,*shape].

    On the CPU it is the plain convolution of y with all phases of the kernel at once, from which the pixels are then
    laid side by side: half the time of the convolution of a y with zeros between its pixels.
    """
    return _transposed(y, kernel, stride, pads, tuple(shape))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _transposed(y, kernel, stride, pads, shape):
    if jax.default_backend() != "cpu":
        def forward(x):
            return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=LAYOUTS)

        (x,) = jax.linear_transpose(forward, jax.ShapeDtypeStruct((len(y), *shape), y.dtype))(y)
        return x
    c, o = kernel.shape[2:]
    n, h, w = y.shape[:3]
    phases = layers.phases(kernel, stride)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
    rows, columns = phases.shape[:2]
    edges = ((rows - 1, rows - 1), (columns - 1, columns - 1))
    z = jax.lax.conv_general_dilated(y, phases.reshape(rows, columns, o, -1), (1, 1), edges, dimension_numbers=LAYOUTS)
    h, w = h + rows - 1, w + columns - 1
    z = z.reshape(n, h, w, stride, stride, c).transpose(0, 1, 3, 2, 4, 5)
    return _crop(z.reshape(n, h * stride, w * stride, c), pads, shape)


@_transposed.defjvp
def _transposed_jvp(stride, pads, shape, primals, tangents):
    """The derivative of a transposed convolution; that by the kernel is one matrix product and shifted sums.

    Its transpose, the gradient of the kernel, is then a matrix product too: XLA's own of the convolution above takes
    25 ms for 10 images 7x7x32, this one 0.7.
    """
    (y, kernel), (dy, dkernel) = primals, tangents
    x = _transposed(y, kernel, stride, pads, shape)
    return x, _transposed(dy, kernel, stride, pads, shape) + _overlap_add(y, dkernel, stride, pads, shape)


def _overlap_add(y, kernel, stride, pads, shape):
    """`_transposed` in another order: every pixel's contributions, laid over each other.

    The product is written as a 1x1 convolution, which `vmap` keeps as one: the gradient of a product of many small
    matrices takes four times as long.
    """
    n, h, w, o = y.shape
    phases = layers.phases(kernel, stride)
    matrix = phases.reshape(1, 1, -1, o).transpose(0, 1, 3, 2)
    pixels = y.reshape(-1, 1, 1, o)
    z = jax.lax.conv_general_dilated(pixels, matrix, (1, 1), "VALID", dimension_numbers=LAYOUTS)
    z = z.reshape(n, h, w, *phases.shape[:5])
    z = _shifted([z[:, :, :, q] for q in range(z.shape[3])], axis=1)
    z = _shifted([z[:, :, :, :, q] for q in range(z.shape[4])], axis=2)
    z = z.transpose(0, 1, 3, 2, 4, 5)
    return _crop(z.reshape(n, z.shape[1] * stride, z.shape[3] * stride, -1), pads, shape)


def _shifted(parts: list[jax.Array], axis: int) -> jax.Array:
    """The sum of parts, the q-th moved by q places."""
    edges = [(0, 0)] * parts[0].ndim
    total = jnp.zeros(())
    for q, part in enumerate(parts):
        edges[axis] = (q, len(parts) - 1 - q)
        total = total + jnp.pad(part, edges)
    return total


def _crop(z, pads, shape):
    """The image without its padding; pixels that no tap reaches are 0."""
    sides = [(-low, size + low - full, 0) for (low, _), size, full in zip(pads, shape, z.shape[1:3], strict=False)]
    return jax.lax.pad(z, jnp.zeros((), z.dtype), [(0, 0, 0), *sides, (0, 0, 0)])


AFFINE = (layers.Dense, layers.Conv, layers.AvgPool, layers.Scale, layers.Flatten, layers.Reshape)


def bias(layer, shape: tuple[int, ...]) -> jax.Array | None:
    """What an affine layer adds, over its output `shape`; None for nothing."""
    return jnp.broadcast_to(layer.bias, shape) if isinstance(layer, WEIGHTED) else None


def supported(given, certifier: str) -> None:
    """Raises `InputError` for a layer that is neither affine nor ReLU, by name."""
    for i, layer in enumerate(given):
        if not isinstance(layer, (*AFFINE, layers.ReLU)):
            kinds = ", ".join(k.__name__ for k in (*AFFINE, layers.ReLU))
            raise InputError(f"{certifier}: got layer {type(layer).__name__} at place {i}, wanted one of {kinds}")
