"""Operator norms from above, proved: whatever LAPACK returns and whatever the scale, the result is no smaller.

For any matrices U, V and numbers s, good or bad,

    |A|  <=  |U| |V| max s + |A - U diag(s) V'|_F,     |U|^2 <= the largest row sum of |U'U|.

A singular value decomposition makes the first summand nearly |A| and the second nearly 0.  Nothing is assumed of it;
only sums and products are trusted, which IEEE 754 rounds to a relative u = 2^-53 each, so that a sum of n products in
any order is off by at most gamma_n = n u / (1 - n u) times the sum of their magnitudes.  A power of two takes the
largest entry to [1/2, 1] before anything is squared: no scale overflows, and what underflows is below TINY.

Reference: Higham, "Accuracy and Stability of Numerical Algorithms", 2002, chapter 3; Rump, "Verified bounds for
singular values", BIT 51 (2011).
"""

import numpy as np

UNIT = 2.0**-53
TINY = 1e-100  # more than all that underflow takes from numbers of order 1, their squares included


def gamma(n: int) -> float:
    """n u / (1 - n u), rounded up: the relative error of n roundings, whatever their order.

    >>> gamma(0), gamma(1000) > 1000 * UNIT
    (0.0, True)
    """
    if n * UNIT > 1e-3:
        raise ValueError(f"gamma: got {n} roundings, wanted fewer than 2^43")
    return 1.01 * n * UNIT


def operator_norm(matrix) -> float:
    """An upper bound on the largest singular value of f[m,n], within about 1e-9 of it; infinite if not representable.

    Args:
        matrix: finite numbers of any scale, taken as float64.

    Raises:
        ValueError: no matrix, or numbers that are not finite.

    >>> round(operator_norm([[3.0, 0.0], [4.0, 0.0]]), 8)
    5.0
    >>> operator_norm(np.full((2, 2), 1e-200)) >= 2e-200
    True
    """
    a, exponent = _scaled(matrix)
    if a.size == 0 or not a.any():
        return 0.0
    m, n = a.shape
    slack = 1 + gamma(4 * (m * n + m + n) + 100)  # of every scalar sum, product and root below
    bound = np.sqrt(np.sum(a * a)) * slack + TINY  # Frobenius: holds where the decomposition failed
    try:
        u, s, v = np.linalg.svd(a, full_matrices=False)
    except np.linalg.LinAlgError:
        return _up(bound, exponent)
    with np.errstate(all="ignore"):
        us = u * s
        rest = np.sqrt(np.sum((a - us @ v) ** 2)) + gamma(len(s) + 3) * (
            np.sqrt(np.sum(us**2)) * np.sqrt(np.sum(v**2)) + np.sqrt(np.sum(a * a)))
        found = (np.sqrt(_gram(u) * _gram(v.T)) * np.max(s) + rest) * slack + TINY
    return _up(found if found < bound else bound, exponent)  # NaN is not below


def lengths(matrix) -> np.ndarray:
    """Upper bounds on the l2 lengths of the last axis of f[...,n], f[...]; of any scale.

    >>> lengths([[3.0, 4.0], [0.0, 0.0]]).round(9).tolist()
    [5.0, 0.0]
    """
    a, exponent = _scaled(matrix)
    n = a.shape[-1]
    with np.errstate(over="ignore", under="ignore"):
        found = np.sqrt(np.sum(a * a, axis=-1)) * (1 + gamma(2 * n + 10)) + TINY * np.sqrt(n)
        return np.where(a.any(-1), _up(found, exponent), 0.0)


def _gram(u: np.ndarray) -> float:
    """Upper bound on the square of the norm of f[m,r], near 1 for orthonormal columns."""
    square = np.abs(u.T @ u)
    m, r = u.shape
    return float(np.max(np.sum(square, axis=1)) + gamma(m + r + 3) * (1 + gamma(m + r)) * r * np.max(np.diag(square)))


def _scaled(matrix) -> tuple[np.ndarray, int]:
    """(a, e) with matrix = a 2^e and the largest entry of a in [1/2, 1); what underflows is covered by TINY."""
    a = np.asarray(matrix, np.float64)
    if a.ndim < 2 or not np.isfinite(a).all():
        raise ValueError(f"matrix: got shape {a.shape}, wanted two axes or more and finite numbers")
    exponent = int(np.frexp(np.max(np.abs(a), initial=0.0))[1])
    # two steps, since 2^-e itself may overflow
    return np.ldexp(np.ldexp(a, -exponent // 2), -exponent - (-exponent // 2)), exponent


def _up(bound, exponent: int):
    """bound 2^exponent, not below it, and no subnormal, which some processors' settings take for 0."""
    with np.errstate(over="ignore", under="ignore"):
        found = np.nextafter(np.ldexp(bound, exponent), np.inf)
    found = np.maximum(found, np.finfo(np.float64).tiny)
    return float(found) if np.ndim(found) == 0 else found
