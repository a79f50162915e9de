"""How sets grow under the standard Gaussian measure, in float64 and with the small tail kept.

A set of measure m has a t-expansion of measure at least Phi(Phi^-1(m) + t); half-spaces attain it.
Written as Phi(-(Phi^-1(m) + t)), what is left outside keeps its digits where 1 - Phi(...) would be 0.

Reference: Borell (1975); Sudakov and Tsirelson (1978).
"""

import numpy as np
from scipy.special import ndtr, ndtri


def expansion(measure, t) -> np.ndarray:
    """Phi(Phi^-1(measure) + t), exact at measure 0 and 1 (whatever t) and at t = 0; broadcasts.

    For t >= 0 never below the measure, so that rounding cannot shrink a set that grows.

    >>> float(expansion(0.05, 1.0).round(4))
    0.2595
    >>> expansion([0.0, 0.3, 1.0], [[np.inf], [0.0], [-np.inf]]).tolist()
    [[0.0, 1.0, 1.0], [0.0, 0.3, 1.0], [0.0, 0.0, 1.0]]
    """
    m, t = np.broadcast_arrays(np.asarray(measure, np.float64), np.asarray(t, np.float64))
    grown = ndtr(ndtri(np.clip(m, np.finfo(np.float64).tiny, 1.0 - 2.0**-53)) + t)
    grown = np.where(t >= 0, np.maximum(grown, m), np.minimum(grown, m))
    return np.where((m == 0) | (m == 1) | (t == 0), m, grown)


def remainder(measure, t) -> np.ndarray:
    """1 - expansion(measure, t) = Phi(-(Phi^-1(measure) + t)) without cancellation; broadcasts.

    >>> f"{float(remainder(0.01, 12.0)):.2e}", 1.0 - float(expansion(0.01, 12.0))
    ('1.95e-22', 0.0)
    """
    m, t = np.broadcast_arrays(np.asarray(measure, np.float64), np.asarray(t, np.float64))
    left = ndtr(-ndtri(np.clip(m, np.finfo(np.float64).tiny, 1.0 - 2.0**-53)) - t)
    left = np.where(t >= 0, np.minimum(left, 1 - m), np.maximum(left, 1 - m))
    return np.where((m == 0) | (m == 1) | (t == 0), 1 - m, left)
