"""Layers that are not affine, between lines: what a walk over linear functionals needs to know of them.

For inputs in [l, u] every entry of a layer's output obeys

    low_slope x + low_offset <= phi(x) <= high_slope x + high_offset,

and `free` in [0, 1] picks one of the lines that are sound.  Any of them is; the best one depends on the functional.
Max-pool takes the sum of slope times x over its block.  Group-sort has  max(a, b) = a + r, min(a, b) = b - r  with
r = relu(b - a), so that its lines are those of r.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from irob.certify.proof import functionals, roundoff
from irob.certify.proof.functionals import Rows
from irob.core import layers as kinds
from irob.core.check import InputError
from irob.core.types import value
from irob.math.rounding import UNIT

CURVED = (kinds.ReLU, kinds.LeakyReLU, kinds.Clip, kinds.Tanh, kinds.MaxPool, kinds.GroupSort)


@value()
class Lines:
    """Slopes, of the shape of the input, and offsets, of that of the output (group-sort: both of its r)."""

    low_slope: jax.Array
    low_offset: jax.Array
    high_slope: jax.Array
    high_offset: jax.Array


def supported(given: tuple[Any, ...], certifier: str) -> None:
    """Raises `InputError` for a layer that is neither affine nor between lines, by name."""
    for i, layer in enumerate(given):
        if not isinstance(layer, (*functionals.AFFINE, *CURVED)):
            wanted = ", ".join(k.__name__ for k in (*functionals.AFFINE, *CURVED))
            raise InputError(f"{certifier}: got layer {type(layer).__name__} at place {i}, wanted one of {wanted}")


def difference(low: jax.Array, high: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bounds of b - a for neighbours (a, b) in [low, high]."""
    return low[..., 1::2] - high[..., ::2], high[..., 1::2] - low[..., ::2]


def adaptive(layer: Any, low: jax.Array, high: jax.Array) -> jax.Array:
    """The free numbers whose lines leave the smallest area, chosen for every unit by itself."""
    if isinstance(layer, kinds.GroupSort):
        low, high = difference(low, high)
    if isinstance(layer, kinds.ReLU | kinds.LeakyReLU | kinds.GroupSort):
        return jnp.where(high > -low, 1.0, 0.0)
    return jnp.ones_like(low)


def smallest(layer: Any, low: jax.Array, high: jax.Array) -> jax.Array:
    """The free numbers whose parallel lines leave the smallest area: u / (u - l)."""
    if isinstance(layer, kinds.GroupSort):
        low, high = difference(low, high)
    if isinstance(layer, kinds.ReLU | kinds.LeakyReLU | kinds.GroupSort):
        unstable = (low < 0) & (high > 0)
        return jnp.where(unstable, high / jnp.where(unstable, high - low, 1.0), 1.0)
    return jnp.ones_like(low)


def lines(layer: Any, low: jax.Array, high: jax.Array, free: jax.Array, parallel: bool = False) -> Lines:
    """The lines of a layer for inputs in [low, high], both f[*shape], free f[*shape] (group-sort: of its r).

    parallel: both lines of a (leaky) ReLU have one slope, as in a zonotope; its area is then (u - l) times the width,
    at the slope u / (u - l) equal to -u l.

    >>> found = lines(kinds.ReLU(), jnp.array([-1.0]), jnp.array([3.0]), jnp.array([0.5]))
    >>> [float(v[0]) for v in (found.low_slope, found.high_slope, found.high_offset)]
    [0.5, 0.75, 0.75]
    """
    # A unit without bounds has no lines: one NaN, and nothing is certified.
    sane = roundoff.known(low, high)
    low, high = jnp.where(sane, low, jnp.nan), jnp.where(sane, high, jnp.nan)
    return _of(layer, low, high, free, parallel)


def _of(layer, low, high, free, parallel):
    if isinstance(layer, kinds.GroupSort):
        return _hinge(0.0, *difference(low, high), free, parallel)
    if isinstance(layer, kinds.ReLU | kinds.LeakyReLU):
        return _hinge(layer.slope, low, high, free, parallel)
    if isinstance(layer, kinds.Clip):
        return _clip(layer, low, high, free)
    if isinstance(layer, kinds.Tanh):
        # The derivative is smallest at an end, and below it a line through an end stays on its side.
        slope = jnp.minimum(1 - jnp.tanh(low) ** 2, 1 - jnp.tanh(high) ** 2)
        slope = jax.nn.relu(slope - 2 * roundoff.TANH * UNIT)
        return Lines(slope, jnp.tanh(low) - slope * low, slope, jnp.tanh(high) - slope * high)
    assert isinstance(layer, kinds.MaxPool)
    return _pool(low, high, free)


def _hinge(s, low, high, free, parallel):
    """x -> max(x, s x)."""
    unstable = (low < 0) & (high > 0)
    stable = jnp.where(low >= 0, 1.0, s)
    slope = jnp.where(unstable, s + (1 - s) * free, stable)
    if parallel:
        width = jnp.maximum((1 - slope) * high, (s - slope) * low)
        return Lines(slope, jnp.zeros_like(low), slope, jnp.where(unstable, width, 0.0))
    chord = jnp.where(unstable, (high - s * low) / jnp.where(unstable, high - low, 1.0), stable)
    return Lines(slope, jnp.zeros_like(low), chord, jnp.where(unstable, (1 - chord) * high, 0.0))


def _clip(layer, low, high, free):
    """Below it is convex up to the upper kink, concave from the lower one; lines turn about the kink in reach."""
    a, b = layer.low, layer.high
    at_low, at_high = layer(low), layer(high)

    def quotient(rise, run):
        return jnp.where(run > 0, rise / jnp.where(run > 0, run, 1.0), 0.0)

    chord = quotient(at_high - at_low, high - low)
    low_slope = jnp.where(low >= a, chord, free * quotient(at_high - a, high - a))
    low_offset = jnp.where(low >= a, at_low - chord * low, a - low_slope * a)
    high_slope = jnp.where(high <= b, chord, free * quotient(b - at_low, b - low))
    high_offset = jnp.where(high <= b, at_high - chord * high, b - high_slope * b)
    return Lines(low_slope, low_offset, high_slope, high_offset)


def _pool(low, high, free):
    """max x_i >= x_j for the j of largest l_j; from above, with L = max l_i,

        max x_i <= L + sum_i relu(x_i - L) <= L + sum over u_i > L of (u_i - L)/(u_i - l_i) (x_i - l_i),

    which is exact where one entry alone can be the largest; or the constant max u_i; or any mean of both.
    """
    h, w, c = low.shape
    blocks = (h // 2, 2, w // 2, 2, c)

    def widest(v):
        return jnp.broadcast_to(jnp.max(v.reshape(blocks), (1, 3), keepdims=True), blocks).reshape(low.shape)

    floor, ceiling = widest(low), widest(high)
    # Of equal lower ends the first counts, so that the weights of a block sum to 1.
    rank = jnp.arange(4.0).reshape(1, 2, 1, 2, 1)
    place = jnp.broadcast_to(rank, blocks).reshape(low.shape)
    first = -widest(jnp.where(low >= floor, -place, -4.0))
    chosen = jnp.where(place == first, 1.0, 0.0)
    reach = high > floor
    slope = jnp.where(reach, (high - floor) / jnp.where(reach, high - low, 1.0), 0.0)

    def each(v, reduce):
        return reduce(v.reshape(blocks), (1, 3))

    at_middle = each(floor, jnp.max) + each(slope * (high - low) / 2, jnp.sum)
    alone = each(jnp.where(reach, 1.0, 0.0), jnp.sum) <= 1
    use = jnp.where(alone | (at_middle < each(ceiling, jnp.max)), 1.0, 0.0)
    share = jnp.broadcast_to(use[:, None, :, None], blocks).reshape(low.shape) * jnp.where(
        jnp.broadcast_to(alone[:, None, :, None], blocks).reshape(low.shape), 1.0, free)
    share = each(share, jnp.mean)  # one mean a block
    spread = jnp.broadcast_to(share[:, None, :, None], blocks).reshape(low.shape)
    above = each(floor, jnp.max) - each(slope * low, jnp.sum)
    offset = share * above + (1 - share) * each(ceiling, jnp.max)
    return Lines(chosen, jnp.zeros_like(offset), spread * slope, offset)


def through(rows: Rows, layer: Any, found: Lines, shape: tuple[int, ...]) -> tuple[Rows, jax.Array]:
    """Functionals of a layer's output as functionals of its input, below; and what they add f[r]."""
    if isinstance(layer, kinds.GroupSort):
        smaller, larger = rows.a[..., ::2], rows.a[..., 1::2]
        half = (*shape[:-1], shape[-1] // 2)
        r, added = _turn(dataclasses.replace(rows, a=larger - smaller, shape=half), found)
        a = jnp.stack(jnp.broadcast_arrays(larger - r.a, smaller + r.a), axis=-1)
        return dataclasses.replace(rows, a=a.reshape(*a.shape[:-2], -1), shape=shape), added
    if isinstance(layer, kinds.MaxPool):
        return _turn(rows, found, lambda part: part.pull(kinds.AvgPool(), shape).times(jnp.full(shape, 4.0)))
    return _turn(rows, found)


def _turn(rows: Rows, found: Lines, pull=lambda part: part) -> tuple[Rows, jax.Array]:
    """Positive coefficients take the lower line, negative ones the upper."""
    up = dataclasses.replace(rows, a=jax.nn.relu(rows.a))
    down = dataclasses.replace(rows, a=-jax.nn.relu(-rows.a))
    added = up.dot(found.low_offset) + down.dot(found.high_offset)
    up, down = pull(up).times(found.low_slope), pull(down).times(found.high_slope)
    return dataclasses.replace(up, a=up.a + down.a), added
