"""Nearest neighbours of points, and what they say of two samples: improved precision and recall.

Distances are exact sums in float64 on the host, a chunk of rows at a time: memory is chunk x m, not n x m.

Shapes: n queries, m reference points, d dimensions.
Reference: Kynkaanniemi et al., "Improved precision and recall metric", 2019, https://arxiv.org/abs/1904.06991
"""

from collections.abc import Iterator

import numpy as np

CHUNK = 500


def _distances(a: np.ndarray, b: np.ndarray, chunk: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the matrix |a_i - b_j|, a chunk at a time."""
    centre = b.mean(axis=0)  # small numbers cancel less in |a|^2 - 2 a.b + |b|^2
    a, b = np.asarray(a, np.float64) - centre, np.asarray(b, np.float64) - centre
    squares = np.einsum("jd,jd->j", b, b)
    for i in range(0, len(a), chunk):
        rows = a[i : i + chunk]
        squared = np.einsum("id,id->i", rows, rows)[:, None] - 2 * rows @ b.T + squares
        yield slice(i, i + len(rows)), np.sqrt(np.maximum(squared, 0.0))


def nearest(a: np.ndarray, b: np.ndarray, *, chunk: int = CHUNK) -> np.ndarray:
    """Distance f[n] from each a_i to the nearest b_j.

    >>> nearest(np.array([[0.0], [5.0]]), np.array([[1.0], [3.0]])).tolist()
    [1.0, 2.0]
    """
    out = np.empty(len(a))
    for rows, distance in _distances(a, b, chunk):
        out[rows] = distance.min(axis=1)
    return out


def radii(b: np.ndarray, k: int, *, chunk: int = CHUNK) -> np.ndarray:
    """Distance f[m] from each point to its k-th nearest other point, 1 <= k < m.

    >>> radii(np.array([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 2.0]
    """
    if not 1 <= k < len(b):
        raise ValueError(f"k: got {k}, wanted 1 to {len(b) - 1}, fewer than the {len(b)} points")
    out = np.empty(len(b))
    for rows, distance in _distances(b, b, chunk):
        distance[np.arange(len(distance)), np.arange(rows.start, rows.stop)] = np.inf  # a point is not its neighbour
        out[rows] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return out


def coverage(a: np.ndarray, b: np.ndarray, k: int = 3, *, chunk: int = CHUNK) -> float:
    """Share of the a_i that lie in the union of the balls around b_j with radius to b_j's k-th neighbour.

    a generated and b real: precision.  a real and b generated: recall.

    >>> coverage(np.array([[0.5], [9.0]]), np.array([[0.0], [1.0], [3.0]]), k=1)
    0.5
    """
    radius = radii(b, k, chunk=chunk)
    inside = np.empty(len(a), bool)
    for rows, distance in _distances(a, b, chunk):
        inside[rows] = (distance <= radius).any(axis=1)
    return float(inside.mean())
