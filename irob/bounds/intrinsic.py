"""Theorems 4.3 and 4.4: the adversarial risk that no classifier avoids on a generated distribution.

mu = sum_i p_i (g_i)_* N(0, I_d).  If g_i is L_i-Lipschitz within radius r of all codes but a share delta, and
r L_i >= epsilon, then an error set of measure m in latent space grows to at least Phi(Phi^-1(m) + epsilon / L_i)
before its images lie epsilon apart.  Equality (delta = 0): an isometric g_i, scaled by L_i, and a half-space.

Both hold for error-region robustness (f(x') against the ground truth at x') and for label robustness (f(x') against the
label of x): the error set of class i is { z : f(g_i(z)) != i }, and a code moves within its class, so that the ground
truth along the move is the label.

The proviso r L_i >= epsilon is the caller's to check; `evidence` does so.  Shapes: K classes, class axis last.

Reference: Zhang, Chen, Gu, Evans, "Understanding the Intrinsic Robustness of Image Distributions using Conditional
Generative Models", AISTATS 2020, https://arxiv.org/abs/2003.00378
"""

import numpy as np

from irob.bounds import spread
from irob.core.check import InputError, number, unknown
from irob.core.check import priors as check_priors
from irob.math.gaussian import expansion, remainder

FAMILIES = ("overall", "per_class")


def gaussian_expansion(measure, t):
    """Least measure of the t-expansion of a set under the standard Gaussian: Phi(Phi^-1(measure) + t).

    Args:
        measure: in [0, 1]; broadcasts with t.
        t: expansion in standard deviations, not NaN; negative shrinks.

    Returns:
        float or array in [0, 1]; exact at measure 0 and 1 and at t = 0.

    Raises:
        InputError: measure outside [0, 1], t NaN.

    >>> round(gaussian_expansion(0.05, 1.0), 4)
    0.2595
    """
    m, t = _share("measure", measure), _array("t", t)
    if np.isnan(t).any():
        raise InputError("t: got NaN, wanted a number")
    return _plain(expansion(m, t))


def adversarial_risk_lower(class_risks, epsilon, lipschitz, priors=None, delta=0.0):
    """Theorem 4.3: AdvRisk >= sum_i p_i Phi(Phi^-1(risk_i) + epsilon / L_i) - delta; never below sum_i p_i risk_i.

    AdvRisk: the share of images with a wrong answer within epsilon, be it wrong for the image moved or for its label.

    Args:
        class_risks: risk of the classifier in each class, in [0, 1]: f[..., K], or one number for all classes.
        epsilon: in image units, at least 0; an array broadcasts with the leading axes of class_risks.
        lipschitz: local Lipschitz constant, positive: one number, or one for each class.
        priors: f[K], probability of each class; None means equal.
        delta: share of codes where the constants may fail, in [0, 1].

    Returns:
        float or array in [0, 1].

    Raises:
        InputError: values outside these ranges, NaN, or numbers of classes that do not agree.

    >>> round(adversarial_risk_lower([0.05, 0.10], 3.0, [10.0, 15.0], delta=0.001), 4)
    0.1135
    """
    risks, constants = _share("class_risks", class_risks), _constants(lipschitz)
    p = _classes(risks, constants, priors)
    radius = _epsilon(epsilon)[..., None] / constants
    natural = np.sum(p * risks, axis=-1)
    grown = np.sum(p * expansion(risks, radius), axis=-1) - _delta(delta)
    return _plain(np.clip(np.maximum(grown, natural), 0.0, 1.0))


def intrinsic_robustness_upper(alpha, epsilon, lipschitz, priors=None, delta=0.0, family="overall"):
    """Theorem 4.4: no classifier with risk at least alpha is more robust than this at epsilon, by either definition.

    family "overall", {f: Risk(f) >= alpha}:   1 + delta - min_r sum_i p_i h_i(r_i),   sum_i p_i r_i = alpha,
    family "per_class", {f: Risk_i(f) >= alpha for all i}:   1 + delta - sum_i p_i h_i(alpha),
    a list of labels, where the K are components of those labels, {f: Risk(f | label) >= alpha for every label}:
        1 + delta - sum over labels of the same minimum over their own components,
    with h_i(r) = Phi(Phi^-1(r) + epsilon / L_i), and never above 1 - alpha.

    The minimum is exact for any alpha where priors are equal or at most 20 classes have a prior of at most alpha
    (`irob.bounds.spread`); otherwise it is replaced by alpha, which gives the trivial bound 1 - alpha.

    Args:
        alpha: least natural risk, in [0, 1]; broadcasts with epsilon.
        epsilon: in image units, at least 0.
        lipschitz: local Lipschitz constant, positive: one number, or one for each class.
        priors: f[K]; None means equal priors over the classes of `lipschitz`, or one class.
        delta: share of codes where the constants may fail, in [0, 1].
        family: "overall", "per_class", or the label i[K] of each component.

    Returns:
        float or array in [0, 1 - alpha].

    Raises:
        InputError: values outside these ranges, NaN, unknown family.

    The paper's Table 3, "Our Bound" for MNIST (98.2, 97.8, 97.2), and its Remark 4.5 ("not exceeding 75 %"):

    >>> [round(100 * intrinsic_robustness_upper(0.015, e, 11.0, delta=0.001), 2) for e in (1, 2, 3)]
    [98.22, 97.76, 97.21]
    >>> round(intrinsic_robustness_upper(0.05, 1.0, 1.0), 4)
    0.7405

    Ten equal classes leave a classifier the choice to err in one class only:

    >>> round(100 * intrinsic_robustness_upper(0.015, 3.0, 11.0, [0.1] * 10, 0.001), 2)
    97.87

    Two components of one label are one class to the risk, and two to the error sets, which may lie in one of them:

    >>> [round(intrinsic_robustness_upper(0.1, 1.0, [1.0, 1.0], family=f), 4) for f in ("per_class", [0, 0], [0, 1])]
    [0.6109, 0.7185, 0.6109]
    """
    constants = _constants(lipschitz)
    return _upper(alpha, _epsilon(epsilon)[..., None] / constants, constants, priors, delta, family)


def intrinsic_robustness_upper_from_radius(alpha, escape_radius, priors=None, delta=0.0, family="overall"):
    """Theorem 4.4 with the radius itself in place of epsilon / L_i.

    If for all codes of class i but a share delta no latent move shorter than rho_i changes the image by more than
    epsilon, then error sets grow by rho_i at least.  Since rho_i >= min(r, epsilon / L_i(r)) for every r, this is at
    least as tight as the bound through a Lipschitz constant.

    Args:
        alpha: least natural risk, in [0, 1]; an array is allowed.
        escape_radius: rho, at least 0, in latent standard deviations: one number, or one for each class.
        priors, delta, family: as in `intrinsic_robustness_upper`.

    >>> intrinsic_robustness_upper_from_radius(0.05, 1.0) == intrinsic_robustness_upper(0.05, 3.0, 3.0)
    True
    """
    radius = _array("escape_radius", escape_radius)
    if radius.ndim > 1 or not np.all(radius >= 0):
        raise InputError(f"escape_radius: got {escape_radius!r}, wanted numbers >= 0, one or one for each class")
    radius = np.atleast_1d(radius)
    return _upper(alpha, radius, radius, priors, delta, family)


def _upper(alpha, radius: np.ndarray, per_class: np.ndarray, priors, delta, family: str):
    """The bound at expansions radius: f[..., K or 1]; `per_class` says how many classes the constants speak of."""
    check_family(family)
    alpha, delta = _share("alpha", alpha), _delta(delta)
    count = len(family) if len(per_class) == 1 and not isinstance(family, str) else 1
    p = _classes(np.zeros(count), per_class, priors)
    alpha = np.broadcast_to(alpha, np.broadcast_shapes(alpha.shape, radius.shape[:-1]))
    radius = np.broadcast_to(radius, (*alpha.shape, len(p)))
    if isinstance(family, str) and family == "per_class":
        left = np.sum(p * remainder(alpha[..., None], radius), axis=-1)
    else:
        left = np.zeros(alpha.shape)
        for g, share in groups(family, p):
            values = [_overall(a, p[g] / share, t[g]) for a, t in zip(alpha.ravel(), radius.reshape(-1, len(p)))]
            left = left + share * np.reshape(values, alpha.shape)
    return _plain(np.clip(left + delta, 0.0, 1.0 - alpha))


def check_family(family) -> None:
    """Raises `InputError` unless this is a name of FAMILIES or a list of labels."""
    named = isinstance(family, str) or not np.issubdtype(np.asarray(family).dtype, np.integer)
    if named and family not in FAMILIES:
        raise unknown("family", family, FAMILIES)


def groups(family, p: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """(components, their share of p: f[K]) of each group that has a risk of at least alpha; without empty groups.

    >>> [(g.tolist(), share) for g, share in groups([0, 1, 0], np.array([0.25, 0.5, 0.25]))]
    [([0, 2], 0.5), ([1], 0.5)]
    """
    kinds = {"overall": np.zeros(len(p), int), "per_class": np.arange(len(p))}
    label = kinds[family] if isinstance(family, str) else np.asarray(family)
    if label.shape != p.shape:
        raise InputError(f"family: got {label.size} labels, wanted one for each of {len(p)} components")
    if len(label) and np.all(label == label[0]):
        return [(np.arange(len(p)), 1.0)]
    found = [np.flatnonzero(label == v) for v in np.unique(label)]
    return [(g, float(np.sum(p[g]))) for g in found if np.sum(p[g]) > 0]


def _overall(alpha: float, p: np.ndarray, t: np.ndarray) -> float:
    """1 - min_r sum_i p_i h_i(r_i); for one class in the form that keeps the small tail."""
    if np.sum(p > 0) == 1:
        return float(remainder(alpha, t[p > 0][0]))
    return 1.0 - spread.least_growth(float(alpha), p, t)


def _array(name: str, v) -> np.ndarray:
    try:
        return np.asarray(v, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {v!r}, wanted numbers") from None


def _share(name: str, v) -> np.ndarray:
    """Numbers in [0, 1]."""
    a = _array(name, v)
    if not np.all((a >= 0) & (a <= 1)):  # NaN fails every comparison
        raise InputError(f"{name}: got {_first(a, (a >= 0) & (a <= 1)):g}, wanted numbers in [0, 1]")
    return a


def _epsilon(v) -> np.ndarray:
    a = _array("epsilon", v)
    if not np.all(a >= 0):
        raise InputError(f"epsilon: got {_first(a, a >= 0):g}, wanted numbers >= 0 in image units")
    return a


def _constants(v) -> np.ndarray:
    """One positive constant or one for each class, as f[1 or K]."""
    a = np.atleast_1d(_array("lipschitz", v))
    good = (a > 0) & (a < np.inf)
    if a.ndim != 1 or not np.all(good) or not len(a):
        got = f"shape {a.shape}" if a.ndim != 1 or not len(a) else f"{_first(a, good):g}"
        raise InputError(f"lipschitz: got {got}, wanted one positive number, or one for each class")
    return a


def _delta(v) -> float:
    return number("delta", v, low=0.0, high=1.0)


def _classes(risks: np.ndarray, constants: np.ndarray, priors) -> np.ndarray:
    """Priors f[K], where K is what risks, constants and priors agree on; a single number goes with any K."""
    sizes = {"class_risks": np.atleast_1d(risks).shape[-1], "lipschitz": len(constants)}
    if priors is not None:
        sizes["priors"] = np.size(priors)
    count = max(sizes.values())
    wrong = {name: n for name, n in sizes.items() if n not in (1, count)}
    if wrong:
        raise InputError(f"classes: got {', '.join(f'{n} for {name}' for name, n in sizes.items())}; "
                         "wanted the same number, or one value for all")
    return check_priors(priors, count)


def _first(a: np.ndarray, good: np.ndarray) -> float:
    return float(np.ravel(a)[int(np.argmin(np.ravel(good)))])


def _plain(a):
    """A float where the input was numbers, an array otherwise."""
    return float(a) if np.ndim(a) == 0 else a
