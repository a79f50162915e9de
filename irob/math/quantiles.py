"""Quantiles of an unknown distribution from a sample, with the exact confidence of order statistics.

Let x_(1) <= ... <= x_(n) be independent draws and xi the true q-quantile.  The number of draws below xi is
binomial with probability at most q, hence

    Pr[ x_(k) >= xi ] >= Pr[ Bin(n, q) <= k - 1 ],

with equality for continuous distributions.  The maximum covers xi with probability 1 - q^n: of 1,000 draws, the
largest covers the 99.9 % quantile with probability 0.632 only; 2,995 draws make it 0.95.

Reference: Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2.
"""

import math

import numpy as np
from scipy.special import bdtr, betaincinv

# bdtr and the target are rounded: a confidence that is met exactly must count as met.
_ROUNDING = 1e-10


def coverage(n: int, k: int, q: float) -> float:
    """Pr[x_(k) >= true q-quantile] = Pr[Bin(n, q) <= k - 1].

    >>> round(coverage(1000, 1000, 0.999), 3), round(coverage(1000, 999, 0.999), 3)
    (0.632, 0.264)
    """
    return float(bdtr(k - 1, n, q))


def order_statistic(n: int, q: float, confidence: float) -> tuple[int, float]:
    """(k, achieved): the smallest k in 1..n with Pr[x_(k) >= q-quantile] >= confidence, or n where none has.

    >>> order_statistic(1000, 0.999, 0.95)
    (1000, 0.6323...)
    >>> order_statistic(2995, 0.999, 0.95)[0], order_statistic(6000, 0.999, 0.95)[0]
    (2995, 5999)
    """
    if n < 1:
        raise ValueError(f"quantile: got {n} values, wanted at least one")
    for name, v in (("q", q), ("confidence", confidence)):
        if not 0 < v < 1:
            raise ValueError(f"{name}: got {v!r}, wanted a number in (0, 1)")
    low, high = 1, n
    while low < high:  # Pr[Bin(n, q) <= k - 1] grows with k
        k = (low + high) // 2
        if coverage(n, k, q) >= confidence - _ROUNDING:
            high = k
        else:
            low = k + 1
    return low, coverage(n, low, q)


def quantile(values, q: float, confidence: float = 0.95) -> tuple[float, float]:
    """The smallest order statistic that is at least the true q-quantile with the wanted confidence.

    Args:
        values: f[n], independent draws.
        q: in (0, 1); 1 - delta for a Lipschitz constant that holds with probability 1 - delta.
        confidence: in (0, 1).

    Returns:
        (value, achieved): the order statistic and Pr[it covers the quantile].  Where even the maximum falls short,
        the maximum and its confidence, which is then below the wanted one.

    Raises:
        ValueError: no values, NaN among them, q or confidence outside (0, 1).

    >>> quantile(range(1, 101), 0.5, 0.95)
    (59.0, 0.9556...)
    >>> quantile(range(1000), 0.999, 0.95)
    (999.0, 0.6323...)
    """
    x = np.sort(np.asarray(values, np.float64).ravel())
    if np.isnan(x).any():
        raise ValueError(f"quantile: got {int(np.isnan(x).sum())} NaN among {len(x)} values, wanted numbers")
    k, achieved = order_statistic(len(x), q, confidence)
    return float(x[k - 1]), achieved


def supported_delta(n: int, confidence: float = 0.95, k: int | None = None) -> float:
    """The smallest delta such that x_(k) covers the (1 - delta)-quantile with that confidence; k = n by default.

    Solves Pr[Bin(n, 1 - delta) <= k - 1] = confidence; for the maximum, delta = 1 - (1 - confidence)^(1/n).

    >>> f"{supported_delta(1000):.5f}", f"{supported_delta(2995):.5f}"
    ('0.00299', '0.00100')
    """
    k = n if k is None else k
    if not 1 <= k <= n:
        raise ValueError(f"order statistic: got {k} of {n}, wanted one in 1..{n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence!r}, wanted a number in (0, 1)")
    if k == n:
        return -math.expm1(math.log1p(-confidence) / n)
    # Pr[Bin(n, delta) >= n - k + 1] is the regularised incomplete beta function I_delta(n - k + 1, k).
    return float(betaincinv(n - k + 1, k, confidence))


def needed(delta: float, confidence: float = 0.95) -> int:
    """How many draws it takes until the largest covers the (1 - delta)-quantile with that confidence.

    n = ceil(log(1 - confidence) / log(1 - delta)).

    >>> needed(0.001, 0.95), needed(0.01, 0.99)
    (2995, 459)
    """
    for name, v in (("delta", delta), ("confidence", confidence)):
        if not 0 < v < 1:
            raise ValueError(f"{name}: got {v!r}, wanted a number in (0, 1)")
    return max(1, math.ceil(math.log1p(-confidence) / math.log1p(-delta) - _ROUNDING))
