"""Explicit layers in float64 on the host, with a proved bound on the distance to exact arithmetic.

For every value h of a layer, e bounds |h - exact| from above, entry by entry.  An affine map of m terms gives

    e'  =  |W| e + gamma_{m+1} (|W| |h| + |b|),    gamma_n = n 2^-53 / (1 - n 2^-53),

whatever the order of the sums, and so scales with the numbers that cancel, not with what is left of them.  Sorting,
maxima and ReLUs round nothing.  Every e is computed a little too large, for its own rounding.

Reference: Higham, "Accuracy and Stability of Numerical Algorithms", 2002, chapter 3.
"""

import math
from typing import Any

import jax
import numpy as np

from irob.core import layers as kinds
from irob.core.check import InputError
from irob.math.operator_norm import UNIT, gamma, operator_norm

SMALLEST = float(np.finfo(np.float64).tiny)  # what one operation loses where results below it are set to 0
KNOWN = (kinds.Dense, kinds.Conv, kinds.Scale, kinds.AvgPool, kinds.Flatten, kinds.Reshape, kinds.ReLU,
         kinds.LeakyReLU, kinds.GroupSort, kinds.MaxPool, kinds.Clip)
Pair = tuple[np.ndarray, np.ndarray]


def supported(given: tuple[Any, ...], certifier: str) -> tuple[Any, ...]:
    """The layers with numbers in float64.

    Raises:
        InputError: a layer that is not known, by name; numbers that are not finite.
    """
    for i, layer in enumerate(given):
        if not isinstance(layer, KNOWN):
            wanted = ", ".join(k.__name__ for k in KNOWN)
            raise InputError(f"{certifier}: got layer {type(layer).__name__} at place {i}, wanted one of {wanted}")
        numbers = [layer.slope] if isinstance(layer, kinds.LeakyReLU) else jax.tree.leaves(layer)
        if not all(np.isfinite(np.asarray(a, np.float64)).all() for a in numbers):
            raise InputError(f"{certifier}: layer {i} ({type(layer).__name__}) holds NaN or infinity, wanted finite "
                             "weights")
    return tuple(jax.tree.map(lambda a: np.asarray(a, np.float64), layer) for layer in given)


def stretch(layer: Any) -> float:
    """An upper bound on the Lipschitz constant of one layer from l2 to l2.

    Convolution, padded by zeros, of stride s: every pixel is in at most ceil(kh/s) ceil(kw/s) patches, so the patches
    are at most the root of that longer than the image; and it is a sum over taps of shifts and channel matrices.  Both
    bounds hold; the smaller one is taken.
    """
    if isinstance(layer, kinds.Dense):
        return operator_norm(layer.kernel)
    if isinstance(layer, kinds.Conv):
        kh, kw, c, o = layer.kernel.shape
        patches = math.ceil(kh / layer.stride) * math.ceil(kw / layer.stride)
        whole = operator_norm(np.reshape(layer.kernel, (-1, o))) * math.sqrt(patches)
        taps = sum(operator_norm(k) for k in np.reshape(layer.kernel, (-1, c, o)))
        return above(min(whole * (1 + 2 * UNIT), taps * (1 + gamma(kh * kw))))
    if isinstance(layer, kinds.Scale):
        return float(np.max(np.abs(layer.gain), initial=0.0))
    if isinstance(layer, kinds.AvgPool):
        return 0.5
    if isinstance(layer, kinds.LeakyReLU):
        return max(1.0, abs(float(layer.slope)))
    return 1.0


def above(value: float) -> float:
    """The next float, and no subnormal; infinity for NaN, which 0 times infinity is."""
    return math.inf if math.isnan(value) else max(math.nextafter(value, math.inf), SMALLEST)


def product(factors) -> float:
    """The product of numbers >= 0, rounded up.

    >>> product([0.5, 2.0]) >= 1.0, product([1e-200, 1e-200]) > 0, product([0.0, 3.0])
    (True, True, 0.0)
    """
    found = 1.0
    for factor in factors:
        if factor == 0:
            return 0.0
        found = above(found * factor)
    return found


def run(given: tuple[Any, ...], x: np.ndarray) -> Pair:
    """(h f[n,...], e f[n,...]) of the layers that `supported` gave, for images f[n,H,W,C]."""
    pair: Pair = (np.asarray(x, np.float64), np.zeros(x.shape))
    with np.errstate(all="ignore"):
        for layer in given:
            pair = _apply(layer, *pair)
    return pair


def _apply(layer: Any, h: np.ndarray, e: np.ndarray) -> Pair:
    if isinstance(layer, kinds.Dense):
        return _affine(lambda a, k: a @ k, h, e, layer.kernel, layer.bias, len(layer.kernel))
    if isinstance(layer, kinds.Conv):
        def convolve(a, k):
            return _convolve(a, k, layer.stride, layer.padding)

        return _affine(convolve, h, e, layer.kernel, layer.bias, math.prod(layer.kernel.shape[:3]))
    if isinstance(layer, kinds.Scale):
        return _affine(np.multiply, h, e, layer.gain, layer.bias, 1)
    if isinstance(layer, kinds.AvgPool):
        return _affine(lambda a, k: _blocks(a).sum((2, 4)) * k, h, e, 0.25, 0.0, 4)
    if isinstance(layer, kinds.ReLU):
        return np.maximum(h, 0), e
    if isinstance(layer, kinds.LeakyReLU):
        slope = float(layer.slope)
        found, moved = _affine(np.multiply, h, e, slope, 0.0, 1)
        return np.where(h >= 0, h, found), np.maximum(e, moved)  # an error may cross the kink
    if isinstance(layer, kinds.GroupSort):
        pairs, errors = (a.reshape(*a.shape[:-1], -1, 2) for a in (h, e))
        worst = np.broadcast_to(errors.max(-1, keepdims=True), errors.shape)
        return np.sort(pairs, -1).reshape(h.shape), worst.reshape(h.shape)
    if isinstance(layer, kinds.MaxPool):
        return _blocks(h).max((2, 4)), _blocks(e).max((2, 4))
    if isinstance(layer, kinds.Clip):
        return np.minimum(np.maximum(h, layer.low), layer.high), e
    shape = (-1,) if isinstance(layer, kinds.Flatten) else tuple(layer.shape)
    return h.reshape(len(h), *shape), e.reshape(len(h), *shape)


def _affine(apply, h, e, kernel, bias, terms: int) -> Pair:
    """apply(h, kernel) + bias, linear in both; sums of so many terms."""
    g = 2 * gamma(terms + 4)  # twice: for the rounding of the bound itself
    magnitude = apply(e + g * np.abs(h), np.abs(kernel)) + g * np.abs(bias)
    return apply(h, kernel) + bias, magnitude * (1 + g) + 4 * (terms + 4) * SMALLEST


def _convolve(x, kernel, stride, padding):
    """f[n,h,w,c] and f[kh,kw,c,o] -> f[n,h',w',o], tap by tap."""
    kh, kw = kernel.shape[:2]
    sides = (jax.lax.padtype_to_pads(x.shape[1:3], (kh, kw), (stride, stride), padding) if isinstance(padding, str)
             else ((padding, padding), (padding, padding)))
    x = np.pad(x, ((0, 0), *sides, (0, 0)))
    rows, columns = ((x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1)
    return sum(x[:, i:i + stride * (rows - 1) + 1:stride, j:j + stride * (columns - 1) + 1:stride] @ kernel[i, j]
               for i in range(kh) for j in range(kw))


def _blocks(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c)
