"""The walk that interval, zonotope and CROWN share: linear functionals pulled back through affine layers and lines."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from irob.certify import _lines, _rows
from irob.certify._lines import CURVED, Lines
from irob.certify._region import Region, ball, box, fall
from irob.certify._rows import Rows
from irob.certify.dual import shapes
from irob.core import layers as kinds

Bounds = list[tuple[jax.Array, jax.Array]]
INNER = ("lines", "interval")
# Of the sum of the sizes of all terms of a bound, subtracted for rounding: 160 roundings of float32 in one direction.
ROUNDING = 1e-5


def lower(rows: Rows, given, sizes, found: list[Lines], region: Region, rounding: float = ROUNDING) -> jax.Array:
    """A lower bound f[r] of functionals of the output of the layers `given`, whose input lies in the region.

    sizes: from `shapes`.  found: the lines of the layers that are not affine, in order.
    rounding: of the sum of the sizes of all terms, subtracted for float32.
    """
    constant, size, left = jnp.zeros(()), jnp.zeros(()), list(found)
    for layer, before, after in zip(reversed(given), reversed(sizes[:-1]), reversed(sizes[1:]), strict=True):
        if isinstance(layer, CURVED):
            rows, added, terms = _lines.through(rows, layer, left.pop(), before)
            constant, size = constant + added, size + terms
            continue
        bias = _rows.bias(layer, after)
        if bias is not None:
            constant, size = constant + rows.dot(bias), size + rows.dot(jnp.abs(bias), jnp.abs)
        rows = rows.pull(layer, before)
    down = fall(rows, region)
    size = size + rows.dot(jnp.abs(region.centre), jnp.abs) + down
    return rows.dot(region.centre) + constant - down - rounding * size


def forward(layer: Any, low: jax.Array, high: jax.Array) -> tuple[jax.Array, jax.Array]:
    """An interval through one layer: curved ones are monotone, affine ones have centre and radius."""
    if isinstance(layer, CURVED):
        return layer(low), layer(high)
    if not hasattr(layer, "bias"):  # means and reshapes are monotone too
        return layer(low), layer(high)
    centre, radius = layer((low + high) / 2), _absolute(layer)((high - low) / 2)
    slack = ROUNDING * (_absolute(layer)(jnp.maximum(jnp.abs(low), jnp.abs(high))) + jnp.abs(layer.bias))
    return centre - radius - slack, centre + radius + slack


def _absolute(layer):
    """The affine layer with absolute coefficients and without bias."""
    name = "kernel" if hasattr(layer, "kernel") else "gain"
    zero = jnp.zeros_like(layer.bias)
    if isinstance(layer, kinds.Conv):
        return kinds.Conv(jnp.abs(layer.kernel), zero, layer.stride, layer.padding)
    return type(layer)(jnp.abs(getattr(layer, name)), zero)


def inner(given, region: Region, frees=None, *, start, parallel: bool = False, how: str = "lines",
          rounding: float = ROUNDING) -> tuple[Bounds, list[jax.Array]]:
    """(l, u) of the input of every layer that is not affine, in order, and the free numbers that were used.

    Each is the better of the interval before it and, with how "lines", of the walk from every unit.
    frees: the free numbers of the lines; by default `start(layer, l, u)`.
    """
    sizes = shapes(given, region.centre)
    bounds: Bounds = []
    used: list[jax.Array] = []
    lines: list[Lines] = []
    low, high = region.centre - region.down, region.centre + region.up
    fresh = False  # whether something affine came since the last bounds
    for i, layer in enumerate(given):
        if isinstance(layer, CURVED):
            if fresh and (how == "lines" or not bounds):
                rows = _rows.units(sizes[i], given[:i])
                walk = functools.partial(lower, given=given[:i], sizes=sizes[: i + 1], found=lines, region=region,
                                         rounding=rounding)
                negative = Rows(-rows.a, rows.shape, rows.window)
                low = jnp.maximum(low, walk(rows).reshape(sizes[i]))
                high = jnp.minimum(high, -walk(negative).reshape(sizes[i]))
            bounds.append((low, high))
            used.append(start(layer, low, high) if frees is None else frees[len(used)])
            lines.append(_lines.lines(layer, low, high, used[-1], parallel))
            fresh = False
        elif isinstance(layer, (kinds.Dense, kinds.Conv, kinds.AvgPool)):
            fresh = True
        low, high = forward(layer, low, high)
    return bounds, used


def last(given) -> int:
    """The place after the last layer that is not affine; 0 if all are affine."""
    return max((i + 1 for i, layer in enumerate(given) if isinstance(layer, CURVED)), default=0)


def from_boxes(rows: Rows, given, region: Region, bounds: Bounds, rounding: float = ROUNDING) -> jax.Array:
    """The interval's lower bound of functionals of the output: the affine end, walked back to the last box."""
    cut = last(given)
    sizes = shapes(given, region.centre)
    if cut:
        region = box(*forward(given[cut - 1], *bounds[-1]))
    return lower(rows, given[cut:], sizes[cut:], [], region, rounding)


def differences(classes: int, y: jax.Array) -> jax.Array:
    """Coefficients of f_y - f_k for every class k but y: f[classes - 1, classes]."""
    identity = jnp.eye(classes)
    return identity[y] - identity[(y + 1 + jnp.arange(classes - 1)) % classes]


__all__ = ["Bounds", "INNER", "ball", "differences", "forward", "from_boxes", "inner", "last", "lower", "shapes"]
