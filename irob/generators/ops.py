"""The transposed convolution of the GANs, in the formulation that is fastest on the CPU.

Kernel 4x4, stride 2, padding 1.  Input pixel i reaches the outputs o = 2 i - 1 + k, k = 0..3: one matrix product
gives all 16 contributions of every pixel, and four shifted sums lay them over each other.  For 64 images
7x7x128 -> 14x14x64, forward and backward take 14 ms on 2 cores, against 21 ms as a sub-pixel convolution and
168 ms as a convolution of the dilated input.
"""

import jax
import jax.numpy as jnp


def conv_transpose(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """x: f[n,h,w,in], kernel: f[4,4,in,out] -> f[n,2h,2w,out].

    y[o] = bias + sum over i, k with o = 2 i - 1 + k of x[i] kernel[3 - k], in both axes: the kernel is stored as
    for a convolution of the dilated input, which is how Flax and XLA store it.
    """
    n, h, w, _ = x.shape
    out = kernel.shape[3]
    matrix = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(x.shape[3], 16 * out)
    # k = 2 q + r: the output row is o + 1 = 2 (i + q) + r, so q shifts by one coarse row and r is the fine one.
    y = (x.reshape(-1, x.shape[3]) @ matrix).reshape(n, h, w, 2, 2, 2, 2, out)
    y = _overlap(y[:, :, :, 0], y[:, :, :, 1], axis=1)
    y = _overlap(y[:, :, :, :, 0], y[:, :, :, :, 1], axis=2)
    y = y.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, out)
    return y[:, 1:-1, 1:-1] + bias


def _overlap(first: jax.Array, second: jax.Array, axis: int) -> jax.Array:
    """first at place i, second at place i + 1."""
    before = [(0, 0)] * first.ndim
    after = list(before)
    before[axis], after[axis] = (0, 1), (1, 0)
    return jnp.pad(first, before) + jnp.pad(second, after)
