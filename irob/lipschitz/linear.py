"""The linear maps of explicit layers in float64, with a proved bound on the rounding of every product.

    |fl(W x) - W x|  <=  gamma |W| |x| + TINY,    gamma = 2 (n + 8) 2^-53,   n terms in the longest sum.

The classical bound n u / (1 - n u) holds for any order of the sums (Higham 2002, section 3.5); twice that, and eight
terms more, cover the kernel's own rounding where gains are merged into it, and all products of errors.  TINY covers
products that underflow.  The maps are never formed: `push` applies W to many vectors at once, by one matrix product,
and `turned` is the transpose.  NumPy alone computes here, on the host: no device's reduced precision gets in.
"""

import dataclasses
import functools
import hashlib
import math
from typing import Any

import jax
import numpy as np

from irob.core import layers
from irob.core.check import InputError

UNIT = 2.0**-53
TINY = 2.0**-1000  # more than 2^-1074, the error of a product that underflows, times any number of terms
BUFFER = 2**23  # numbers laid out at a time by a convolution: 64 MiB


def gamma(terms: int) -> float:
    """The relative rounding of a sum of that many products, from above."""
    return 2 * (terms + 8) * UNIT


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """W from shape_in to shape_out, both taken as flat vectors.

    kernel: f[n], gains of the units; f[i,o], a product along the last axis; or f[kh,kw,c,o], a convolution with that
    stride and padding.  turned: the transpose of that, shape_in and shape_out being its own.
    """

    kernel: np.ndarray
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    stride: int = 1
    pads: tuple[tuple[int, int], ...] = ()
    turned: bool = False

    @functools.cached_property
    def name(self) -> tuple:
        """A name that is equal for equal maps only."""
        digest = hashlib.sha256(np.ascontiguousarray(self.kernel).data).digest()
        return (digest, self.kernel.shape, self.shape_in, self.shape_out, self.stride, self.pads, self.turned)

    @functools.cached_property
    def gamma(self) -> float:
        """The constant of the rounding of one product, with W or its transpose."""
        return gamma(max(self.kernel.size // max(1, n) for n in self.kernel.shape[-2:]) if self.kernel.ndim > 1 else 1)

    @functools.cached_property
    def absolute(self) -> "Linear":
        """The map whose entries are the absolute values of these."""
        return self.changed(np.abs(self.kernel))

    def changed(self, kernel: np.ndarray) -> "Linear":
        """The map with another kernel."""
        return dataclasses.replace(self, kernel=kernel)

    @property
    def transposed(self) -> "Linear":
        """The transpose of W."""
        return dataclasses.replace(self, shape_in=self.shape_out, shape_out=self.shape_in, turned=not self.turned)

    def push(self, x: np.ndarray) -> np.ndarray:
        """W x for every row: f[m, n_in] -> f[m, n_out]."""
        if self.kernel.ndim == 1:
            return x * self.kernel
        if self.kernel.ndim == 2:
            kernel = self.kernel.T if self.turned else self.kernel
            return (x.reshape(-1, len(kernel)) @ kernel).reshape(len(x), math.prod(self.shape_out))
        image, grid = (self.shape_out, self.shape_in) if self.turned else (self.shape_in, self.shape_out)
        rows = max(1, BUFFER // max(1, math.prod(grid[:2]) * math.prod(self.kernel.shape[:3])))
        out = np.empty((len(x), math.prod(self.shape_out)))
        for start in range(0, len(x), rows):
            part = x[start:start + rows].reshape(-1, *self.shape_in)
            done = self._scatter(part, image) if self.turned else self._gather(part, grid)
            out[start:start + rows] = done.reshape(len(part), -1)
        return out

    def bound(self, size: np.ndarray) -> np.ndarray:
        """|W| size, from above: f[n_in] -> f[n_out], size at least 0; exactly 0 where all of it is 0."""
        if not size.any():
            return np.zeros(math.prod(self.shape_out))
        return self.absolute.push(size[None])[0] * (1 + 2 * self.gamma) + TINY

    def _gather(self, x: np.ndarray, grid) -> np.ndarray:
        """Convolution: every window against the kernel."""
        kh, kw, _, o = self.kernel.shape
        x = np.pad(x, ((0, 0), *self.pads, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))[:, ::self.stride, ::self.stride]
        windows = windows[:, :grid[0], :grid[1]].transpose(0, 1, 2, 4, 5, 3)
        return windows.reshape(len(x) * grid[0] * grid[1], -1) @ self.kernel.reshape(-1, o)

    def _scatter(self, y: np.ndarray, image) -> np.ndarray:
        """The transpose of a convolution: every number spread over its window."""
        kh, kw, c, o = self.kernel.shape
        m, h, w = y.shape[:3]
        spread = (y.reshape(-1, o) @ self.kernel.reshape(-1, o).T).reshape(m, h, w, kh, kw, c)
        sizes = [n + sum(pad) for n, pad in zip(image[:2], self.pads, strict=True)]
        out = np.zeros((m, *sizes, c))
        for i in range(kh):
            for j in range(kw):
                place = out[:, i:i + self.stride * (h - 1) + 1:self.stride, j:j + self.stride * (w - 1) + 1:self.stride]
                place += spread[:, :, :, i, j]
        (top, _), (left, _) = self.pads
        return out[:, top:top + image[0], left:left + image[1]]


def identity(shape: tuple[int, ...]) -> Linear:
    """The map that changes nothing."""
    return Linear(np.ones(math.prod(shape)), shape, shape)


def of(layer: Any, before: tuple[int, ...], after: tuple[int, ...]) -> Linear:
    """The linear part of an explicit layer from shape `before` to shape `after`.

    Raises:
        InputError: weights that are not finite.
    """
    if isinstance(layer, layers.Scale):
        return Linear(np.broadcast_to(weights(layer.gain), before).ravel(), before, before)
    kernel = weights(layer.kernel)
    if isinstance(layer, layers.Dense):
        return Linear(kernel, before, after)
    if isinstance(layer, layers.ConvTranspose):
        # y[p] sums x[i] kernel[3 - k] over p = 2 i - 1 + k: the transpose of a convolution with stride 2, padding 1.
        return Linear(np.ascontiguousarray(kernel[::-1, ::-1].transpose(0, 1, 3, 2)), before, after, 2,
                      ((1, 1), (1, 1)), turned=True)
    stride, padding = layer.stride, layer.padding
    pads = jax.lax.padtype_to_pads(before[:2], kernel.shape[:2], (stride, stride), padding) if isinstance(
        padding, str) else ((padding, padding), (padding, padding))
    return Linear(kernel, before, after, stride, tuple((int(a), int(b)) for a, b in pads))


def weights(leaf: Any) -> np.ndarray:
    """An array of weights as the layer sees it, in float64.

    Raises:
        InputError: NaN or infinity.
    """
    found = np.asarray(leaf)
    found = found.astype(jax.dtypes.canonicalize_dtype(found.dtype)).astype(np.float64)
    if not np.isfinite(found).all():
        raise InputError("layers: got weights that are NaN or infinite, wanted finite numbers")
    return found
