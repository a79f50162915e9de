"""Adversarial spheres: the largest mean distance to an error region of given measure on a sphere (Gilmer et al. 2018).

x uniform on the unit sphere S^(n-1), E of measure mu.  Among all E the cap {angle t <= t_0} lies farthest away
(Levy), so the mean Euclidean distance from x to E is at most

    d(mu) = integral over t > t_0 of 2 sin((t - t_0) / 2) c sin^(n-2) t dt,   which tends to Phi^-1(1 - mu) / sqrt(n).

It speaks of the way to an error region, so of error-region robustness.  Attained by the cap.  The paper states the
order of this; the cap is evaluated exactly here.

Reference: Gilmer, Metz, Faghri, Schoenholz, Raghu, Wattenberg, Goodfellow, "Adversarial spheres", 2018,
https://arxiv.org/abs/1801.02774
"""

import numpy as np
from scipy.special import betaincinv, gammaln, roots_legendre

from irob.core.check import InputError, integer, number


def cap_angle(mu: float, n: int) -> float:
    """The polar angle t_0 of the cap of measure mu in (0, 1) on the sphere of R^n, n >= 2.

    >>> round(cap_angle(0.5, 500) / np.pi, 12), round(cap_angle(0.25, 2) / np.pi, 12)
    (0.5, 0.25)
    """
    mu, n = number("mu", mu, low=0.0, high=1.0, open_low=True), integer("n", n, low=2)
    if mu == 1:
        raise InputError("mu: got 1, wanted a measure below 1")
    # Pr[angle <= t] = I(sin^2 t; (n - 1)/2, 1/2) / 2 up to pi/2, mirrored beyond
    t = float(np.arcsin(np.sqrt(betaincinv((n - 1) / 2, 0.5, 2 * min(mu, 1 - mu)))))
    return t if mu <= 0.5 else np.pi - t


def gilmer_mean_distance(mu: float, n: int) -> float:
    """Upper bound on the mean distance from the unit sphere of R^n to any error region of measure mu; the cap has it.

    Args:
        mu: error rate, in (0, 1).
        n: dimension, at least 2.

    Returns:
        Euclidean distance; multiply by the radius of the sphere.

    Raises:
        InputError: values out of range.

    >>> [round(gilmer_mean_distance(mu, 500), 4) for mu in (0.1, 0.01, 0.001)]
    [0.0595, 0.1042, 0.1381]
    """
    start = cap_angle(mu, n)
    # sin^(n-2) is negligible farther than 40 / sqrt(n) from pi/2; smooth inside, so Gauss-Legendre is exact to rounding
    low, high = max(start, np.pi / 2 - 40 / np.sqrt(n)), min(np.pi, np.pi / 2 + 40 / np.sqrt(n))
    if low >= high:
        return 0.0
    node, weight = roots_legendre(200)
    t = (high + low) / 2 + (high - low) / 2 * node
    log_c = gammaln(n / 2) - gammaln((n - 1) / 2) - np.log(np.pi) / 2
    density = np.exp(log_c + (n - 2) * np.log(np.sin(t)))
    return float((high - low) / 2 * np.sum(weight * density * 2 * np.sin((t - start) / 2)))
