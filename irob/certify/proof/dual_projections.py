"""Estimates of the dual network's inner bounds by random projections, for training; never a certificate.

Between its two lines a ReLU is d z + m +- m, m = -d l / 2.  So the input of every later layer is a centre, which one
forward pass gives, plus and minus the size of a long functional: of the ball, and of every unstable ReLU.

    |a|_2 = E[(a . R)^2]^(1/2), R normal;    |a|_1 = median |a . C|, C Cauchy

The random vectors are pushed forward, `projections` of them, where the exact bound pulls one functional a unit back.
A sum of Cauchy variables is one whose scale is the sum of scales, so one set of them serves every layer behind.  What
costs no more exactly stays exact: the first layer, and of each later one the ReLUs right below it.

Reference: Wong, Schmidt, Metzen and Kolter, 2018, https://arxiv.org/abs/1805.12514
"""

import jax
import jax.numpy as jnp

from irob.certify import dual
from irob.certify.dual import Region
from irob.certify.proof import functionals
from irob.core import layers as kinds
from irob.core.types import value


def bounds(key: jax.Array, given, of: Region, projections: int) -> list[tuple[jax.Array, jax.Array]]:
    """(l, u) of the input of every ReLU, estimated with `projections` random vectors; see `dual.bounds`."""
    sizes = dual.shapes(given, of.centre)
    shape = (projections, *sizes[0])
    ball = Vectors(drawn(jax.random.normal, key, 0, shape)) if of.norm == "l2" else None
    old = Vectors(drawn(jax.random.cauchy, key, 0, shape)).times(of.extent) if ball is None else None
    centre, new = of.centre, None
    found: list[tuple[jax.Array, jax.Array]] = []
    lines, after = None, 0
    for i, layer in enumerate(given):
        if not isinstance(layer, kinds.ReLU):
            centre = layer(centre)
            ball, old, new = (None if a is None else a.push(layer) for a in (ball, old, new))
            continue
        rows = pulled(given[after:i], sizes[after : i + 1])
        if lines is None:
            half = dual.spread(rows, of)
        else:
            half = rows.dot(lines.offset / 2, jnp.abs)
            if ball is not None:
                half = half + of.extent * root_mean_square(ball.full).reshape(-1)
            if old is not None:
                half = half + median(jnp.abs(old.full)).reshape(-1)
            assert new is not None  # there are lines, so a ReLU came before
            old = new if old is None else Vectors(old.full + new.full, own=True)
        half = half.reshape(sizes[i])
        found.append((centre - half, centre + half))
        lines, after = dual.relax(*found[-1]), i + 1
        centre = lines.slope * centre + lines.offset / 2
        ball, old = (None if a is None else a.times(lines.slope) for a in (ball, old))
        new = Vectors(drawn(jax.random.cauchy, key, len(found), (projections, *sizes[i]))).times(lines.offset / 2)
    return found


@value("own")
class Vectors:
    """Random vectors s c.  c: f[k, *shape], common to all images unless `own`.  s: the image's scale, None for 1."""

    c: jax.Array
    s: jax.Array | None = None
    own: bool = False

    @property
    def full(self) -> jax.Array:
        """The vectors written out: f[k, *shape]."""
        return self.c if self.s is None else self.c * self.s

    def times(self, s: jax.Array) -> "Vectors":
        """The vectors scaled by s f[*shape], which stays a factor where the vectors are common to all images."""
        if self.own or self.s is not None:
            return Vectors(self.full * s, own=True)
        return Vectors(self.c, s)

    def push(self, layer) -> "Vectors":
        """The vectors behind an affine layer without its bias."""
        if self.s is not None and isinstance(layer, kinds.Conv) and jax.default_backend() == "cpu":
            return Vectors(by_place(layer, self.c, self.s), own=True)
        return Vectors(push(layer, self.full), own=self.own or self.s is not None)


def drawn(distribution, key: jax.Array, i: int, shape: tuple[int, ...]) -> jax.Array:
    """The random vectors of ReLU layer i, 0 for the ball's, drawn one by one.

    XLA keeps the results of a loop; the results of one call it would draw again for every image that is multiplied.
    """""
    each = jax.random.split(jax.random.fold_in(key, i), shape[0])
    return jax.lax.map(lambda k: distribution(k, shape[1:]), each)


def pulled(given, sizes) -> functionals.Rows:
    """The functionals of every unit behind affine layers, of their input."""
    rows = functionals.units(sizes[-1], given)
    for layer, before in zip(reversed(given), reversed(sizes[:-1]), strict=True):
        rows = rows.pull(layer, before)
    return rows


def push(layer, vectors: jax.Array) -> jax.Array:
    """Vectors f[k, ...] through an affine layer without its bias."""
    match layer:
        case kinds.Conv():
            return kinds.conv(vectors, layer.kernel, None, layer.stride, layer.padding)
        case kinds.Dense():
            return vectors @ layer.kernel
        case kinds.Scale():
            return vectors * layer.gain
    return jax.vmap(layer)(vectors)


def by_place(layer: kinds.Conv, c: jax.Array, s: jax.Array) -> jax.Array:
    """A convolution without its bias of s c, place p by place, w over the window that p sees:

        out[k, p, o] = sum over w of s[p, w] (c[k, p, w] kernel[w, o])

    What is in brackets is the same for all images, so under `vmap` a place is one product of matrices that stay in the
    cache.  50 images, 50 vectors 14x14x16, with gradient: 57 ms; by convolving the 2,500 products 134.
    """
    kh, kw, _, out = layer.kernel.shape
    (top, bottom), (left, right) = functionals.padding(layer, s.shape)
    places = tuple((n - k) // layer.stride + 1 for n, k in ((s.shape[0] + top + bottom, kh),
                                                            (s.shape[1] + left + right, kw)))
    window = functionals.Window((places[0], places[1]), layer.stride, (top, left))
    kernel = layer.kernel.reshape(-1, out)

    def seen(v):
        return functionals.windows(v, window, (kh, kw)).reshape(-1, len(kernel))

    @jax.checkpoint
    def place(at):
        s, c = at
        return jnp.einsum("w,kow->ko", s, c[:, None] * kernel.T)

    found = jax.lax.map(place, (seen(s), jax.vmap(seen, out_axes=1)(c)))
    return found.reshape(*places, len(c), out).transpose(2, 0, 1, 3)


def root_mean_square(a: jax.Array) -> jax.Array:
    """The root of the mean square over the first axis; with a gradient, 0, where all are 0."""
    square = jnp.mean(jnp.square(a), axis=0)
    return jnp.sqrt(jnp.where(square > 0, square, 1.0)) * (square > 0)


@jax.custom_jvp
def median(a: jax.Array) -> jax.Array:
    """The median over the first axis of sizes a >= 0; the mean of the two middle ones where their number is even.

    >>> median(jnp.array([3.0, 0.0, 1.0, 2.0])).item()
    1.5
    """
    return (ranked(a, (len(a) - 1) // 2) + ranked(a, len(a) // 2)) / 2


@median.defjvp
def _median_jvp(primals, tangents):
    """The entries in the middle share the derivative."""
    (a,), (da,) = primals, tangents
    share = jnp.zeros_like(a)
    for rank in ((len(a) - 1) // 2, len(a) // 2):
        at = a == ranked(a, rank)
        share = share + at / (2 * jnp.sum(at, axis=0))
    return median(a), jnp.sum(share * da, axis=0)


def ranked(a: jax.Array, rank: int) -> jax.Array:
    """The entry with `rank` smaller ones, over the first axis, of a >= 0, bit by bit from the highest.

    Such numbers are ordered as their bits are, read as integers.  50 of each of 78,400: 35 ms, sorted 275.
    """
    width = jnp.finfo(a.dtype).bits
    bits = jax.lax.bitcast_convert_type(a, f"int{width}")
    one = jnp.ones((), bits.dtype)

    def longer(i, found):
        tried = found | (one << (width - 2 - i).astype(bits.dtype))
        return jnp.where(jnp.sum(bits < tried, axis=0) <= rank, tried, found)

    found = jax.lax.fori_loop(0, width - 1, longer, jnp.zeros(a.shape[1:], bits.dtype))
    return jax.lax.bitcast_convert_type(found, a.dtype)
