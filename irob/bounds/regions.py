"""Explicit error regions whose expansion is known: half-spaces, unions of balls, complements of balls or boxes.

A region E offers distance(x) f[n], from below: 0 on E, and never more than the distance from x to E.  The share of a
sample with distance <= epsilon is then at least the share in E_eps, so counting it never flatters the region.

Everything is float64 and works through a sample in chunks.  Shapes: x f[n,D], w f[D], centres f[T,D].
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

CHUNK = 2000
METRIC = {"l1": "cityblock", "l2": "euclidean", "linf": "chebyshev"}


@dataclasses.dataclass(frozen=True)
class HalfSpace:
    """E = {w.x >= b} with dual norm |w|_* = 1, so that the distance to E is max(b - w.x, 0).

    >>> HalfSpace(np.array([1.0, 0.0]), 2.0).distance(np.array([[0.5, 9.0], [3.0, 0.0]])).tolist()
    [1.5, 0.0]
    """

    w: np.ndarray
    b: float

    def distance(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(self.b - project(x, self.w[:, None])[:, 0], 0.0)


@dataclasses.dataclass(frozen=True)
class Balls:
    """E = the union of l2 balls; complement=True: everything outside them.

    The union's distance is exact, min_j (|x - c_j| - r_j)_+.  The complement's is max_j (r_j - |x - c_j|)_+: exact for
    one ball or disjoint ones, otherwise a lower bound.

    >>> Balls(np.array([[0.0], [10.0]]), np.array([1.0, 2.0])).distance(np.array([[3.0], [9.0]])).tolist()
    [2.0, 0.0]
    """

    centres: np.ndarray
    radii: np.ndarray
    complement: bool = False

    def distance(self, x: np.ndarray) -> np.ndarray:
        out = np.empty(len(x))
        for rows, part in pieces(x):
            beyond = cdist(part, self.centres) - self.radii
            out[rows] = (-beyond).max(axis=1) if self.complement else beyond.min(axis=1)
        return np.maximum(out, 0.0)


@dataclasses.dataclass(frozen=True)
class OutsideBoxes:
    """E = the complement of a union of boxes {|x_i - c_i| <= h_i}; in linf, max_j min_i (h_i - |x_i - c_i|)_+ away.

    Exact for one box or disjoint ones, otherwise a lower bound.

    >>> OutsideBoxes(np.zeros((1, 2)), np.array([[1.0, 3.0]])).distance(np.array([[0.25, 1.0], [2.0, 0.0]])).tolist()
    [0.75, 0.0]
    """

    centres: np.ndarray
    half: np.ndarray

    def distance(self, x: np.ndarray) -> np.ndarray:
        out = np.zeros(len(x))
        for rows, part in pieces(x):
            for centre, half in zip(self.centres, self.half):
                out[rows] = np.maximum(out[rows], (half - np.abs(part - centre)).min(axis=1))
        return out


Region = HalfSpace | Balls | OutsideBoxes


def cdist(a: np.ndarray, b: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """All distances f[n,m] between the rows of a f[n,D] and b f[m,D]."""
    from scipy.spatial import distance  # slow to import: `import irob.bounds` does not wait for it

    return distance.cdist(a, b, metric)


def pieces(x: np.ndarray, chunk: int = CHUNK) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of x as float64, a chunk at a time."""
    for i in range(0, len(x), chunk):
        yield slice(i, min(i + chunk, len(x))), np.asarray(x[i : i + chunk], np.float64)


def project(x: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """x f[n,D] times directions f[D,m], f[n,m] in float64."""
    return np.concatenate([part @ directions for _, part in pieces(x)])


def principal(x: np.ndarray, count: int, *, most: int = 4096, gram: int = 2000) -> np.ndarray:
    """The first principal directions of x, unit columns f[D,count]; at most min(n - 1, D) of them.

    Through the covariance; for few points or beyond `most` dimensions, through the inner products of at most `gram`.
    """
    dim = x.shape[1]
    if dim <= most and (dim <= len(x) or len(x) > gram):
        mean = np.mean([part.mean(axis=0) for _, part in pieces(x)], axis=0)  # any centre near the mean will do
        scatter, total = np.zeros((dim, dim)), np.zeros(dim)
        for _, part in pieces(x):
            part = part - mean
            scatter += part.T @ part
            total += part.sum(axis=0)
        from scipy.linalg import eigh  # slow to import, and wanted only here

        keep = max(1, min(count, len(x) - 1, dim))
        _, vectors = eigh(scatter - np.outer(total, total) / len(x), subset_by_index=(dim - keep, dim - 1))
        return vectors[:, ::-1]
    part = np.asarray(x[:gram], np.float64)
    part = part - part.mean(axis=0)
    values, vectors = np.linalg.eigh(part @ part.T)
    if values[-1] <= 0:  # all points are one
        return np.eye(dim, 1)
    keep = max(1, min(count, int(np.sum(values > 1e-12 * values[-1]))))
    found = part.T @ vectors[:, ::-1][:, :keep]
    return found / np.linalg.norm(found, axis=0)
