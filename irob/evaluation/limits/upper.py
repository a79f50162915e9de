"""The limit of Theorem 4.4 at common codes by every method, from the published protocol to certified constants.

Each rung is Theorem 4.4 with another growth t(z) of error sets: min(r, epsilon / L(z)) by sampled or maximised
constants, or an escape radius, found or certified.  A point estimate takes the (1 - delta)-quantile of the sample;
`bounds.with_confidence` makes one statement of S codes that holds with a confidence, so each such row has it by itself:
rows of other epsilons, families and risks come from the same codes.  The rows carry all that it takes
to compute them again:

    value = intrinsic_robustness_upper_from_radius(alpha, growth, delta=delta, family=family).
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from irob import bounds
from irob.core.evidence import Bound
from irob.core.laws import EvidenceError
from irob.core.rows import ANY, RUNGS, CommonConstant, Number, Quantity, Ratio, Row, Side, UpperEnd
from irob.core.threat import ThreatRecord
from irob.evaluation.limits.constants import Measured
from irob.evaluation.limits.sampled import FAMILIES, Risk
from irob.math.quantiles import quantile

DELTA = 0.001  # share of codes that an estimate leaves out, the paper's
NOISE = 1e-4  # relative; float32 rounding of constants that agree
SAMPLED, MAXIMISED, CERTIFIED = "sampled, ball", "maximised", "certified"


def lawful(m: Measured) -> None:
    """Raises `EvidenceError` where a certificate lies on the wrong side of a search at the same code."""
    top, none = m.constants.get("certified", np.empty(0)), np.empty(0)
    for low, high in [*((m.constants.get(k, none), top) for k in ("orthant", "ball", "maximised")),
                      *m.compared.values()]:
        n = min(len(high), len(low))
        wrong = np.flatnonzero(low[:n] > high[:n] * (1 + NOISE))
        if len(wrong):
            raise EvidenceError(f"code {wrong[0]}: the certified constant {high[wrong[0]]:g} lies below the one found "
                                f"by search, {low[wrong[0]]:g}")
    for e, kept in m.kept.items():
        found = m.found.get(e, np.empty(0))
        n = min(len(kept), len(found))
        wrong = np.flatnonzero(kept[:n] > found[:n] * (1 + NOISE))
        if len(wrong):
            raise EvidenceError(f"code {wrong[0]}: certified to stay within {kept[wrong[0]]:g} at epsilon {e:g}, but a "
                                f"point at {found[wrong[0]]:g} has left")


def constant_rows(m: Measured, *, dataset: str, model: str) -> list[Row]:
    """Sampled, maximised and certified constants of each class: largest and median over its codes."""
    rows = []
    named: tuple[tuple[str, str, Side], ...] = (
        ("ball", f"{SAMPLED}, {m.plan.neighbours} neighbours", "lower"),
        ("maximised", MAXIMISED, "lower"), ("certified", CERTIFIED, "upper"))
    for name, method, side in named:
        for c, values in enumerate(m.by_class(m.constants.get(name, np.empty(0)))):
            if len(values):
                detail = CommonConstant(((name, side),), class_index=c, radius=m.plan.radius,
                                        median=float(np.median(values)))
                number = Number(float(values.max()), n=len(values))
                rows.append(detail.row(dataset, model, None, number, method, side=side))
    return rows


def ratio_rows(m: Measured, *, dataset: str, model: str) -> list[Row]:
    """How far above the steepest chord that was found the certified constant lies, radius by radius: medians."""
    rows = []
    for r, (low, high) in m.compared.items():
        detail = Ratio(radius=r, maximised=float(np.median(low)), certified=float(np.median(high)))
        share = high / low
        number = Number(float(np.median(share)), float(np.min(share)), float(np.max(share)), len(low))
        rows.append(detail.row(dataset, model, None, number, "certified over maximised, median"))
    return rows


def rung_rows(
    m: Measured, risks: Sequence[Risk], *, dataset: str, confidence: float = 0.95, everywhere: float | None = None
) -> list[Row]:
    """One row for each risk, family, epsilon and method.

    Args:
        everywhere: a certified constant of the whole latent space, for all classes; None if there is none of use.

    Raises:
        EvidenceError: a certificate contradicts a search at some code.
    """
    lawful(m)
    rows: list[Row] = []
    for risk, family, e in itertools.product(risks, FAMILIES, m.plan.epsilons):
        common = UpperEnd(measured=isinstance(risk.alpha, tuple), source=risk.source, family=family)
        found, kept = m.found.get(e, np.empty(0)), m.kept.get(e, np.empty(0))
        if not isinstance(risk.alpha, tuple):
            rows += paper_rows(m, risk.alpha, e, dataset=dataset, common=common)
            searched = {rung: np.minimum(m.plan.radius, e / m.constants[name])
                        for rung, name in (("sampled", "ball"), ("maximised", "maximised")) if name in m.constants}
            for rung, growth in {**searched, "escape": found}.items():
                if len(growth):
                    rows.append(estimated(m, rung, growth, risk.alpha, e, dataset=dataset, common=common))
        counted: tuple[tuple[str, np.ndarray, Side], ...] = (
            ("supported", found, "lower"), ("certified", kept, "upper"))
        for rung, growth, side in counted:
            if len(growth):
                s = bounds.with_confidence(
                    m.by_class(growth), risk.alpha, confidence=confidence, family=m.groups(family))
                detail = dataclasses.replace(
                    common, alpha=s.alpha, rung=rung, growth=tuple(s.growth.tolist()), delta=s.delta, order=s.order,
                    codes=s.measured, pilot=s.chose, confidence=confidence, vacuous=s.vacuous)
                rows.append(_row(s.bound(e, side), dataset, detail, len(growth)))
        if everywhere is not None and not isinstance(risk.alpha, tuple):
            classes = int(m.y.max()) + 1
            terms = bounds.Terms([1 / classes] * classes, family=m.groups(family))
            bound = bounds.evidence(risk.alpha, e, everywhere, terms, side="upper")
            detail = dataclasses.replace(
                common, alpha=risk.alpha, rung="global", growth=(e / everywhere,) * classes, delta=0.0,
                lipschitz=everywhere)
            rows.append(_row(bound, dataset, detail, None))
    return rows


def _row(bound: Bound, dataset: str, detail: UpperEnd, n: int | None) -> Row:
    detail = dataclasses.replace(detail, inputs=bound.inputs, assumptions="; ".join(bound.assumptions))
    return detail.row(dataset, ANY, bound.threat, Number(bound.value, n=n),
                      f"{bound.theorem}, {RUNGS[detail.rung]}, {detail.family}")


def estimated(
    m: Measured, rung: str, growth: np.ndarray, alpha: float, e: float, *, dataset: str, common: UpperEnd
) -> Row:
    """A point estimate: the growth that all but DELTA of each class's codes reach, the least where they are few."""
    least = np.asarray([-quantile(-t, 1 - DELTA, 0.95)[0] for t in m.by_class(growth)])
    value = float(bounds.intrinsic_robustness_upper_from_radius(
        alpha, least, delta=DELTA, family=m.groups(common.family)))
    bound = Bound(value, "upper", Quantity.BOUND, ThreatRecord.lp("l2", e), "Theorem 4.4",
                  (("escape radius", "lower"),), ("the growth was found by search; the true bound may be larger",))
    detail = dataclasses.replace(common, alpha=alpha, rung=rung, growth=tuple(least.tolist()), delta=DELTA)
    return _row(bound, dataset, detail, len(growth))


def paper_rows(m: Measured, alpha: float, e: float, *, dataset: str, common: UpperEnd) -> list[Row]:
    """The published protocol at the same codes: orthant, [-1,1] units, interpolated 99.9 % percentile, no proviso."""
    values = m.constants.get("orthant", np.empty(0))
    if not len(values):
        return []
    each = [float(np.percentile(2 * v, 99.9)) for v in m.by_class(values)]
    taken = [max(each)] * len(each) if common.family == "per_class" else each
    terms = bounds.Terms(delta=DELTA, family=m.groups(common.family), violated="record")
    bound = bounds.evidence(alpha, e, taken, terms, radius=m.plan.radius / 2, side="lower")
    detail = dataclasses.replace(common, alpha=alpha, rung="paper", protocol="paper",
                                 growth=tuple(e / v for v in taken), delta=DELTA, lipschitz=max(taken))
    return [_row(bound, dataset, detail, len(values))]
