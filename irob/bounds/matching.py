"""The largest matching of the bipartite double cover of a graph, in whole-array steps.

The double cover has each vertex twice, as a row and as a column; an edge {i, j} of the graph joins row i with column j
and row j with column i.  Half of its largest matching is the graph's largest fractional matching (weights on edges,
at most 1 in all at a vertex), which is half-integral.

Augmenting paths are searched from all free rows at once, breadth first.  Each column joins the tree that sees it
first, so the trees share nothing, and one path of each tree that met a free column is turned over.  Every round but
the last adds an edge at least and costs at most one look at every edge; in practice there are some ten rounds.
(scipy 1.17's maximum_bipartite_matching takes exponential time on some dense graphs.)

References: Hopcroft and Karp (1973); Azad, Buluc, Pothen (2017), for the search from many sources.
"""

from collections.abc import Iterator

import numpy as np

AT_ONCE = 2**21  # edges looked at in one step


def largest_fractional_matchings(i, j, level, n: int, levels: int) -> np.ndarray:
    """Sizes f[levels] of the largest fractional matchings of a growing graph: edges of levels 0..l for each l.

    Args:
        i, j: i[E], ends of the edges, each edge once; no loops.
        level: i[E] in [0, levels), where an edge enters.
        n: vertices.

    >>> i, j = np.array([0, 0, 1]), np.array([1, 2, 2])  # a path, then a triangle
    >>> largest_fractional_matchings(i, j, np.array([0, 0, 1]), 3, 2).tolist()
    [1.0, 1.5]
    """
    sizes = np.zeros(levels)
    if not len(i):
        return sizes
    used = np.zeros(n, bool)
    used[i] = used[j] = True
    name = np.cumsum(used, dtype=np.int32) - 1  # vertices without edges are left out
    n = int(name[-1]) + 1
    i, j, level = name[i], name[j], np.asarray(level, np.int64)
    place = np.concatenate([i * levels + level, j * levels + level])  # edges of a row lie together, low levels first
    columns = np.concatenate([j, i])[np.argsort(place, kind="stable")]
    ends = np.cumsum(np.bincount(place, minlength=n * levels)).reshape(n, levels)
    del place
    starts = np.concatenate([[0], ends[:-1, -1]])
    column_of, row_of = np.full(n, -1), np.full(n, -1)
    for k in range(levels):
        while _round(starts, ends[:, k], columns, column_of, row_of):
            pass
        sizes[k] = np.count_nonzero(column_of >= 0) / 2
    return sizes


def _round(starts, ends, columns, column_of, row_of) -> int:
    """Turns over one augmenting path of each tree that has one; how many there were."""
    n = len(starts)
    root, parent, target = np.full(n, -1), np.full(n, -1), np.full(n, -1)  # of rows; of columns; of roots
    frontier = np.flatnonzero((column_of < 0) & (ends > starts))
    root[frontier] = frontier
    while len(frontier):
        reached = []
        for rows in _portions(frontier, ends - starts):
            rows = rows[target[root[rows]] < 0]  # a tree that met a free column is done
            count = ends[rows] - starts[rows]
            source = np.repeat(rows, count)
            edge = np.arange(len(source)) + np.repeat(starts[rows] - (np.cumsum(count) - count), count)
            seen = columns[edge]
            new = parent[seen] < 0
            seen, source = seen[new], source[new]
            parent[seen] = source  # of several rows that see a column the last one has it
            mine = parent[seen] == source
            seen, tree = seen[mine], root[source[mine]]
            free = row_of[seen] < 0
            target[tree[free]] = seen[free]
            following = row_of[seen[~free]]
            root[following] = tree[~free]
            reached.append(following)
        frontier = np.concatenate(reached)
    end = target[target >= 0]
    found = len(end)
    while len(end):
        row = parent[end]
        before = column_of[row]
        column_of[row], row_of[end] = end, row
        end = before[before >= 0]
    return found


def _portions(rows, degree) -> Iterator[np.ndarray]:
    """The rows in portions of some AT_ONCE edges, or one row."""
    total = np.cumsum(degree[rows])
    cuts = np.flatnonzero(np.diff(total // AT_ONCE)) + 1
    yield from np.split(rows, cuts)
