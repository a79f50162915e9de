"""What rounding may cost a walk, activation by activation, as proved residuals.

A walk holds functionals a_k of every activation h_k.  Take the numbers that it computed as they are: then

    a_L h_L = a_0 h_0 + sum of a_k b_k + sum of (a_k h_k - a_k b_k - a_(k-1) h_(k-1)),

and every bracket, zero without rounding, is the residual of one layer.  For an affine layer h_k = W h_(k-1) + b,

    |a_k W - a_(k-1)| |h_(k-1)| <= gamma(fan-out) |a_k| |W| |h_(k-1)|,

the bound of `irob.math.rounding` on one pull; nothing has to be followed through the layers further down.  What the
classifier itself loses when XLA evaluates it in float32 has the same form,

    h_k = W h_(k-1) + b + e_k,   |e_k| <= gamma(fan-in) (|W| |h_(k-1)| + |b|),

where behind a ReLU |W| |h| + |b| may be halved, about: no partial sum exceeds what is positive in W h + b, or what is
negative.  So both are paid together, and the certificate speaks of every network whose layers err by no more: of the
one of real numbers, and of its float32 evaluation, in whatever order each sum is taken.  |h| is bounded by its own
bounds at curved layers and by |W| |h| + |b| behind affine ones.

Selections (ReLU, Clip, maxima, sorting) are exact.  XLA's tanh is taken to err by 2^-20 of its value; the tests look
at its error.  Precision is that of float32 products (`jax.default_matmul_precision`); the bound holds wherever a
convolution sums products, and not for Winograd's algorithm.
"""

from typing import Any

import jax
import jax.numpy as jnp

from irob.core import layers as kinds
from irob.core.check import InputError
from irob.core.types import value
from irob.math.rounding import LARGEST, MOST, TINY, UNIT, allowance, roundings

AFFINE = (kinds.Dense, kinds.Conv, kinds.Scale, kinds.AvgPool)
WEIGHTED = (kinds.Dense, kinds.Conv, kinds.Scale)  # with coefficients and a bias
BIT = 2  # roundings of one sum besides its terms' own: the bias, and one to spare
FEW = 8  # of a walk's own sums: of the sums of all layers
LINE = 16  # of slopes and offsets of lines
TANH = 64  # times 2^-24, of tanh and of what is made of it


@value()
class Loss:
    """At most sum of (|a| + TINY) (each + allowance(roundings of the walk's sums) added) + floor.

    each: f[*shape] of the activation, or None for none.  added: what the walk multiplies with a there.  floor: f[].
    """

    each: jax.Array | None
    added: jax.Array | None
    floor: jax.Array


def first(centre: jax.Array, reach: jax.Array) -> tuple[Loss, jax.Array]:
    """(Loss, largest |h|) of the input, between centre - reach and centre + reach."""
    size = jnp.abs(centre) + TINY
    floor = 2 * allowance(FEW) * TINY * centre.size * (1 + jnp.max(reach))
    return Loss(TINY * (1 + reach), size, floor), (jnp.abs(centre) + reach) * (1 + FEW * UNIT)


def then(layer: Any, most: jax.Array, low=None, high=None, positive: bool = False) -> tuple[Loss, jax.Array]:
    """(Loss, largest |h|) of the output of a layer.

    most: largest |h| of its input.  [low, high]: what a curved layer sees.  positive: no h of its input is negative.
    """
    if isinstance(layer, AFFINE):
        return _affine(layer, most, positive)
    if isinstance(layer, kinds.Flatten | kinds.Reshape):
        return Loss(None, None, jnp.zeros(())), layer(most)
    seen = jnp.maximum(jnp.abs(low), jnp.abs(high))
    size = _largest(layer, low, high)
    rate = (TANH if isinstance(layer, kinds.Tanh) else LINE) * UNIT
    turned = _turned(layer, seen, low, high)
    each = rate * (size + turned + TINY)
    loss = Loss(each, size + turned + TINY, rate * TINY * (jnp.sum(seen) + size.size))
    return loss, size * (1 + rate) + TINY


def positive(layer: Any, before: bool) -> bool:
    """Whether no output is negative, from whether no input is."""
    kept = (kinds.Flatten, kinds.Reshape, kinds.AvgPool, kinds.MaxPool, kinds.GroupSort)
    return isinstance(layer, kinds.ReLU) or (before and isinstance(layer, kept))


def error(layer: Any, most: jax.Array) -> jax.Array:
    """How far one evaluation of an affine layer and of its interval may be off, |h| at most `most`."""
    return 4 * allowance(_lengths(layer, most.shape)[0] + BIT) * _absolute(layer, most)


def wobble(layer: Any, found: jax.Array) -> jax.Array | float:
    """How far the evaluation of a curved layer may be off at a value."""
    if isinstance(layer, kinds.Tanh):
        return TANH * UNIT * jnp.abs(found) + TINY
    if isinstance(layer, kinds.LeakyReLU):
        return 4 * UNIT * jnp.abs(found) + TINY
    return 4 * UNIT * jnp.abs(found) if isinstance(layer, kinds.Clip) else 0.0  # its ends are rounded to float32


def known(low: jax.Array, high: jax.Array) -> jax.Array:
    """Where bounds are numbers, and no overflow."""
    return (low >= -LARGEST) & (high <= LARGEST)  # False for NaN


def _affine(layer, most, positive):
    fan_in, fan_out = _lengths(layer, most.shape)
    above, below = (_part(layer, most, sign) for sign in (1, -1))
    size = above + below
    gamma = allowance(fan_in + BIT)
    # Every partial sum lies between minus the sum of what is negative and the sum of what is positive.
    partial = jnp.maximum(above, below) + gamma * size if positive else size
    each = gamma * partial + (2 * UNIT + allowance(fan_out + BIT)) * size
    floor = allowance(fan_out + FEW) * TINY * (jnp.sum(most) + size.size)
    added = jnp.broadcast_to(jnp.abs(layer.bias) + TINY, size.shape) if isinstance(layer, WEIGHTED) else None
    return Loss(each, added, floor), size * (1 + 4 * gamma)


def _absolute(layer, most):
    """|W| |h| + |b|; infinite where it overflows."""
    return _part(layer, most, 1) + _part(layer, most, -1)


def _part(layer, most, sign: int):
    """The sum of the positive (or negative) terms of W |h| + b, no term 0; infinite where it overflows."""
    if isinstance(layer, kinds.AvgPool):
        size = layer(most + TINY) if sign > 0 else jnp.full(layer(most).shape, TINY)
    else:
        weight, bias = (jnp.maximum(sign * v, 0) + TINY for v in (coefficients(layer), layer.bias))
        rest = (layer.stride, layer.padding) if isinstance(layer, kinds.Conv) else ()
        size = type(layer)(weight, bias, *rest)(most + TINY)
    return jnp.where(size <= LARGEST, size, jnp.inf)


def coefficients(layer) -> jax.Array:
    """What a weighted layer multiplies its input with."""
    return layer.gain if isinstance(layer, kinds.Scale) else layer.kernel


def _lengths(layer, shape) -> tuple[int, int]:
    """How many products one output sums, and one pulled coefficient."""
    if isinstance(layer, kinds.Conv):
        height, width, channels, out = layer.kernel.shape
        return height * width * channels, height * width * out
    if isinstance(layer, kinds.Dense):
        return layer.kernel.shape[0], layer.kernel.shape[1]
    return (4, 1) if isinstance(layer, kinds.AvgPool) else (1, 1)


def _largest(layer, low, high):
    """The largest |phi| between two bounds, phi being monotone."""
    return jnp.maximum(jnp.abs(layer(low)), jnp.abs(layer(high)))


def _turned(layer, seen, low, high):
    """Slopes times |h| of a layer's lines, over its output."""
    if isinstance(layer, kinds.ReLU | kinds.LeakyReLU):
        return 2 * jnp.where(high > 0, seen, (layer.slope + TINY) * seen)
    if isinstance(layer, kinds.Clip):
        return 2 * jnp.where((low >= layer.high) | (high <= layer.low), TINY, 1.0) * seen
    if isinstance(layer, kinds.MaxPool):
        return 16 * kinds.AvgPool()(seen)  # 4 times the sum over the block
    if isinstance(layer, kinds.GroupSort):
        pairs = seen.reshape(*seen.shape[:-1], -1, 2)
        return 4 * jnp.broadcast_to(jnp.sum(pairs, -1, keepdims=True), pairs.shape).reshape(seen.shape)
    return 2 * seen


def paid(rows, loss: Loss) -> jax.Array:
    """The loss of every functional, f[r]."""
    if loss.each is None:
        return loss.floor
    own = loss.each
    if loss.added is not None:
        own = own + allowance(roundings(rows.span) + FEW) * loss.added
    return rows.dot(own, lambda a: jax.lax.stop_gradient(jnp.abs(a)) + TINY) + loss.floor


def single(given):
    """The layers with weights of float32, in which they are evaluated; from bfloat16 and float16 it is exact."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32) if hasattr(a, "dtype") else a, given)


def proved(margin: jax.Array) -> jax.Array:
    """The margin; -infinity for NaN, which overflow leaves."""
    return jnp.where(jnp.isnan(margin), -jnp.inf, margin)


def require(given, sizes, certifier: str) -> None:
    """Raises `InputError` for a layer whose sums are too long for float32."""
    for i, (layer, shape) in enumerate(zip(given, sizes, strict=False)):
        if isinstance(layer, AFFINE) and (n := max(_lengths(layer, shape))) + FEW > MOST:
            raise InputError(f"{certifier}: got {type(layer).__name__} at place {i}, which sums {n} products, wanted "
                             f"at most {MOST - FEW}: of longer sums float32 proves nothing")
