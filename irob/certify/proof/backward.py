"""The walk that interval, zonotope and CROWN share: linear functionals pulled back through affine layers and lines."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from irob.certify.dual import shapes
from irob.certify.proof import envelope, functionals, roundoff
from irob.certify.proof.envelope import CURVED, Lines
from irob.certify.proof.functionals import Rows
from irob.certify.proof.regions import Region, ball, box, fall
from irob.certify.proof.roundoff import Loss
from irob.core import layers as kinds
from irob.math.rounding import UNIT, allowance, roundings

Bounds = list[tuple[jax.Array, jax.Array]]
INNER = ("lines", "interval")


def lower(rows: Rows, given, sizes, found: list[Lines], region: Region, losses: list[Loss] | None = None) -> jax.Array:
    """A lower bound f[r] of functionals of the output of the layers `given`, whose input lies in the region.

    sizes: from `shapes`.  found: the lines of the layers that are not affine, in order.
    losses: of the input and of every layer's output, subtracted for rounding; None for the bound of real numbers.
    """
    constant, size, left = jnp.zeros(()), jnp.zeros(()), list(found)
    for i in reversed(range(len(given))):
        layer, before, after = given[i], sizes[i], sizes[i + 1]
        size = size if losses is None else size + roundoff.paid(rows, losses[i + 1])
        if isinstance(layer, CURVED):
            rows, added = envelope.through(rows, layer, left.pop(), before)
            constant = constant + added
            continue
        bias = functionals.bias(layer, after)
        if bias is not None:
            constant = constant + rows.dot(bias)
        rows = rows.pull(layer, before)
    down, terms = fall(rows, region)
    if losses is not None:
        own = allowance(roundings(rows.span) + roundoff.FEW)
        size = size + roundoff.paid(rows, losses[0]) + own * jax.lax.stop_gradient(terms)
    return rows.dot(region.centre) + constant - down - size


def forward(layer: Any, low: jax.Array, high: jax.Array) -> tuple[jax.Array, jax.Array]:
    """An interval through one layer, rounded outwards: curved ones are monotone, affine ones have centre and radius."""
    if isinstance(layer, CURVED):
        low, high = layer(low), layer(high)
        return low - roundoff.wobble(layer, low), high + roundoff.wobble(layer, high)
    if not isinstance(layer, roundoff.AFFINE):  # reshapes
        return layer(low), layer(high)
    slack = roundoff.error(layer, jnp.maximum(jnp.abs(low), jnp.abs(high)))
    if not isinstance(layer, roundoff.WEIGHTED):  # means are monotone too
        return layer(low) - slack, layer(high) + slack
    centre, radius = layer((low + high) / 2), absolute(layer)((high - low) / 2)
    return centre - radius - slack, centre + radius + slack


def absolute(layer):
    """The affine layer with absolute coefficients and without bias; layers without coefficients as they are."""
    if not isinstance(layer, roundoff.WEIGHTED):
        return layer
    zero = jnp.zeros_like(layer.bias)
    if isinstance(layer, kinds.Conv):
        return kinds.Conv(jnp.abs(layer.kernel), zero, layer.stride, layer.padding)
    return type(layer)(jnp.abs(roundoff.coefficients(layer)), zero)


def inner(given, region: Region, frees=None, *, start, parallel: bool = False,
          how: str = "lines") -> tuple[Bounds, list[jax.Array], list[Loss]]:
    """(l, u) of the input of every layer that is not affine, in order, the free numbers that were used, and losses.

    Each is the better of the interval before it and, with how "lines", of the walk from every unit.
    frees: the free numbers of the lines; by default `start(layer, l, u)`.
    losses: of the input and of every layer's output, for `lower`.
    """
    sizes = shapes(given, region.centre)
    bounds: Bounds = []
    used: list[jax.Array] = []
    lines: list[Lines] = []
    low, high = edges(region)
    loss, most = roundoff.first(region.centre, jnp.maximum(region.down, region.up))
    losses = [loss]
    fresh = positive = False  # fresh: whether something affine came since the last bounds
    for i, layer in enumerate(given):
        if isinstance(layer, CURVED):
            if fresh and (how == "lines" or not bounds):
                rows = functionals.units(sizes[i], given[:i])
                walk = functools.partial(lower, given=given[:i], sizes=sizes[: i + 1], found=lines, region=region,
                                         losses=losses)
                negative = Rows(-rows.a, rows.shape, rows.window)
                low = jnp.maximum(low, walk(rows).reshape(sizes[i]))
                high = jnp.minimum(high, -walk(negative).reshape(sizes[i]))
            bounds.append((low, high))
            used.append(start(layer, low, high) if frees is None else frees[len(used)])
            lines.append(envelope.lines(layer, low, high, used[-1], parallel))
            fresh = False
        elif isinstance(layer, (kinds.Dense, kinds.Conv, kinds.AvgPool)):
            fresh = True
        loss, most = roundoff.then(layer, most, low, high, positive)
        losses.append(loss)
        positive = roundoff.positive(layer, positive)
        low, high = forward(layer, low, high)
    return bounds, used, jax.lax.stop_gradient(losses)


def edges(region: Region) -> tuple[jax.Array, jax.Array]:
    """The box about a region, rounded outwards."""
    slack = 4 * UNIT * (jnp.abs(region.centre) + jnp.maximum(region.down, region.up))
    return region.centre - region.down - slack, region.centre + region.up + slack


def better(a: jax.Array, b: jax.Array) -> jax.Array:
    """The larger of two lower bounds; NaN is none."""
    return jnp.where((b > a) | jnp.isnan(a), b, a)


def last(given) -> int:
    """The place after the last layer that is not affine; 0 if all are affine."""
    return max((i + 1 for i, layer in enumerate(given) if isinstance(layer, CURVED)), default=0)


def from_boxes(rows: Rows, given, region: Region, bounds: Bounds) -> jax.Array:
    """The interval's lower bound of functionals of the output: the affine end, walked back to the last box."""
    cut = last(given)
    sizes = shapes(given, region.centre)[cut:]
    if cut:
        region = box(*forward(given[cut - 1], *bounds[-1]))
    loss, most = roundoff.first(region.centre, jnp.maximum(region.down, region.up))
    losses, positive = [loss], cut > 0 and roundoff.positive(given[cut - 1], False)
    for layer in given[cut:]:
        loss, most = roundoff.then(layer, most, positive=positive)
        losses.append(loss)
        positive = roundoff.positive(layer, positive)
    return lower(rows, given[cut:], sizes, [], region, losses)


def differences(classes: int, y: jax.Array) -> jax.Array:
    """Coefficients of f_y - f_k for every class k but y: f[classes - 1, classes]."""
    identity = jnp.eye(classes)
    return identity[y] - identity[(y + 1 + jnp.arange(classes - 1)) % classes]


__all__ = ["Bounds", "INNER", "ball", "differences", "forward", "from_boxes", "inner", "last", "lower", "shapes"]
