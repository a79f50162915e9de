"""Theorem 4.4 as evidence: the number, the side of what went in, and the proviso checked."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from irob.bounds import spread
from irob.bounds.intrinsic import (
    _constants,
    groups,
    intrinsic_robustness_upper,
    intrinsic_robustness_upper_from_radius,
)
from irob.core.check import InputError, number, unknown
from irob.core.check import priors as check_priors

if TYPE_CHECKING:
    from irob.core.evidence import Bound
    from irob.core.rows import Side

VIOLATED = ("cap", "record", "raise")


def holds(epsilon: float, lipschitz, radius: float) -> np.ndarray:
    """Where the theorem's r L_i >= epsilon holds: bool for each constant.

    >>> holds(3.0, [5.0, 7.0], 0.5).tolist()
    [False, True]
    """
    return number("radius", radius, low=0.0, open_low=True) * _constants(lipschitz) >= number("epsilon", epsilon, low=0)


@dataclasses.dataclass(frozen=True)
class Terms:
    """On which a theorem is applied.

    priors, delta, family: as of `intrinsic_robustness_upper`.
    confidence: with which the constants of all classes together cover their (1 - delta)-quantiles (the product over
        classes whose codes are independent); None if it is not a matter of sampling.
    violated: where the proviso fails: "cap" takes min(r, epsilon / L_i); "record" takes the plain formula, as the paper
        does, and says so in `assumptions` (then it is no bound); "raise".
    """

    priors: Any = None
    delta: float = 0.0
    family: str | Sequence[int] = "overall"
    confidence: float | None = None
    violated: str = "cap"

    def __post_init__(self):
        if self.violated not in VIOLATED:
            raise unknown("treatment of the proviso", self.violated, VIOLATED)


def evidence(
    alpha: float, epsilon: float, lipschitz, terms: Terms = Terms(), *, radius: float | None = None,
    side: "Side" = "lower",
) -> "Bound":
    """`intrinsic_robustness_upper` as a `Bound`: certified only if the constants are upper bounds.

    Where r L_i < epsilon the proof reaches no farther than the radius, so error sets of class i grow by
    min(r, epsilon / L_i), and that is what "cap" puts in; it needs no proviso.

    Args:
        alpha, epsilon, lipschitz: as there, one alpha and one epsilon.
        terms: priors, delta, family, confidence, and what is done where the proviso fails.
        radius: within which the constants hold, in latent standard deviations; None for global constants.
        side: of the constants: "lower" for sampled ones, "upper" for certified ones, "exact" for known ones.

    Raises:
        InputError: values out of range; the proviso fails and `terms.violated` is "raise".

    >>> b = evidence(0.015, 3.0, [4.0, 7.0], Terms(delta=0.001), radius=0.5, side="upper")
    >>> round(b.value, 4), b.certified, b.assumptions[0]
    (0.9644, True, 'r L >= epsilon fails for class 0: error sets grow by r = 0.5 there')
    >>> evidence(0.015, 3.0, 7.0, radius=0.5).certified
    False
    """
    priors, delta, family, confidence = terms.priors, terms.delta, terms.family, terms.confidence
    epsilon, alpha = number("epsilon", epsilon, low=0.0), number("alpha", alpha, low=0.0, high=1.0)
    constants = _constants(lipschitz)
    sides: list[tuple[str, Side]] = [("lipschitz", side)]
    if confidence is not None:
        sides.append(("confidence of the quantile", "upper" if side in ("upper", "exact") else "estimate"))
    value = intrinsic_robustness_upper(alpha, epsilon, constants, priors, delta, family)
    notes = []
    if radius is None:
        notes.append("the constants hold everywhere, not within a radius only")
    else:
        fails = np.flatnonzero(~holds(epsilon, constants, radius))
        which = f"class {', '.join(map(str, fails))}" if len(constants) > 1 else "the one constant"
        if not len(fails):
            notes.append("r L >= epsilon holds")
        elif terms.violated == "raise":
            raise InputError(f"radius: got r = {radius:g}, for which r L < epsilon = {epsilon:g} in {which}; "
                             "take a larger radius")
        elif terms.violated == "cap":
            reach = np.minimum(radius, epsilon / constants)
            value = intrinsic_robustness_upper_from_radius(alpha, reach, priors, delta, family)
            notes.append(f"r L >= epsilon fails for {which}: error sets grow by r = {radius:g} there")
        else:
            sides.append(("r L >= epsilon", "estimate"))
            notes.append(f"r L >= epsilon fails for {which} and is ignored")
    p = check_priors(priors, max(len(constants), np.size(priors) if priors is not None else 1))
    if not all(spread.is_exact(alpha, p[g] / share) for g, share in groups(family, p)):
        notes.append("the spread of risk over classes is relaxed to the trivial bound 1 - alpha")
    if confidence is not None:
        notes.append(f"confidence {confidence:.3f} that the constants of all classes cover their quantiles at "
                     f"1 - delta = {1 - delta:g}")
    if side not in ("upper", "exact"):
        notes.append("the constants are found from below; the true ones may be larger, and so may this bound")
    from irob.core.evidence import Bound  # brings JAX, which `import irob.bounds` does not wait for
    from irob.core.rows import Quantity
    from irob.core.threat import ThreatRecord

    threat = ThreatRecord.lp("l2", epsilon)
    return Bound(float(value), "upper", Quantity.BOUND, threat, "Theorem 4.4", tuple(sides), tuple(notes))
