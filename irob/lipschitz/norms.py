"""Operator norms from above, in float64, each proved whatever the rounding.

Explicit matrices: |X|^2 is the largest eigenvalue of the smaller Gram matrix G.  The computed one is off by at most
gamma |X|_F^2 in norm, and where the Cholesky factor of t I - G can be computed, G <= t + gamma tr(t I - G), since
floating-point Cholesky fails on any matrix that is less positive than that (Demmel 1989; Rump 2006).  The guess of t
needs no proof.

Transposed convolutions by their symbol.  Laid out on the whole plane the map is diagonal in frequency, with blocks H(w)
of 2x2 phases x channels, and the map on a finite image is a part of it, so that |W| <= sup_w |H(w)|.  |H(w) u|^2 is a
trigonometric polynomial of degree 1 in each axis; its supremum is at most (cos pi/n)^-2 times its maximum on a grid of
n x n frequencies, n > 2 (Ehlich and Zeller 1964).

Otherwise |W| <= | |W| | <= max (|W|'|W| x / x)^1/2 for any x > 0 (Collatz and Wielandt).

Sums and products of positive numbers lose nothing but UNIT an operation: SLACK covers 4,000 of them.
"""

import math

import numpy as np

from irob.lipschitz.linear import TINY, Linear, gamma

EXPLICIT = 1200  # matrices with a side up to this are formed
GRID = 32
SLACK = 2.0**-40


def lengths(x: np.ndarray) -> np.ndarray:
    """Euclidean length of each column, from above: f[m,n] -> f[n]; +inf for NaN.

    >>> found = lengths(np.array([[3e-200, 0.0], [4e-200, 0.0]]))
    >>> (found / 5e-200).round(9).tolist()
    [1.0, 0.0]
    """
    with np.errstate(all="ignore"):
        square = np.einsum("ij,ij->j", x, x)
        found = np.sqrt(square)
        odd = np.flatnonzero(~((square > 1e-250) & (square < np.inf)))  # squares that may have left the range
        if len(odd):
            most = np.abs(x[:, odd]).max(0, initial=0)
            scaled = x[:, odd] / np.where(most > 0, most, 1)
            found[odd] = most * np.sqrt(np.einsum("ij,ij->j", scaled, scaled)) + np.where(most > 0, TINY, 0)
    return np.nan_to_num(found * (1 + gamma(len(x))), nan=np.inf, posinf=np.inf)


def norm(rows: np.ndarray) -> float:
    """Operator norm of an explicit matrix, from above; +inf where it is not finite.

    >>> round(norm(np.diag([3.0, 2.0])), 6)
    3.0
    """
    most = float(np.abs(rows).max(initial=0))
    if most == 0:
        return 0.0
    if not math.isfinite(most):
        return math.inf
    x = rows / most
    if rows.shape[0] > rows.shape[1]:
        x = x.T
    gram = x @ x.T
    whole = float(np.trace(gram))
    square = _top(gram, whole) + gamma(x.shape[1]) * whole + TINY
    return most * math.sqrt(square) * (1 + SLACK)


def _top(gram: np.ndarray, whole: float) -> float:
    """The largest eigenvalue of a computed Gram matrix of trace `whole` from above, to 0.1 % where it is large.

    Power iteration or eigvalsh guesses t; a Cholesky factor then proves it, at a tenth of the cost of eigvalsh.
    """
    n = len(gram)
    if n == 1:
        return whole
    if n > 150:
        x = np.ones(n) + np.arange(n) % 7
        for _ in range(30):
            x = gram @ (x / (np.linalg.norm(x) or 1))
        guess = float(np.linalg.norm(x))
    else:
        guess = float(np.linalg.eigvalsh(gram)[-1])
    for slack in (1e-3, 4e-3, 2e-2) if n > 150 else (1e-9, 1e-6, 1e-3, 2e-2):
        t = (1 + slack) * guess
        if t < whole and _below(gram, t):
            return t * (1 + 4 * n * gamma(n))
    return whole * (1 + gamma(n))


def _below(gram: np.ndarray, t: float) -> bool:
    """Whether Cholesky proves gram <= t, for one matrix or many."""
    try:
        np.linalg.cholesky(t * np.eye(gram.shape[-1]) - gram)
    except np.linalg.LinAlgError:
        return False
    return True


def map_norm(w: Linear) -> float:
    """Operator norm of a linear map, from above; remembered, since classes and calls share most of them."""
    if w.name not in _NORMS:
        _NORMS[w.name] = _map_norm(w)
    return _NORMS[w.name]


_NORMS: dict[tuple, float] = {}


def _map_norm(w: Linear) -> float:
    kernel = w.kernel
    most = float(np.abs(kernel).max(initial=0))
    if most == 0 or kernel.ndim == 1:
        return most * (1 + SLACK)
    w = w.changed(kernel / most)
    n_in, n_out = math.prod(w.shape_in), math.prod(w.shape_out)
    if kernel.ndim == 2 and min(kernel.shape) <= EXPLICIT:
        found = norm(w.kernel)
    elif n_in <= EXPLICIT:
        found = norm(w.push(np.eye(n_in)))
    elif n_out <= EXPLICIT:
        found = norm(w.transposed.push(np.eye(n_out)))
    else:
        found = absolute_norm(w, np.ones(n_out), np.ones(n_in))
        if w.turned and w.stride == 2 and kernel.shape[:2] == (4, 4):
            found = min(found, symbol_norm(w.kernel.transpose(0, 1, 3, 2)))
    return most * found * (1 + SLACK)


def symbol_norm(kernel: np.ndarray) -> float:
    """sup |H(w)| of the transposed convolution 4x4, stride 2: taps 2 q + r of the phase r, shifted by q coarse rows."""
    c, o = kernel.shape[2:]
    taps = kernel.reshape(2, 2, 2, 2, c, o)  # row q, r; column q, r
    turn = np.exp(2j * np.pi * np.arange(GRID) / GRID)
    shift = np.stack([np.ones(GRID), turn])  # q = 0, 1
    grams = []
    for i in range(GRID // 2 + 1):  # H(-w) is the conjugate of H(w)
        rows = np.einsum("q,qrstco->rstco", shift[:, i], taps)
        h = np.einsum("sn,rstco->nrtoc", shift, rows).reshape(GRID, 4 * o, c)
        grams.append(h @ h.conj().transpose(0, 2, 1) if 4 * o < c else h.conj().transpose(0, 2, 1) @ h)
    gram = np.stack(grams).reshape(-1, *grams[0].shape[1:])
    whole = 4 * float(np.sum(kernel**2)) * (1 + gamma(kernel.size))  # at least every |H(w)|_F^2: four shifts
    top = min(whole, float(np.linalg.eigvalsh(gram)[:, -1].max()) * (1 + 1e-9))
    if not _below(gram, top):
        top = whole
    n = gram.shape[-1]
    # Complex sums, and the rounding of the frequencies, are within 16 real operations a term.
    square = top * (1 + 16 * n * gamma(n)) + 16 * gamma(4 * (c + o)) * whole
    return math.sqrt(square) / math.cos(math.pi / GRID) * (1 + SLACK)


def absolute_norm(w: Linear, left: np.ndarray, right: np.ndarray, steps: int = 10) -> float:
    """|diag(left) W diag(right)| from above, by the norm of the matrix of absolute values (left, right >= 0)."""
    scales = [float(np.abs(a).max(initial=0)) for a in (left, w.kernel, right)]
    if 0 in scales:
        return 0.0
    if not all(map(math.isfinite, scales)):
        return math.inf
    left, right = left / scales[0], right / scales[2]
    whole = w.changed(np.abs(w.kernel) / scales[1])
    back = whole.transposed
    live = right > 0
    x, bound = np.ones(len(right)), math.inf
    for _ in range(steps):
        y = right * back.push((left**2 * whole.push((right * x)[None])[0])[None])[0]
        bound = min(bound, float(np.max((y[live] + TINY) / x[live])))
        x = y / max(float(y.max()), TINY) + 1e-9
    return math.prod(scales) * math.sqrt(bound) * (1 + 4 * w.gamma + SLACK)
