"""How a classifier may spread a given risk over the classes, and which spread grows least.

    minimise   sum_i p_i h_i(r_i),    h_i(r) = Phi(Phi^-1(r) + t_i),    over   sum_i p_i r_i = alpha, 0 <= r_i <= 1.

Every h_i is concave, so a minimum lies at a vertex: some classes at 0, some at 1, at most one between.  If class j is
the one between, with u = r_j, the value is alpha + p_j (h_j(u) - u), where p_j u = alpha - (prior of the classes at
1).  The excess h_j(u) - u is concave too, so of all u that the other classes leave to j only the smallest and the
largest matter: the largest sum of other priors that stays below alpha, and the smallest that reaches alpha - p_j.

Shapes: K classes; p, t: f[K].
"""

import numpy as np

from irob.math.gaussian import expansion

MOST = 20  # classes that may be at 1, for an exact enumeration
# A class whose remaining risk is rounding noise is taken to be at 0 or 1.  This can only lower the minimum, by at
# most this much in alpha: the bound stays valid.
_SLACK = 1e-12


def is_exact(alpha, p: np.ndarray) -> bool:
    """Whether `least_growth` finds the exact minimum: equal priors, or few enough classes no larger than alpha.

    >>> is_exact(0.5, np.full(1000, 1e-3)), is_exact(0.5, np.arange(1, 26) / 325)
    (True, False)
    """
    p = p[p > 0]
    return bool(np.ptp(p) <= _SLACK or np.sum(p <= np.max(alpha, initial=0) + _SLACK) <= MOST)


def least_growth(alpha: float, p: np.ndarray, t: np.ndarray) -> float:
    """The minimum above, in [alpha, 1]; alpha itself, its convex relaxation, where `is_exact` is false.

    >>> p = np.array([0.5, 0.5])
    >>> [round(least_growth(0.1, p, np.array(t)), 4) for t in ([1.0, 1.0], [1.0, 0.0])]
    [0.2815, 0.1]
    """
    p, t = p[p > 0], t[p > 0]
    if not 0 < alpha < 1:
        return float(alpha)
    if np.ptp(p) <= _SLACK:
        # Whatever classes are at 1, equal priors leave the same u to the last one; it is the one that grows least.
        share = alpha * len(p)
        left = [(j, share - np.floor(share + _SLACK)) for j in [int(np.argmin(t))]]
    elif is_exact(alpha, p):
        left = [(j, u / p[j]) for j in range(len(p)) for u in _remainders(alpha, p, j)]
    else:
        return float(alpha)
    excess = [p[j] * _excess(float(np.clip(u, 0.0, 1.0)), p[j], t[j]) for j, u in left]
    return float(min(1.0, alpha + min(excess, default=0.0)))


def _excess(u: float, p: float, t: float) -> float:
    """h(u) - u, 0 where u is 0 or 1 up to rounding."""
    return 0.0 if min(u, 1 - u) * p <= _SLACK else float(expansion(u, t)) - u


def _remainders(alpha: float, p: np.ndarray, j: int) -> list[float]:
    """The smallest and the largest p_j u in [0, p_j] such that other classes at 1 make up the rest of alpha."""
    others = np.delete(p, j)
    others = others[others <= alpha + _SLACK]
    # Subset sums of two halves, met in the middle: 2^10 against 2^10 instead of 2^20.
    a, b = (np.sort(_subset_sums(half)) for half in np.array_split(others, 2))
    below = np.searchsorted(b, alpha - a + _SLACK, side="right") - 1
    above = np.searchsorted(b, alpha - p[j] - a - _SLACK, side="left")
    found = [alpha - float(np.max(a[below >= 0] + b[below[below >= 0]]))]
    inside = above < len(b)
    if inside.any():
        found.append(alpha - float(np.min(a[inside] + b[above[inside]])))
    return [u for u in found if -_SLACK <= u <= p[j] + _SLACK]


def _subset_sums(values: np.ndarray) -> np.ndarray:
    """All 2^n sums."""
    sums = np.zeros(1)
    for v in values:
        sums = np.concatenate([sums, sums + v])
    return sums
