"""The bounds of Fawzi, Fawzi and Fawzi (2018), to compare with: how often a small move changes a prediction.

x = g(z), z ~ N(0, I_d), g L-Lipschitz; r_in(x) is the distance from x to the nearest generated image of another
predicted class.  With p_i the probability that class i is predicted and a_i = Phi^-1(1 - p_i),

    Pr[r_in <= epsilon] >= sum_i [Phi(a_i + epsilon/L) - Phi(a_i)].

It holds for any classifier, the ground truth included: labels and risk play no part, so it bounds another quantity
than Theorem 4.4.  Equality: K = 2, g the identity, f the sign of one coordinate, where Pr = 2 Phi(epsilon) - 1.

Reference: Fawzi, Fawzi, Fawzi, "Adversarial vulnerability for any classifier", NeurIPS 2018,
https://arxiv.org/abs/1802.08686
"""

import numpy as np
from scipy.special import ndtri

from irob.bounds.intrinsic import _constants, _epsilon, _plain
from irob.core.check import InputError, integer, priors, unknown
from irob.math.gaussian import expansion

FORMS = ("exact", "simplified", "classes")


def fawzi(probabilities, epsilon, lipschitz, form="exact"):
    """Upper bound on Pr[r_in > epsilon], the share of predictions that no in-distribution move within epsilon changes.

    With eta = epsilon / L:
    form "exact":       sum_i Phi(Phi^-1(p_i) - eta), which is 1 - sum_i [Phi(a_i + eta) - Phi(a_i)];
    form "simplified":  sqrt(pi/2) exp(-eta^2/2), if all p_i <= 1/2;
    form "classes":     sqrt(pi/2) exp(-eta^2/2 - eta sqrt(log(K^2 / (4 pi log K)))), if p_i = 1/K and K >= 5.
    The last two exceed 1 at small eta, where they say nothing; the value is returned as it is.

    Args:
        probabilities: f[K] with sum 1, how often each class is predicted; or a whole number K of equally likely ones.
        epsilon: in image units, at least 0; arrays are allowed.
        lipschitz: global constant of the generator, one positive number.
        form: "exact", "simplified" or "classes".

    Returns:
        float or array; at least 0.

    Raises:
        InputError: values out of range, or a form whose condition on the probabilities fails.

    The paper's unconditional GAN, which it calls vacuous ("above 1"); the exact form is not:

    >>> [[round(fawzi(10, e, 27.01, form), 3) for e in (1, 2, 3)] for form in ("simplified", "classes", "exact")]
    [[1.252, 1.25, 1.246], [1.202, 1.151, 1.101], [0.937, 0.876, 0.819]]
    """
    p, eta = _probabilities(probabilities), _epsilon(epsilon) / _one(lipschitz)
    if form == "exact":
        return _plain(np.sum(expansion(p, -eta[..., None]), axis=-1))
    if form == "simplified":
        if p.max() > 0.5 + 1e-12:
            raise InputError(f"probabilities: got {p.max():g} for one class, wanted at most 1/2; use form='exact'")
        return _plain(np.sqrt(np.pi / 2) * np.exp(-(eta**2) / 2))
    if form == "classes":
        k = len(p)
        if k < 5 or np.ptp(p) > 1e-9:
            raise InputError(f"probabilities: got {k} classes between {p.min():g} and {p.max():g}, "
                             "wanted at least 5 equally likely ones; use form='exact'")
        slope = np.sqrt(np.log(k**2 / (4 * np.pi * np.log(k))))
        return _plain(np.sqrt(np.pi / 2) * np.exp(-(eta**2) / 2 - eta * slope))
    raise unknown("form", form, FORMS)


def fawzi_expected_distance(probabilities, lipschitz, form="exact"):
    """Upper bound on the mean distance E[r_in] to the nearest generated image of another predicted class.

    form "exact":    L sum_i [phi(a_i) - a_i Phi(-a_i)],  a_i = Phi^-1(1 - p_i), the integral of `fawzi`'s exact form;
    form "classes":  L log(4 pi log K) / sqrt(2 log K) for K equally likely classes, much looser.

    >>> round(fawzi_expected_distance(2, 1.0), 4), round(fawzi_expected_distance(10, 1.0), 3)
    (0.7979, 0.473)
    >>> round(fawzi_expected_distance(10, 1.0, "classes"), 3)
    1.568
    """
    p, constant = _probabilities(probabilities), _one(lipschitz)
    if form == "exact":
        a = -ndtri(p)  # +inf where a class is never predicted, whose term is 0
        density = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
        return float(constant * np.sum(density - np.where(p > 0, np.nan_to_num(a) * p, 0.0)))
    if form == "classes":
        if np.ptp(p) > 1e-9:
            raise InputError("probabilities: got unequal ones, wanted equally likely classes; use form='exact'")
        return float(constant * np.log(4 * np.pi * np.log(len(p))) / np.sqrt(2 * np.log(len(p))))
    raise unknown("form", form, ("exact", "classes"))


def _probabilities(v) -> np.ndarray:
    """f[K], K >= 2; a whole number K stands for K equal ones."""
    p = priors(None, integer("probabilities", v, low=2)) if np.ndim(v) == 0 else priors(v, np.size(v))
    if len(p) < 2 or p.max() >= 1:
        raise InputError("probabilities: got one class only, wanted at least two that are predicted")
    return p


def _one(lipschitz) -> float:
    constants = _constants(lipschitz)
    if len(constants) != 1:
        raise InputError(f"lipschitz: got {len(constants)} numbers, wanted one for an unconditional generator")
    return float(constants[0])
