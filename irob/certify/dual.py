"""The dual-network bound (Wong and Kolter, 2018): a lower bound of every margin over a ball, in one backward walk.

A ReLU whose input z lies in [l, u] with l < 0 < u lies between two parallel lines, d z and d z - d l, d = u/(u - l).
Pull a functional a of the output back to the input, affine layers by their transposes and ReLUs by d:

    a f(x') >= a x_0 + constant - r |a|_* - sum over unstable ReLUs of (-d l) [a]_-      x' in the ball
    a f(x') <= a x_0 + constant + r |a|_* + sum over unstable ReLUs of (-d l) [a]_+

with |.|_* the dual norm.  Below linf the ball is cut by the box of images, which leaves a box with centre x_0 and
half-widths r; below l2 the cut is not used.  The same walk from every unit of every hidden layer gives its l and u.
"""

import math

import jax
import jax.numpy as jnp

from irob.certify import _rows
from irob.certify._rows import Rows
from irob.core import layers as kinds
from irob.core.check import InputError, number, unknown
from irob.core.threat import LpBall
from irob.core.types import value

NORMS = ("l2", "linf")
UNIT = 2.0**-24  # the largest relative error of one float32 operation


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
    unstable = (low < 0) & (high > 0)
    slope = jnp.where(unstable, high / jnp.where(unstable, high - low, 1.0), low >= 0)
    return Relaxation(slope, jnp.where(unstable, -slope * low, 0.0))


@value("norm")
class Region:
    """Where x' may lie: centre f[*shape]; extent: the radius of an l2 ball f[], or half-widths f[*shape] of a box."""

    norm: str
    centre: jax.Array
    extent: jax.Array


def require(threat: LpBall) -> None:
    """Raises `InputError` for a norm without a dual, or an epsilon, if it is a number yet, that is not above 0."""
    if threat.norm not in NORMS:
        raise InputError(f"dual: got norm {threat.norm}, wanted {' or '.join(NORMS)}")
    if not isinstance(threat.epsilon, jax.core.Tracer):
        number("epsilon", threat.epsilon, low=0, open_low=True)


def region(threat: LpBall, x: jax.Array, *, bounded: bool = True) -> Region:
    """The ball about x, for linf cut by the box of images if `bounded`."""
    require(threat)
    if threat.norm == "l2":
        return Region("l2", x, jnp.asarray(threat.epsilon, x.dtype))
    low, high = x - threat.epsilon, x + threat.epsilon
    if bounded:
        low, high = jnp.maximum(low, threat.bounds[0]), jnp.minimum(high, threat.bounds[1])
    return Region("linf", (low + high) / 2, (high - low) / 2)


def spread(rows: Rows, of: Region) -> jax.Array:
    """r |a|_* of every functional."""
    if of.norm == "linf":
        return rows.dot(of.extent, jnp.abs)
    square = rows.dot(jnp.ones(rows.shape), jnp.square)
    return of.extent * jnp.sqrt(jnp.where(square > 0, square, 1.0)) * (square > 0)


def shapes(given, x) -> list[tuple[int, ...]]:
    """The shape of every activation: that of the input x, then one after each layer."""
    found = [jax.ShapeDtypeStruct(x.shape, x.dtype)]
    for layer in given:
        found.append(jax.eval_shape(layer, found[-1]))
    return [a.shape for a in found]


def walk(rows: Rows, given, sizes, relaxations, of: Region, *, rounded: bool = True) -> tuple[jax.Array, jax.Array]:
    """(lower, upper) bound f[r] of functionals of the output of the layers `given`.

    sizes: from `shapes`.  relaxations: of the ReLUs in `given`, in order.
    rounded: widen by 2^-24 sqrt(n) times the sum of the sizes of all terms, n the longest sum: what float32 may lose
        where rounding errors do not conspire (Higham and Mary, 2019).  Against float64 a tenth of it was seen.
    """
    constant, below, above, size = (jnp.zeros(()),) * 4
    left = list(relaxations)
    for layer, before, after in zip(reversed(given), reversed(sizes[:-1]), reversed(sizes[1:]), strict=True):
        if isinstance(layer, kinds.ReLU):
            lines = left.pop()
            below = below + rows.dot(lines.offset, lambda a: jax.nn.relu(-a))
            above = above + rows.dot(lines.offset, jax.nn.relu)
            rows = rows.times(lines.slope)
            continue
        added = _rows.bias(layer, after)
        if added is not None:
            constant = constant + rows.dot(added)
            size = size + rows.dot(jnp.abs(added), jnp.abs) if rounded else size
        rows = rows.pull(layer, before)
    middle, radius = rows.dot(of.centre) + constant, spread(rows, of)
    low, high = middle - radius - below, middle + radius + above
    if rounded:
        longest = max([math.prod(sizes[0]), *(math.prod(a.kernel.shape[:-1]) for a in given if hasattr(a, "kernel"))])
        size = size + rows.dot(jnp.abs(of.centre), jnp.abs) + radius + below + above
        low, high = low - UNIT * math.sqrt(longest) * size, high + UNIT * math.sqrt(longest) * size
    return low, high


def bounds(given, of: Region, *, rounded: bool = True) -> list[tuple[jax.Array, jax.Array]]:
    """(l, u) of the input of every ReLU, in order, each of its shape."""
    sizes = shapes(given, of.centre)
    found: list[tuple[jax.Array, jax.Array]] = []
    for i, layer in enumerate(given):
        if isinstance(layer, kinds.ReLU):
            rows = _rows.units(sizes[i], given[:i])
            low, high = walk(rows, given[:i], sizes[: i + 1], [relax(*b) for b in found], of, rounded=rounded)
            found.append((low.reshape(sizes[i]), high.reshape(sizes[i])))
    return found


def margins(given, of: Region, y: jax.Array, inner, *, rounded: bool = True) -> jax.Array:
    """Lower bounds of f_y - f_k for every class k, f[K], 0 at k = y.  inner: (l, u) of every ReLU."""
    sizes = shapes(given, of.centre)
    (count,) = sizes[-1]
    classes = jnp.eye(count)
    rows = Rows(classes[y] - classes, sizes[-1])
    return walk(rows, given, sizes, [relax(*b) for b in inner], of, rounded=rounded)[0]


@value("bounded")
class Dual:
    """See `build`."""

    bounded: bool = True

    @property
    def chunk(self) -> int:
        """Examples at a time by default."""
        return 8 if jax.default_backend() == "cpu" else 256

    def margin(self, layers, x: jax.Array, y: jax.Array, threat: LpBall) -> jax.Array:
        """Lower bound of min over x' of f_y(x') - max over k != y of f_k(x'), one example.

        Args:
            layers: from irob.core.layers.of(classifier).
            x: f[H,W,C] in [0,1].  y: i[].
            threat: l2 or linf, epsilon above 0.

        Raises:
            InputError: a layer without a dual, by name; another norm; epsilon not positive.
        """
        _rows.supported(layers, "dual")
        of = region(threat, x, bounded=self.bounded)
        found = margins(layers, of, y, bounds(layers, of))
        return jnp.min(jnp.where(jnp.arange(len(found)) == y, jnp.inf, found))


def build(*, bounded: bool = True) -> Dual:
    """The exact dual-network bound.

    Layers: Dense, Conv, ReLU, AvgPool, Flatten, Reshape and Scale (batch-norm in inference).  MaxPool has no dual here.

    Args:
        bounded: below linf, x' stays in the box of images too, which is tighter.  Below l2 it changes nothing.

    >>> from irob.core.layers import Dense
    >>> linear = (Dense(jnp.array([[3.0, 0.0], [4.0, 0.0]]), jnp.zeros(2)),)
    >>> round(float(build().margin(linear, jnp.ones(2), 0, LpBall("l2", 1.0))), 3)
    2.0

    Reference: Wong and Kolter, 2018, https://arxiv.org/abs/1711.00851
    """
    if not isinstance(bounded, bool):
        raise unknown("value of bounded", bounded, ("True", "False"))
    return Dual(bounded)
