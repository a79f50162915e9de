"""Which examples of different labels lie within 2 epsilon of each other, exactly, without all distances.

Candidates come from features that bring no pair further apart: leading principal components (l2), or the coordinates
that vary most (l1, linf).  Only pairs whose features are within 2 epsilon, with an allowance for float32, can be in
conflict.  How many features pay is measured on a sample of pairs.  Each candidate is then judged in the precision of
the examples; where its error could decide, in float64; where that could, in whole numbers of any length, since floats
are whole multiples of a power of two.  So an edge counts if and only if |x - x'| <= 2 epsilon holds of the numbers
that were given.

Examples are sorted by label and cut into stripes of rows; a stripe meets all later labels.  Stripes are independent,
so whoever wants can keep each one's edges on disk.

Memory: features, one block at a time, and the edges, at most `most`.  A graph with more edges is thinned: each
example keeps as many at each epsilon as fit.  That is sound for every limit from a matching, which only rises.
"""

import bisect
import concurrent.futures
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from irob.bounds.regions import METRIC, cdist, principal

ROWS, COLUMNS = 2048, 4096  # of a block
MOST = 2**24  # edges that are kept
LEAST = 2**19  # candidates that a block may always judge
AT_ONCE = 2**21  # numbers of candidates judged in one step
SAMPLE = 4096  # examples that choose the features
COUNTS = (16, 32, 64, 128, 256)  # numbers of features tried
THREADS = 2


@dataclasses.dataclass(frozen=True)
class Edges:
    """Conflicts i < j, places in the order by label; level: the first epsilon's place; all: none was left out."""

    i: np.ndarray
    j: np.ndarray
    level: np.ndarray
    all: bool = True

    def __len__(self) -> int:
        return len(self.i)


class Search:
    """The search for conflicts among n examples.

    Args:
        x: f[n,...], finite; may be a memory map.  y: i[n].
        epsilons: increasing.  norm: "l1", "l2" or "linf".
        most: edges kept.  rows: of a stripe; it does not change the result unless edges are left out.
        within: finds small entries of a matrix product, as the function of that name does; for accelerators.
    """

    def __init__(self, x, y, epsilons: Sequence[float], norm: str, *, most: int = MOST, rows: int | None = None,
                 within: Callable | None = None):
        self.x = x.reshape(len(x), -1)
        self.n, self.norm, self.most, self.rows = len(x), norm, most, rows or ROWS
        self.y = np.asarray(y)
        self.within = within_host if within is None else within
        self.order = np.argsort(self.y, kind="stable")
        labels = self.y[self.order]
        self.later = np.searchsorted(labels, labels, side="right")  # where the next label begins
        self.epsilons = tuple(map(float, epsilons))
        self.features, self.scale = self._features()

    def stripes(self) -> int:
        """How many stripes there are."""
        return -(-self.n // self.rows)

    def edges(self, stripe: int) -> Edges:
        """The conflicts of a stripe's rows with later labels."""
        rows = slice(stripe * self.rows, min(self.n, (stripe + 1) * self.rows))
        first = int(self.later[rows.start])
        blocks = [slice(s, min(s + COLUMNS, self.n)) for s in range(first, self.n, COLUMNS)]
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            return joined(list(pool.map(lambda columns: self._block(rows, columns), blocks)))

    def all_edges(self, stripes: Iterable[Edges]) -> Edges:
        """The edges of all stripes together, thinned whenever there are more than `most`."""
        kept: list[Edges] = []
        for found in stripes:
            kept.append(found)
            if sum(map(len, kept)) > self.most:
                kept = [thinned(joined(kept), self.n, self.most // 2)]
        return joined(kept)

    def run(self) -> Edges:
        """The whole graph."""
        return self.all_edges(map(self.edges, range(self.stripes())))

    def _features(self) -> tuple[np.ndarray, float]:
        """(features f[n,k] in sorted order, what they were divided by, so that none overflows)."""
        rng = np.random.default_rng(0)
        some = np.sort(rng.choice(self.n, min(self.n, SAMPLE), replace=False))
        sample = np.asarray(self.x[some], np.float64)
        centre = sample.mean(axis=0)
        scale = 2.0 * max(float(self.x.max()), -float(self.x.min())) or 1.0
        sample = (sample - centre) / scale
        dim = sample.shape[1]
        if self.norm == "l2":  # any orthonormal columns will do
            basis = np.linalg.qr(principal(sample, min(COUNTS[-1], dim)))[0]
            sample = sample @ basis
        else:
            basis = np.argsort(-sample.std(axis=0), kind="stable")
            sample = sample[:, basis]
        few = rng.permutation(len(some))
        a, b = few[:256], few[-2048:]
        apart = self.y[some[a]][:, None] != self.y[some[b]][None, :]
        at = 2 * self.epsilons[-1] / scale
        best, keep = math.inf, 0
        for k in sorted({min(k, sample.shape[1]) for k in (*COUNTS, dim)}):
            left = np.mean((cdist(sample[a, :k], sample[b, :k], METRIC[self.norm]) <= at) & apart)
            cost = (0.04 if self.norm == "l2" else 1.0) * k + 2.5 * dim * left  # nanoseconds a pair, as measured
            if cost < best:
                best, keep = cost, k
        features = np.empty((self.n, keep), np.float32 if self.norm == "l2" else np.float64)
        for s in range(0, self.n, ROWS):
            part = (np.asarray(self.x[self.order[s : s + ROWS]], np.float64) - centre) / scale
            features[s : s + ROWS] = part @ basis[:, :keep] if self.norm == "l2" else part[:, basis[:keep]]
        return features, scale

    def _block(self, rows: slice, columns: slice) -> Edges:
        """The conflicts of rows with columns."""
        near = self._candidates(rows, columns)
        blocks = (self.n / ROWS) * (self.n / COLUMNS) / 2
        near = thinned(near, self.n, max(LEAST, int(self.most / max(1, blocks))))
        parts = _slices(len(near), max(1, AT_ONCE // self.x.shape[1]))
        level = np.concatenate([np.empty(0, np.int16), *(
            judged(self.x, self.order[near.i[s]], self.order[near.j[s]], self.epsilons, self.norm) for s in parts)])
        hit = level < len(self.epsilons)
        return Edges(near.i[hit], near.j[hit], level[hit], near.all)

    def _candidates(self, rows: slice, columns: slice) -> Edges:
        """Pairs of different labels whose features are near enough, up to what rounding may hide; level: roughly."""
        a, b = self.features[rows], self.features[columns]
        at = 2 * np.asarray(self.epsilons) / self.scale
        if self.norm == "l2":
            # A sum of k products is within (k + 2) 2^-24 of the sum of their sizes, a rounded feature within 2^-24.
            squares_a, squares_b = np.einsum("id,id->i", a, a), np.einsum("id,id->i", b, b)
            allowance = (a.shape[1] + 16) * 2.0**-22 * float(squares_a.max() + squares_b.max()) + 1e-37
            left = np.concatenate([-2 * a, np.ones((len(a), 1), np.float32)], axis=1)
            right = np.concatenate([b, squares_b[:, None]], axis=1)
            limit = at**2 * (1 + 1e-5) + allowance
            with np.errstate(over="ignore"):  # any epsilon may come
                reach = (limit[-1] - squares_a).astype(np.float32)
            place, size = self.within(left, right, reach)
            size = size + squares_a[place // len(b)]
        else:
            limit = at * (1 + 1e-9) + 1e-9
            place, size = _small(cdist(a, b, METRIC[self.norm]), limit[-1])
        i, j = (v.astype(np.int32) for v in np.divmod(place, len(b)))
        level = np.searchsorted(limit[:-1], size).astype(np.int16)
        i, j = i + np.int32(rows.start), j + np.int32(columns.start)
        other = j >= self.later[i]
        return Edges(i[other], j[other], level[other])


def within_host(left: np.ndarray, right: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(places i[m] in the flat matrix left f32[a,k] right^T, entries f32[m]) where row r's entry is <= reach f32[a]."""
    return _small(left @ right.T, reach[:, None])


def _small(matrix: np.ndarray, limit) -> tuple[np.ndarray, np.ndarray]:
    place = np.flatnonzero(matrix <= limit)
    return place, matrix.ravel()[place]


def joined(parts: Sequence[Edges]) -> Edges:
    """Several lists of edges as one."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Edges(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int16))
    i, j, level = (np.concatenate(a) for a in zip(*((p.i, p.j, p.level) for p in parts)))
    return Edges(i, j, level, all(p.all for p in parts))


def thinned(edges: Edges, n: int, most: int) -> Edges:
    """At most `most` edges: the same number for each example and level, of those next after it in a circle.

    Neighbours in a circle and not the nearest, which would be the same few for many.
    """
    if len(edges) <= most:
        return edges
    order = np.lexsort(((edges.j - edges.i) % n, edges.level, edges.i))
    i, level = edges.i[order], edges.level[order]
    first = np.flatnonzero(np.concatenate([[True], (np.diff(i) != 0) | (np.diff(level) != 0)]))
    size = np.diff(np.append(first, len(i)))
    quota = 1
    while np.minimum(size, 2 * quota).sum() <= most:
        quota *= 2
    kept = order[np.arange(len(i)) - np.repeat(first, size) < quota]
    kept = kept[:: -(-len(kept) // most)]
    return Edges(edges.i[kept], edges.j[kept], edges.level[kept], False)


def judged(x, i, j, epsilons: Sequence[float], norm: str) -> np.ndarray:
    """The first epsilon with |x_i - x_j| <= 2 epsilon, as its place i16[m]; len(epsilons) if there is none.  Exact.

    In the precision of x first, then in float64, then in whole numbers: each judges what its rounding left open.
    """
    level, open_ = np.empty(len(i), np.int16), np.arange(len(i))
    for kind in dict.fromkeys((x.dtype.type, np.float64)):
        with np.errstate(over="ignore", under="ignore"):
            away = np.abs(np.subtract(x[i[open_]], x[j[open_]], dtype=kind))
            if norm == "l2":
                size, limit = np.einsum("id,id->i", away, away), (2 * np.asarray(epsilons)) ** 2
            else:
                size, limit = away.sum(axis=1) if norm == "l1" else away.max(axis=1), 2 * np.asarray(epsilons)
            # All terms are >= 0, so each of some d + 3 roundings is within eps / 2; squares may underflow.
            error, least = ((away.shape[1] + 16) * float(v) for v in (np.finfo(kind).eps, np.finfo(kind).tiny))
            size = size.astype(np.float64)
            surely = np.searchsorted(limit * (1 - error) - least, size)
            perhaps = np.searchsorted(limit * (1 + error) + least, size)
        level[open_] = np.where(away.any(axis=1), surely, 0)
        open_ = open_[((surely != perhaps) | ~np.isfinite(size)) & away.any(axis=1)]
        if not len(open_):
            return level
    level[open_] = _exactly(x[i[open_]], x[j[open_]], epsilons, norm)
    return level


def _exactly(a, b, epsilons: Sequence[float], norm: str) -> np.ndarray:
    """`judged` in whole numbers of any length: every float is one times a power of two."""
    mantissa, exponent = np.frexp(np.stack([a, b]).astype(np.float64))
    low = int(exponent.min()) - 53
    whole = (mantissa * 2.0**53).astype(np.int64).astype(object) << (exponent - 53 - low).astype(object)
    away = np.abs(whole[0] - whole[1])
    size = {"l2": lambda: (away * away).sum(axis=1), "l1": lambda: away.sum(axis=1), "linf": lambda: away.max(axis=1)}
    limits = [math.floor((2 * Fraction(e) / Fraction(2) ** low) ** (2 if norm == "l2" else 1)) for e in epsilons]
    return np.asarray([bisect.bisect_left(limits, s) for s in size[norm]()], np.int16)


def _slices(n: int, chunk: int) -> Iterator[slice]:
    return (slice(s, min(s + chunk, n)) for s in range(0, n, chunk))
