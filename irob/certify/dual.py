"""The dual-network bound (Wong and Kolter, 2018): a lower bound of every margin over a ball, in one backward walk.

A ReLU whose input z lies in [l, u] with l < 0 < u lies between two parallel lines, d z and d z - d l, d = u/(u - l).
Pull a functional a of the output back to the input, affine layers by their transposes and ReLUs by d:

    a f(x') >= a x_0 + constant - r |a|_* - sum over unstable ReLUs of (-d l) [a]_-      x' in the ball
    a f(x') <= a x_0 + constant + r |a|_* + sum over unstable ReLUs of (-d l) [a]_+

with |.|_* the dual norm.  Below linf the ball is cut by the box of images, which leaves a box with centre x_0 and
half-widths r; below l2 the cut is not used.  The same walk from every unit of every hidden layer gives its l and u.
What rounding may cost is subtracted, proved for any weights and sizes: `irob.certify.proof.roundoff`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from irob.certify.proof import functionals, roundoff
from irob.certify.proof.functionals import Rows
from irob.certify.proof.roundoff import Loss
from irob.core import layers as kinds
from irob.core.check import InputError, number, unknown
from irob.core.promises import LayerCertifier
from irob.core.threat import Threat
from irob.core.types import value
from irob.math.rounding import TINY, UNIT, allowance, roundings

NORMS = ("l2", "linf")
LEAST = UNIT * TINY  # no unstable unit's u, slope or offset is smaller, so that none vanishes


@value()
class Relaxation:
    """A layer of ReLUs between two lines: slope d and offset -d l, 0 where stable; both of the layer's shape."""

    slope: jax.Array
    offset: jax.Array


def relax(low: jax.Array, high: jax.Array) -> Relaxation:
    """The parallel lines for inputs in [low, high].

    >>> relax(jnp.array([-1.0, 1.0, -2.0]), jnp.array([3.0, 2.0, -1.0])).slope.tolist()
    [0.75, 1.0, 0.0]
    """
    high = jnp.where((low < 0) & (high > -LEAST), jnp.maximum(high, LEAST), high)
    unstable = (low < 0) & (high > 0)
    ratio = jnp.maximum(high / jnp.where(unstable, high - low, 1.0), LEAST)
    slope = jnp.where(unstable, ratio, low >= 0)
    # A unit without bounds has no lines: one NaN, and nothing is certified.
    slope = jnp.where(roundoff.known(low, high), slope, jnp.nan)
    return Relaxation(slope, jnp.where(unstable, LEAST - slope * low, 0.0))


@value("norm")
class Region:
    """Where x' may lie: centre f[*shape]; extent: the radius of an l2 ball f[], or half-widths f[*shape] of a box."""

    norm: str
    centre: jax.Array
    extent: jax.Array


def require(threat: Threat) -> None:
    """Raises `InputError` for a norm without a dual, or an epsilon, if it is a number yet, that is not above 0."""
    if threat.norm not in NORMS:
        raise InputError(f"dual: got norm {threat.norm}, wanted {' or '.join(NORMS)}")
    if not isinstance(threat.strength, jax.core.Tracer):
        number("epsilon", threat.strength, low=0, open_low=True)


def region(threat: Threat, x: jax.Array, *, bounded: bool = True) -> Region:
    """The ball about x, rounded outwards; for linf cut by the box of images if `bounded`."""
    require(threat)
    epsilon = jnp.asarray(threat.strength, x.dtype) * (1 + 4 * UNIT) + TINY
    if threat.norm == "l2":
        return Region("l2", x, epsilon)
    low, high = x - epsilon, x + epsilon
    if bounded:
        low, high = jnp.maximum(low, threat.bounds[0]), jnp.minimum(high, threat.bounds[1])
    return Region("linf", (low + high) / 2, (high - low) / 2 + 4 * UNIT * (jnp.abs(low) + jnp.abs(high)))


def spread(rows: Rows, of: Region) -> jax.Array:
    """r |a|_* of every functional."""
    if of.norm == "linf":
        return rows.dot(of.extent, jnp.abs)
    # The largest entry is taken out, so that squares neither overflow nor vanish.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(rows.a), axis=range(rows.a.ndim - len(rows.span), rows.a.ndim)))
    unit = jnp.where(largest > 0, largest, 1.0)
    scale = unit.reshape(*unit.shape, *(1,) * len(rows.span))
    square = rows.dot(jnp.ones(rows.shape), lambda a: jnp.square(a / scale))
    if rows.window is not None:
        unit = jnp.broadcast_to(unit, (*rows.window.places, unit.shape[-1]))
    return of.extent * (unit.reshape(-1) * jnp.sqrt(jnp.where(square > 0, square, 1.0)) * (square > 0))


def shapes(given, x) -> list[tuple[int, ...]]:
    """The shape of every activation: that of the input x, then one after each layer."""
    found = [jax.ShapeDtypeStruct(x.shape, x.dtype)]
    for layer in given:
        found.append(jax.eval_shape(layer, found[-1]))
    return [a.shape for a in found]


def walk(rows: Rows, given, sizes, relaxations, of: Region, losses=None) -> tuple[jax.Array, jax.Array]:
    """(lower, upper) bound f[r] of functionals of the output of the layers `given`.

    sizes: from `shapes`.  relaxations: of the ReLUs in `given`, in order.
    losses: of the input and of every layer's output, by which the bounds are widened; None for no rounding.
    """
    constant, below, above, size = (jnp.zeros(()),) * 4
    left = list(relaxations)
    for i in reversed(range(len(given))):
        layer = given[i]
        if losses is not None and losses[i + 1] is not None:
            size = size + roundoff.paid(rows, losses[i + 1])
        if isinstance(layer, kinds.ReLU):
            lines = left.pop()
            below = below + rows.dot(lines.offset, lambda a: jax.nn.relu(-a))
            above = above + rows.dot(lines.offset, jax.nn.relu)
            rows = rows.times(lines.slope)
            continue
        added = functionals.bias(layer, sizes[i + 1])
        if added is not None:
            constant = constant + rows.dot(added)
        rows = rows.pull(layer, sizes[i])
    middle, radius = rows.dot(of.centre) + constant, spread(rows, of)
    if losses is not None:
        longest = allowance(max(roundings(s) for s in sizes) + roundoff.FEW)
        size = size + roundoff.paid(rows, losses[0]) + longest * (radius + below + above)
    return middle - radius - below - size, middle + radius + above + size


def bounds(given, of: Region, *, rounded: bool = True) -> list[tuple[jax.Array, jax.Array]]:
    """(l, u) of the input of every ReLU, in order, each of its shape."""
    return inner(given, of, rounded)[0]


def inner(given, of: Region, rounded: bool) -> tuple[list[tuple[jax.Array, jax.Array]], list[Loss | None] | None]:
    """(`bounds`, losses of the input and of every layer's output; None unless `rounded`)."""
    sizes = shapes(given, of.centre)
    found: list[tuple[jax.Array, jax.Array]] = []
    loss, most = roundoff.first(of.centre, jnp.broadcast_to(of.extent, of.centre.shape))
    losses: list[Loss | None] = [loss]
    positive = False
    for i, layer in enumerate(given):
        if isinstance(layer, kinds.ReLU):
            rows = functionals.units(sizes[i], given[:i])
            low, high = (v.reshape(sizes[i]) for v in walk(
                rows, given[:i], sizes[: i + 1], [relax(*b) for b in found], of, losses if rounded else None))
            found.append((low, high))
            losses[-1] = bent(losses[-1], low, high)
            losses, most = [*losses, None], jnp.maximum(high, 0) * (1 + UNIT)
        else:
            loss, most = roundoff.then(layer, most, positive=positive)
            losses.append(loss)
        positive = roundoff.positive(layer, positive)
    return found, losses if rounded else None


def bent(loss: Loss | None, low: jax.Array, high: jax.Array) -> Loss:
    """The loss of an activation, with that of the ReLU's lines above it, which is in proportion to their slopes."""
    seen = jnp.maximum(jnp.abs(low), jnp.abs(high)) + TINY
    each, none = roundoff.LINE * UNIT * seen, jnp.zeros(())
    if loss is None:
        return Loss(each, None, UNIT * TINY * jnp.sum(seen) + none)
    return dataclasses.replace(loss, each=each if loss.each is None else loss.each + each,
                               floor=loss.floor + roundoff.LINE * UNIT * TINY * (jnp.sum(seen) + seen.size))


def margins(given, of: Region, y: jax.Array, inner, losses=None) -> jax.Array:
    """Lower bounds of f_y - f_k for every class k, f[K], 0 at k = y.  inner: (l, u) of every ReLU."""
    sizes = shapes(given, of.centre)
    (count,) = sizes[-1]
    classes = jnp.eye(count)
    rows = Rows(classes[y] - classes, sizes[-1])
    return walk(rows, given, sizes, [relax(*b) for b in inner], of, losses)[0]


@value("bounded")
class Dual(LayerCertifier):
    """The dual-network bound; `build` explains its fields."""

    bounded: bool = True

    norms = NORMS

    @property
    def chunk(self) -> int:  # type: ignore[override]
        """Examples at a time by default."""
        return 8 if jax.default_backend() == "cpu" else 256

    def margin(self, layers, x: jax.Array, y: jax.Array, threat: Threat) -> jax.Array:
        """Lower bound of min over x' of f_y(x') - max over k != y of f_k(x'), one example.

        Args:
            layers: from irob.core.layers.of(classifier).
            x: f[H,W,C] in [0,1].  y: i[].
            threat: l2 or linf, epsilon above 0.

        Raises:
            InputError: a layer without a dual, by name; another norm; epsilon not positive.
        """
        layers = roundoff.single(layers)
        functionals.supported(layers, "dual")
        roundoff.require(layers, shapes(layers, x), "dual")
        with jax.default_matmul_precision("float32"):
            of = region(threat, x, bounded=self.bounded)
            found = margins(layers, of, y, *inner(layers, of, True))
            return roundoff.proved(jnp.min(jnp.where(jnp.arange(len(found)) == y, jnp.inf, found)))


def build(*, bounded: bool = True) -> Dual:
    """The exact dual-network bound.

    Layers: Dense, Conv, ReLU, AvgPool, Flatten, Reshape and Scale (batch-norm in inference).  MaxPool has no dual here.

    Args:
        bounded: below linf, x' stays in the box of images too, which is tighter.  Below l2 it changes nothing.

    >>> build().norms
    ('l2', 'linf')

    Reference: Wong and Kolter, 2018, https://arxiv.org/abs/1711.00851
    """
    if not isinstance(bounded, bool):
        raise unknown("value of bounded", bounded, ("True", "False"))
    return Dual(bounded)
