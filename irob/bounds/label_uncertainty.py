"""Label uncertainty, and concentration of measure among regions that have it (Zhang and Evans, 2022).

    lu(x) = 1 - (p_y(x) - max over j != y of p_j(x)),    0 where the label is beyond doubt, 2 where another surely is,
    h(mu, alpha, epsilon, gamma) = inf { mu(E_eps) : mu(E) >= alpha, mean of lu over E >= gamma }.

Robustness is of the error-region kind (irob.bounds.concentration), among regions of doubtful labels.

Classifiers err where labels are doubtful, so gamma is what their errors have on average (.17 on CIFAR-10); gamma = 0
is plain concentration, and h grows with gamma.  p is a distribution over labels by people or, in place of it, by a
model; the quantity is only as good as p.

Reference: Zhang, Evans, "Understanding intrinsic robustness using label uncertainty", ICLR 2022,
https://arxiv.org/abs/2107.03250
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from irob.bounds.concentration import Concentration, RegionSearch, concentration
from irob.core.check import InputError


def label_uncertainty(probabilities, y) -> np.ndarray:
    """lu of each example, f[n] in [0, 2].

    Args:
        probabilities: f[n,K], rows that sum to 1.
        y: i[n], labels in [0, K).

    Raises:
        InputError: shapes or values out of range.

    >>> label_uncertainty([[1.0, 0.0, 0.0], [0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], [0, 0, 0]).tolist()
    [0.0, 0.75, 2.0]
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(y)
    if p.ndim != 2 or p.shape[1] < 2 or not (np.all(p >= 0) and np.all(np.abs(p.sum(axis=1) - 1) < 1e-4)):
        raise InputError(f"probabilities: got shape {p.shape}, wanted (n, classes), rows >= 0 with sum 1")
    if y.shape != p.shape[:1] or not np.issubdtype(y.dtype, np.integer) or np.any((y < 0) | (y >= p.shape[1])):
        raise InputError(f"labels: got shape {y.shape}, wanted {len(p)} integers in [0, {p.shape[1] - 1}]")
    rows = np.arange(len(p))
    others = p.copy()
    others[rows, y] = -np.inf
    return np.clip(1 - (p[rows, y] - others.max(axis=1)), 0.0, 2.0)


def constrained_concentration(
    x, uncertainty, alpha: float, epsilons: Sequence[float], gamma: float, *, family: str = "half-spaces",
    search: RegionSearch = RegionSearch(), **options
) -> list[Concentration]:
    """`concentration` among the regions whose mean uncertainty on the points of the fit is at least gamma.

    Half-spaces are sought along principal components and along the direction in which uncertainty rises, the
    covariance of x with it.  An epsilon for which no region of the family will do is left out.

    >>> x = np.random.default_rng(0).normal(size=(4000, 2))
    >>> free, = constrained_concentration(x, x[:, 0] > 1.0, 0.05, [1.0], 0.0)
    >>> held, = constrained_concentration(x, x[:, 0] > 1.0, 0.05, [1.0], 0.9)
    >>> free.fit_adversarial_risk <= held.fit_adversarial_risk, bool(held.region.w[0] > 0.9)
    (True, True)
    """
    x, lu = np.asarray(x), np.asarray(uncertainty, np.float64)
    if lu.shape != x.shape[:1]:
        raise InputError(f"uncertainty: got shape {lu.shape}, wanted one number for each of {len(x)} points")
    if family == "half-spaces" and len(x) >= 4 and np.ndim(x) > 1:
        flat = x.reshape(len(x), -1)
        # The covariance may look at all points only if the held-out half stays fresh: it takes the half of the fit.
        order = np.random.default_rng(search.seed).permutation(len(x))[: len(x) // 2]
        rising = (lu[order] - lu[order].mean()) @ np.asarray(flat[order], np.float64)
        search = dataclasses.replace(search, extra=rising[None])
    search = dataclasses.replace(search, uncertainty=lu, gamma=gamma)
    return concentration(x, alpha, epsilons, family=family, search=search, **options)
