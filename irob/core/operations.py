"""Operations of networks in the formulation that is fastest on the CPU.

They take a batch [n, ...] in NHWC; kernels are HWIO.  Off the CPU they are the plain ones.
Measured for the small CNN of the paper, batch 128, on one core (milliseconds; PyTorch 68 to 81 and 82):

    gradient of the input    reduce_window max-pool 90, reshape and maximum 65
    gradient of the weights  bias by broadcasting 140, bias in two stages 126

The slow custom fusion of un-padded convolutions is switched off in `irob.core.compile`; with it off, XLA's own
convolution beats im2col, shifted products and padding with slicing, forward and backward.
"""

import contextlib
import contextvars
import functools

import jax
import jax.numpy as jnp

from irob.core.check import InputError

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
