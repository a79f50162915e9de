"""What a pilot sample says about where to look: class scales and an order statistic, chosen before the rest is seen.

Growths t(z) of class i are taken to be log-normal in their lower tail, with a median of its own for each class and one
shape for all.  That is a guess from few codes; it decides how tight a bound gets and never whether it holds.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from irob.math.confidence import ladder, share_below
from irob.math.gaussian import expansion

_GRID = np.linspace(-7.0, 1.0, 400)  # thresholds, in standard deviations of log t from the median


def choose(
    pilot: list[np.ndarray], p: np.ndarray, alpha: float, total: int, confidence: float, excess: Callable, *,
    by_class: bool,
) -> tuple[np.ndarray, int]:
    """(scales f[K], order k): thresholds are to be scales times the k-th smallest of `total` ratios t / scale.

    pilot: K arrays of positive growths.  p: f[K].  alpha: risk in each class, if `by_class`.
    excess(thresholds f[K], missed): what the bound gains over the trivial one.
    by_class: whether thresholds that differ between classes can gain anything; where a classifier may err in the one
        class that grows least, they cannot.
    """
    logs = [np.log(np.maximum(t, 1e-12)) for t in pilot]
    medians = np.asarray([np.median(v) for v in logs])
    middle, width = _lower_tail(np.concatenate([v - m for v, m in zip(logs, medians)]))
    centres = medians + middle
    candidates = [np.ones(len(p))]
    if by_class and len(p) > 1:
        # The best threshold of a class by itself: growth gained against codes missed.
        t = np.exp(centres[:, None] + width * _GRID)
        candidates.append(t[np.arange(len(p)), np.argmax(expansion(alpha, t) - ndtr(_GRID), axis=1)])
    orders = ladder(total)
    shares = np.atleast_1d(share_below(orders, total, confidence))
    found = []
    for scales in candidates:
        # Ratios t / scale are a mixture; its quantile at (k - 1/2) / total is where the k-th smallest is expected.
        about = centres - np.log(scales)
        s = np.linspace(about.min() - 7 * width, about.max() + width, 800)
        below = p @ ndtr((s - about[:, None]) / width)
        at = np.exp(np.interp((orders - 0.5) / total, below, s))
        found += [(excess(scales * v, d), -k, k, scales) for v, d, k in zip(at, shares, orders)]
    _, _, k, scales = max(found, key=lambda f: f[:2])  # of equals the smallest order
    return scales, int(k)


def _lower_tail(residuals: np.ndarray) -> tuple[float, float]:
    """(centre, width) of the normal distribution that fits the lowest quarter: a line through its normal scores."""
    x = np.sort(residuals)
    n, m = len(x), max(5, len(x) // 4)
    width, centre = np.polyfit(ndtri((np.arange(m) + 0.6) / (n + 0.2)), x[:m], 1)
    return float(centre), max(float(width), 1e-3)
