"""The least adversarial error of any two-class classifier, by optimal transport (Bhagoji, Cullina, Mittal 2019).

Robustness is of the label kind: x is kept if every x' within epsilon gets the label of x.

Two equally likely classes P, Q, closed balls of radius epsilon as neighbourhoods:

    min over f of Pr[f errs somewhere within epsilon] = (1 - C) / 2,   C = min over couplings Pr[d(x, x') > 2 epsilon]

n examples of each class: two examples of different classes within 2 epsilon of each other cannot both be robustly
right, so the robustly right ones are an independent set of that bipartite graph.  By Koenig's theorem the largest
leaves out as many examples as the largest matching has edges: error = matching / (2 n).  Exact for the sample.

For the distribution: the mean of the sample's least error is at most the distribution's least error, and one example
moves the matching by one at most, so by McDiarmid's inequality, with confidence c,

    least error of the distribution >= error of the sample - sqrt(log(1 / (1 - c)) / (4 n)).

Attained: N(mu, I) against N(-mu, I) under l2 has least error Phi(-(|mu| - epsilon)), 1/2 from epsilon = |mu| on.

Reference: Bhagoji, Cullina, Mittal, "Lower bounds on adversarial robustness from optimal transport", NeurIPS 2019,
https://arxiv.org/abs/1909.12272
"""

import dataclasses
from collections import deque
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from irob.bounds.regions import METRIC, cdist, pieces
from irob.core.check import InputError, number, unknown


@dataclasses.dataclass(frozen=True)
class Transport:
    """error: least adversarial error on the sample.  certified: of the distribution, from below with `confidence`, at
    each epsilon by itself."""

    epsilon: float
    error: float
    certified: float
    matching: int
    n: int
    confidence: float


def transport(a, b, epsilons: Sequence[float], *, norm: str = "l2", confidence: float = 0.95) -> list[Transport]:
    """The least adversarial error of any classifier on n examples of each of two classes, for each epsilon.

    Args:
        a, b: f[n,...], independent examples of the two classes, equally many.
        epsilons: at least 0, in units of the examples.
        norm: "l1", "l2" or "linf".
        confidence: of `certified`, in (0, 1).

    Raises:
        InputError: shapes that differ, values out of range, an unknown norm.

    >>> [t.error for t in transport([[0.0], [1.0]], [[3.0], [9.0]], [0.9, 1.0, 4.0])]
    [0.0, 0.25, 0.5]
    """
    from irob.math import norms  # brings JAX, which `import irob.bounds` does not wait for

    norm = norms.named(norm)
    a, b = (np.asarray(v) for v in (a, b))
    if a.ndim < 2 or a.shape != b.shape or not len(a):
        raise InputError(f"classes: got shapes {a.shape} and {b.shape}, wanted equally many examples of one shape")
    if norm not in METRIC:
        raise unknown("norm", norm, METRIC)
    if not 0 < number("confidence", confidence) < 1:
        raise InputError(f"confidence: got {confidence!r}, wanted a number in (0, 1)")
    radii = [number("epsilon", e, low=0.0) for e in np.atleast_1d(np.asarray(epsilons, dtype=object))]
    n = len(a)
    b = np.asarray(b.reshape(n, -1), np.float64)
    distance = np.concatenate([cdist(part, b, METRIC[norm]) for _, part in pieces(a.reshape(n, -1), 500)])
    slack = np.sqrt(-np.log(1 - confidence) / (4 * n))
    out = []
    for e in radii:
        matching = largest_matching(distance <= 2 * e)
        error = matching / (2 * n)
        out.append(Transport(e, error, float(max(0.0, error - slack)), matching, n, confidence))
    return out


def largest_matching(edges: np.ndarray) -> int:
    """The number of edges in the largest matching of a bipartite graph, bool[n,m]; at most n m (n + m) steps.

    Augmenting paths by breadth-first search.  What a search without success has seen can never be on such a path, so
    it is left out for good.  (scipy's maximum_bipartite_matching takes exponential time on some of these graphs.)

    >>> largest_matching(np.array([[True, True], [True, False], [True, False]]))
    2
    """
    column_of, row_of = np.full(edges.shape[0], -1), np.full(edges.shape[1], -1)
    open_ = np.ones(edges.shape[1], bool)
    for root in range(len(edges)):
        unseen, parent, queue = open_.copy(), {}, deque([root])
        end = -1
        while queue and end < 0:
            row = queue.popleft()
            new = np.flatnonzero(edges[row] & unseen)
            unseen[new] = False
            parent.update(dict.fromkeys(new.tolist(), row))
            free = new[row_of[new] < 0]
            end = int(free[0]) if len(free) else -1
            queue.extend(row_of[new].tolist())
        if end < 0:
            open_ = unseen
        while end >= 0:
            row = parent[end]
            row_of[end], column_of[row], end = row, end, int(column_of[row])
    return int(np.sum(row_of >= 0))


def transport_gaussian(mean: float, epsilon):
    """The least adversarial error for N(mu, I) against N(-mu, I), equally likely, under l2: Phi(-(|mu| - epsilon)_+).

    Args:
        mean: |mu|, at least 0.
        epsilon: at least 0; arrays are allowed.

    >>> [round(float(v), 4) for v in transport_gaussian(1.0, np.array([0.0, 0.25, 0.5, 0.9, 2.0]))]
    [0.1587, 0.2266, 0.3085, 0.4602, 0.5]
    """
    mean, e = number("mean", mean, low=0.0), np.asarray(epsilon, np.float64)
    if not np.all(e >= 0):
        raise InputError(f"epsilon: got {epsilon!r}, wanted numbers >= 0")
    found = ndtr(-np.maximum(mean - e, 0.0))
    return float(found) if found.ndim == 0 else found
