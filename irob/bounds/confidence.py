"""Theorem 4.4 from a finite sample: the best pair of threshold and missed share that the sample supports.

Codes are drawn and each gets a growth t(z): its escape radius, or min(r, epsilon / L(z)).  For thresholds t_i the
proof of Theorem 4.3 gives, whatever the classifier,

    AdvRisk >= sum_i p_i h_i(risk_i) - delta,    h_i(m) = Phi(Phi^-1(m) + t_i),    delta = sum_i p_i Pr[t(z) < t_i],

by either definition of robustness (irob.bounds.intrinsic).

Small thresholds miss few codes but let error sets grow little; the best lie between, and to find them on the sample
that also measures delta would spoil the measurement.  So the sample is split:

    pilot (a twentieth): gives each class a scale c_i, and an order k (irob.bounds.pilot);
    main (the rest): t_i = c_i s, where s is the k-th smallest of the ratios t(z) / c_y, all classes together.

Given the pilot, k and c are fixed, and the share of ratios below s is at most Clopper-Pearson's upper end of k - 1
hits.  With as many codes of a class as its prior asks for that share is delta: one statement for all classes, and no
confidence is split among them.  (Fixed numbers from each class scatter less than draws of the mixture: Hoeffding.)
The pilot can choose badly; it cannot make the bound wrong.

Scheme "simultaneous" spends no pilot: k is the best of a ladder of order statistics whose statements hold all at once.

Measured on log-normal growths of 10 classes, alpha 0.015, as the share of what an infinite sample gains over the
trivial bound: with 1,000 codes a class 0.77 to 0.92 by the pilot, 0.55 to 0.87 simultaneously, 0.78 to 0.91 by the
sample extreme without a choice; with 10,000 codes 0.94 to 0.98, 0.91 to 0.97, 0.78 to 0.91.  A statement for each class
by itself, with the confidence split, gained 0 to 0.16 and 0.73 to 0.89.

Reference: Hoeffding, "On the distribution of the number of successes in independent trials" (1956).
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from irob.bounds import pilot
from irob.bounds.intrinsic import check_family, intrinsic_robustness_upper_from_radius
from irob.core.check import InputError, number, unknown
from irob.core.check import priors as check_priors
from irob.math.confidence import band, clopper_pearson, ladder, share_below
from irob.math.quantiles import needed

if TYPE_CHECKING:
    from irob.core.evidence import Bound
    from irob.core.rows import Side

SCHEMES = ("pilot", "simultaneous")
PILOT = 0.05  # share of the codes that choose; 0.1 to 0.3 choose no better
LEAST = 5  # pilot codes of a class; where there are fewer, k = 1 is taken, fixed before any draw
MOST_CODES = 10**9  # nobody draws more
FARTHEST = 40.0  # growth beyond which nothing is left of any set


@dataclasses.dataclass(frozen=True)
class Supported:
    """A bound at a confidence, and all that it stands on.

    value: upper bound on the intrinsic robustness, by either definition.
    growth: f[K], thresholds t_i in latent standard deviations.  constants: f[K], epsilon / t_i, the Lipschitz
        constants that they stand for; None where escape radii were given.
    delta: share of codes, over all classes, that may lie beyond.  order: k.  measured, chose: numbers of codes.
    alpha: the risk that entered.
    confidence: of the value.  of_delta, of_alpha: of its parts; 1 where nothing is left to chance.
    vacuous: "" where the value says something; else a sentence: that it is no more than the trivial 1 - alpha, why, and
        how many codes would help.  It stands among the assumptions too.
    """

    value: float
    growth: np.ndarray
    constants: np.ndarray | None
    delta: float
    order: int
    measured: int
    chose: int
    alpha: float
    confidence: float
    of_delta: float
    of_alpha: float
    family: str | tuple[int, ...]
    scheme: str
    assumptions: tuple[str, ...]
    vacuous: str = ""

    def bound(self, epsilon: float, side: "Side") -> "Bound":
        """As a `Bound`.  side: "upper" for certified constants and certified escape radii, "lower" for found ones."""
        from irob.core.evidence import Bound  # brings JAX, which `import irob.bounds` does not wait for
        from irob.core.rows import Quantity
        from irob.core.threat import ThreatRecord

        certain = side in ("upper", "exact")
        sides: tuple[tuple[str, Side], ...] = (
            ("escape radius" if self.constants is None else "lipschitz", side),
            ("confidence of the quantile", "upper" if certain else "estimate"))
        doubt = () if certain else ("the constants are found, not certified; the true bound may be larger",)
        return Bound(self.value, "upper", Quantity.BOUND, ThreatRecord.lp("l2", epsilon), "Theorem 4.4", sides,
                     self.assumptions + doubt)


@dataclasses.dataclass(frozen=True)
class OrderChoice:
    """Which order statistic sets the thresholds.

    delta: wanted share of missed codes, in (0, 1); None takes the best.  scheme: "pilot" or "simultaneous".
    """

    delta: float | None = None
    scheme: str = "pilot"

    def __post_init__(self):
        if self.delta is not None:
            object.__setattr__(self, "delta", _inside("delta", self.delta))
        if self.scheme not in SCHEMES:
            raise unknown("scheme", self.scheme, SCHEMES)


def with_confidence(
    values,
    alpha,
    epsilon: float | None = None,
    *,
    confidence: float = 0.95,
    family: str | Sequence[int] = "overall",
    priors=None,
    radius: float | None = None,
    order: OrderChoice = OrderChoice(),
) -> Supported:
    """Upper bound on the intrinsic robustness that holds with this confidence over the draw of the codes.

    It holds for error-region and for label robustness.  One call is one statement: values for several epsilons or
    families from the same codes each have this confidence by themselves.

    Args:
        values: of independent codes z ~ N(0, I): f[n] for one class, f[K,n], or a list of K arrays.  Lipschitz
            constants where epsilon is given, in image units per latent unit; else escape radii, +inf allowed.
        alpha: least natural risk, in [0, 1]; or a pair (hits, n), the errors among n test images, which enters with
            its Clopper-Pearson lower end: half of what the confidence leaves to chance is then spent on it.  Several
            pairs, one for each of several classifiers, stand for the risk of the best of them, whichever that is: the
            least of their lower ends enters.  It needs no correction for the choice, since it is at most the lower end
            of the classifier whose true risk is least, and that end alone covers.
        epsilon: in image units, positive; None if the values are escape radii.
        confidence: in (0, 1).
        family: "overall", "per_class" or the label of each component, as in `intrinsic_robustness_upper`.
        priors: f[K]; None means equal.  Codes beyond what the prior of their class asks for are left out.
        radius: within which the Lipschitz constants hold; None for global ones.  Error sets grow by no more.
        order: how the order statistic is chosen.

    Returns:
        Supported; its value is never above 1 - alpha, and where it is no less, `vacuous` says so.

    Raises:
        InputError: values out of range; too few codes for the wanted delta (says how many it takes).

    >>> values = np.random.default_rng(0).normal(8.0, 0.5, size=(10, 1000))
    >>> found = with_confidence(values, 0.015, 3.0, radius=0.5)
    >>> round(found.value, 4), found.order, found.measured, round(found.delta, 5), round(float(found.constants[0]), 2)
    (0.977, 1, 9500, 0.00032, 9.74)
    """
    confidence, delta, scheme = _inside("confidence", confidence), order.delta, order.scheme
    check_family(family)
    growth = _growth(values, epsilon, radius)
    p = check_priors(priors, len(growth))
    present, count = np.flatnonzero(p > 0), len(p)
    growth, p = [growth[i] for i in present], p[present]
    kept = family if isinstance(family, str) else tuple(np.asarray(family)[present].tolist())
    risk, of_alpha, notes = _risk(alpha, confidence)
    of_delta = 1 - (1 - confidence) / (1 if of_alpha == 1 else 2)

    def value(thresholds: np.ndarray, missed: float) -> float:
        return float(intrinsic_robustness_upper_from_radius(risk, thresholds, p, min(1.0, missed), kept))

    share = PILOT if scheme == "pilot" else 0.0
    if delta is not None and sum(map(len, _split(growth, p, share)[1])) < needed(delta, of_delta):
        share = 0.0  # every code is needed to measure
    first, main = _split(growth, p, share)
    if min(map(len, first)) < LEAST:
        first, main = _split(growth, p, 0.0)
    total, chose = sum(map(len, main)), sum(map(len, first))
    # Rounding of the numbers of codes: a class with fewer than its share counts a little more.
    uneven = total / min(len(t) / q for t, q in zip(main, p))
    scales, orders = np.ones(len(p)), np.ones(1, int)
    if chose:
        scales, k = pilot.choose(
            first, p, risk, total, of_delta, lambda t, missed: -value(t, missed), by_class=kept != "overall")
        orders = np.asarray([k])
    if delta is not None:
        # The largest order that supports it, known before any draw.
        every = np.arange(1, total + 1)
        orders = every[_shares(every, total, of_delta) * uneven <= delta * (1 + 1e-9)][-1:]
        if not len(orders):
            raise InputError(f"codes: got {total}, wanted at least {needed(delta, of_delta)} for delta = {delta:g} at "
                             f"confidence {of_delta:g}; draw more, or take a larger delta")
    if scheme == "simultaneous" and delta is None:
        orders, shares = _all_at_once(total, of_delta, len(p) == 1)
    else:
        shares = _shares(orders, total, of_delta)
    shares = np.minimum(1.0, shares * uneven)
    ratios = np.sort(np.concatenate([t / c for t, c in zip(main, scales)]))
    best = min(range(len(orders)), key=lambda i: value(scales * ratios[orders[i] - 1], shares[i]))
    thresholds, missed = scales * ratios[orders[best] - 1], float(shares[best])
    notes += (f"codes are independent draws from N(0, I); with confidence {of_delta:.4g} at most {missed:.3g} of them "
              f"grow less than the thresholds (order statistic {orders[best]} of {total})",)
    shown = np.zeros(count)  # 0 where a class has no share
    shown[present] = thresholds
    found, vacuous = value(thresholds, missed), ""
    if found >= 1 - risk:
        vacuous = _vacuous(risk, total + chose, _enough(
            ratios, lambda s: 1 - risk - value(scales * s, 0.0), 1 - (1 - of_delta) / len(orders),
            share if chose else 0.0))
        notes += (vacuous,)
    with np.errstate(divide="ignore"):
        constants = None if epsilon is None else float(epsilon) / shown
    return Supported(found, shown, constants, missed, int(orders[best]), total, chose, risk,
                     confidence, of_delta, of_alpha, kept, scheme, notes, vacuous)


def _shares(orders: np.ndarray, total: int, confidence: float) -> np.ndarray:
    """Shares that may lie below order statistics, for draws of any mixture: Hoeffding's inequality wants n b >= k."""
    return np.maximum(share_below(orders, total, confidence), orders / total)


@functools.cache
def _all_at_once(total: int, confidence: float, one_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """(orders, shares): statements about a ladder of order statistics that hold together; exact for one class."""
    orders = ladder(total)
    if one_class:
        return orders, band(total, confidence, orders)[0]
    return orders, _shares(orders, total, 1 - (1 - confidence) / len(orders))


def _enough(ratios: np.ndarray, gain, confidence: float, pilot_share: float) -> int | None:
    """How many codes it takes until the bound can say something, if codes are as these; None if no number does.

    A threshold s gains G(s) over the trivial bound and loses delta.  Of these codes, sorted, k - 1 lie below the k-th:
    if that share q stays, n codes support delta = Clopper-Pearson's end of q n misses among n, which must be below
    G(s_k).  For k = 1 that is 1 - (1 - confidence)^(1 / n) < G(s_1).
    """
    total, found = len(ratios), []
    for k in ladder(total, most=1.0):
        g, below = gain(ratios[k - 1]), (k - 1) / total
        if g <= below:
            continue

        def helps(n: int, g=g, below=below) -> bool:
            hits = int(np.ceil(below * n))
            return hits < n and _shares(np.asarray(hits + 1), n, confidence) < g

        high = 1
        while not helps(high) and high < MOST_CODES:
            high *= 2
        low = high // 2
        while high - low > 1 and helps(high):
            middle = (low + high) // 2
            low, high = (low, middle) if helps(middle) else (middle, high)
        if helps(high):
            found.append(int(np.ceil(high / (1 - pilot_share))))
    return min(found, default=None)


def _vacuous(risk: float, codes: int, enough: int | None) -> str:
    """Why the bound is the trivial one, and what would help."""
    said = f"says nothing beyond the trivial limit 1 - alpha = {1 - risk:.6g}: "
    if risk == 0:
        return said + "so few errors leave a risk of 0 possible; more test images would help"
    if enough is None:
        return said + "error sets grow too little around too many of these codes; more of them would not help"
    if enough <= codes:
        return said + 'the order that was chosen suits these codes badly; more codes or scheme="simultaneous" may help'
    return said + f"{codes:,} codes are too few; with growths as these it takes about {enough:,}"


def _split(growth: list[np.ndarray], p: np.ndarray, share: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(pilot, main) of each class in proportion to the priors; by a fixed shuffle, in case the values come sorted."""
    scale = min(len(t) / q for t, q in zip(growth, p))
    rng, first, main = np.random.default_rng(0), [], []
    for t, q in zip(growth, p):
        kept = t[rng.permutation(len(t))][: int(np.ceil(scale * q - 1e-9))]
        size = int(share * len(kept))
        first.append(kept[:size])
        main.append(kept[size:])
    return first, main


def _risk(alpha, confidence: float) -> tuple[float, float, tuple[str, ...]]:
    """(risk, its confidence, what to record) of a number, of (hits, n), or of several (hits, n)."""
    if not isinstance(alpha, (tuple, list)):
        return number("alpha", alpha, low=0.0, high=1.0), 1.0, ()
    each = 1 - (1 - confidence) / 2
    try:
        pairs = alpha if len(alpha) and np.ndim(alpha[0]) else (alpha,)
        risk, hits, n = min((float(clopper_pearson(h, n, each, "lower")), h, n) for h, n in pairs)
    except (TypeError, ValueError):
        raise InputError(f"alpha: got {alpha!r}, wanted a number in [0, 1], (errors, images), or several such "
                         "pairs") from None
    best = f", the least such end of {len(pairs)} classifiers" if len(pairs) > 1 else ""
    return risk, each, (f"risk at least {risk:.4g} with confidence {each:.4g}: {hits} errors on {n} images{best}",)


def _growth(values, epsilon, radius) -> list[np.ndarray]:
    """How far error sets grow around each code: K arrays of numbers in [0, FARTHEST]."""
    try:
        many = isinstance(values, (list, tuple)) and len(values) > 0 and np.ndim(values[0]) > 0
        rows = [np.asarray(v, np.float64) for v in (values if many else np.atleast_2d(np.asarray(values, np.float64)))]
    except (TypeError, ValueError):
        raise InputError("values: got what is no array, wanted f[n], f[K,n] or a list of K arrays") from None
    for i, v in enumerate(rows):
        if v.ndim != 1 or not len(v) or not np.all(v >= 0):  # NaN fails every comparison
            what = f"shape {v.shape}" if v.ndim != 1 or not len(v) else f"{float(v[np.argmin(v >= 0)]):g}"
            raise InputError(f"values: got {what} in class {i}, wanted numbers >= 0, one for each code")
    if epsilon is None:
        if radius is not None:
            raise InputError("radius: got one without epsilon, wanted none: escape radii hold at every distance")
        return [np.minimum(v, FARTHEST) for v in rows]
    epsilon = number("epsilon", epsilon, low=0.0, open_low=True)
    far = FARTHEST if radius is None else min(FARTHEST, number("radius", radius, low=0.0, open_low=True))
    with np.errstate(divide="ignore"):
        return [np.minimum(epsilon / v, far) for v in rows]


def _inside(name: str, v) -> float:
    """A number in (0, 1)."""
    v = number(name, v, low=0.0, high=1.0, open_low=True)
    if v == 1:
        raise InputError(f"{name}: got 1, wanted a number in (0, 1)")
    return v
