"""Exact confidence for shares: one share from hits, one order statistic, all order statistics at once, a union.

Clopper-Pearson: h hits among n support a share p at level c as long as the hits are no rarer under p than 1 - c,

    lower:  Pr[Bin(n, p) >= h] = 1 - c,    p = BetaInv(1 - c; h, n - h + 1);
    upper:  Pr[Bin(n, p) <= h] = 1 - c,    p = BetaInv(c; h + 1, n - h).

Order statistics x_(1) <= ... <= x_(n) of independent draws leave a share Pr[x < x_(k)] below them that is at most the
k-th of n uniform order statistics U_(k), hence at most the Clopper-Pearson upper end of k - 1 hits.  Whoever chooses
k after seeing the draws needs all statements at once; `band` has

    Pr[U_(k) <= b_k for all k of a list] >= c,    every b_k at the same local level,

by counting the draws in [0, b_k]: they must be k at least.  The counts of Poisson draws have independent increments,
so one convolution a step carries their distribution along, and n draws are Poisson draws whose number is n (Noe's and
Steck's problem).

References: Clopper and Pearson (1934); Hoeffding (1956), which makes both hold for independent draws from different
distributions, with the mean of their shares; Noe (1972); Shorack and Wellner, Empirical Processes, chapter 9.
"""

import numpy as np
from scipy.special import betaincinv, gammaln, xlogy

SIDES = ("lower", "upper", "two")
_INEXACT = 5e-13  # of the inverse of the incomplete beta function: ends are moved outwards by it


def clopper_pearson(hits, n, confidence: float, side: str = "two"):
    """The exact confidence limit of a share from hits among n, or both limits; rounded outwards.

    Args:
        hits: whole numbers in [0, n]; arrays broadcast with n.
        n: whole numbers, at least 1.
        confidence: in (0, 1); of the interval, where both limits are wanted.
        side: "lower", "upper" or "two".

    Returns:
        float or array in [0, 1]; for "two" the pair (lower, upper).

    Raises:
        ValueError: numbers out of range, an unknown side.

    >>> [round(v, 5) for v in clopper_pearson(15, 1000, 0.95)]
    [0.00842, 0.02462]
    >>> round(clopper_pearson(0, 1000, 0.95, "upper"), 6), clopper_pearson(0, 1000, 0.95, "lower")
    (0.002991, 0.0)
    """
    h, n = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(n, np.float64))
    if not np.all((n >= 1) & (h >= 0) & (h <= n) & (h % 1 == 0) & (n % 1 == 0)):
        raise ValueError(f"hits: got {hits!r} among {n.ravel()[:3].tolist()}, wanted whole numbers in [0, n], n >= 1")
    _level(confidence)
    if side == "two":
        each = (1 + confidence) / 2
        return clopper_pearson(h, n, each, "lower"), clopper_pearson(h, n, each, "upper")
    if side == "lower":
        found = np.where(h == 0, 0.0, betaincinv(np.maximum(h, 1), n - h + 1, 1 - confidence) * (1 - _INEXACT))
    elif side == "upper":
        found = betaincinv(h + 1, np.maximum(n - h, 1), confidence) * (1 + _INEXACT)
        found = np.where(h == n, 1.0, np.minimum(found, 1.0))
    else:
        raise ValueError(f"side: got {side!r}, wanted one of {', '.join(SIDES)}")
    return float(found) if found.ndim == 0 else found


def together(*levels: float) -> float:
    """The confidence of several statements at once, whatever ties them: 1 - sum_i (1 - c_i), never below 0.

    Each c_i in [0, 1] is the confidence of one statement by itself; 1 is for what was proved without sampling.

    >>> together(0.95, 0.95), together(0.95, 1.0), together()
    (0.9, 0.95, 1.0)
    """
    return round(max(0.0, 1.0 - sum(1.0 - c for c in levels)), 12)  # 0.95 and 0.95 make 0.9, not 0.8999...


def share_below(k, n, confidence: float):
    """The share that may lie below the k-th smallest of n draws: Clopper-Pearson's upper end of k - 1 hits.

    >>> round(share_below(1, 1000, 0.95), 6), round(share_below(5, 1000, 0.95), 5)
    (0.002991, 0.00913)
    """
    return clopper_pearson(np.asarray(k) - 1, n, confidence, "upper")


def ladder(n: int, most: float = 0.05, ratio: float = 1.6) -> np.ndarray:
    """Order statistics to choose among, fixed before any draw: 1, 2, 4, ... up to a share `most` of n.

    >>> ladder(1000).tolist()
    [1, 2, 4, 7, 12, 20, 32, 52]
    """
    steps = [1]
    while steps[-1] < most * n:
        steps.append(min(n, int(np.ceil(steps[-1] * ratio))))
    return np.asarray(steps)


def band(n: int, confidence: float, ks=None) -> tuple[np.ndarray, float]:
    """(b, level): b_k with Pr[U_(k) <= b_k for all k of the list] >= confidence, and the level of each statement.

    Args:
        n: independent draws from one distribution.
        confidence: of all statements together, in (0, 1).
        ks: order statistics in increasing order; `ladder(n)` by default.

    >>> b, level = band(1000, 0.95)
    >>> b[:3].round(4).tolist(), round(level, 4)
    ([0.0045, 0.0066, 0.0099], 0.9895)
    """
    ks = ladder(n) if ks is None else np.asarray(ks)
    _level(confidence)
    if not (len(ks) and ks[0] >= 1 and np.all(np.diff(ks) > 0) and ks[-1] <= n):
        raise ValueError(f"order statistics: got {ks.tolist()}, wanted increasing whole numbers in 1..{n}")
    miss = 1 - confidence
    low, high = miss / len(ks), miss  # Bonferroni holds; one statement alone is the best there can be
    for _ in range(30):
        middle = (low * high) ** 0.5
        if all_below(n, ks, share_below(ks, n, 1 - middle)) >= confidence:
            low = middle
        else:
            high = middle
    return np.atleast_1d(share_below(ks, n, 1 - low)), 1 - low


def all_below(n: int, ks, limits) -> float:
    """Pr[U_(k) <= limit_k for all k of the list], U uniform order statistics of n draws; from below by 1e-12 at most.

    >>> round(all_below(10, [1], [0.3]), 6), round(1 - 0.7**10, 6)
    (0.971752, 0.971752)
    """
    limits = np.maximum.accumulate(np.asarray(limits, np.float64))
    reached = np.zeros(n + 1)
    reached[0] = 1.0  # Pr[count so far = j and all conditions so far hold]
    size, left = 1, 0.0
    for k, limit in zip(np.asarray(ks), limits):
        mean = n * (limit - left)
        most = min(n, int(n * limit + 12 * np.sqrt(n * limit) + 60))  # more have probability < 1e-12
        step = _poisson(np.arange(most + 1), mean)
        found = np.convolve(reached[:size], step)[: most + 1]
        size = len(found)
        reached[:size] = found
        reached[: min(k, size)] = 0.0
        left = limit
    rest = _poisson(n - np.arange(size), n * (1 - left))
    return float(min(1.0, np.sum(reached[:size] * rest) / _poisson(np.asarray(n), n)))


def _poisson(counts: np.ndarray, mean: float) -> np.ndarray:
    return np.exp(xlogy(counts, mean) - mean - gammaln(counts + 1.0))


def _level(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence!r}, wanted a number in (0, 1)")
