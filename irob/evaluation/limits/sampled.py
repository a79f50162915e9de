"""Limits from sampled constants: Theorem 4.4 at the measured risk and at the paper's, and the bounds of Fawzi et al.

The Lipschitz constant of a class is the (1 - delta)-quantile of sampled constants.  Sampling finds constants from
below, so every bound here is an estimate, and `Bound.certified` says so.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from irob import bounds
from irob.core import published
from irob.core.rows import ANY, Number, Quantity, Row, Stability, UpperEnd, largest, models
from irob.core.threat import ThreatRecord
from irob.math.confidence import clopper_pearson

PAPER_ALPHA = 0.015  # Zhang et al. (2020), section 5.3
FAMILIES = ("overall", "per_class")
FORMS = ("simplified", "classes", "exact")  # "classes" wants five or more
ALPHAS = np.concatenate([np.geomspace(1e-4, 0.02, 20), np.linspace(0.025, 0.5, 39)])
PROTOCOLS = ("default", "paper")


@dataclasses.dataclass(frozen=True)
class Risk:
    """The natural risk that a limit is for: a number, or errors on n test images, and where it comes from.

    Errors on images enter the bounds with their Clopper-Pearson lower end, those of several classifiers with the least
    of their lower ends, which is one for the best of them although it was chosen on the same images.
    """

    alpha: float | tuple[int, int] | tuple[tuple[int, int], ...]
    source: str


def candidates(rows: Sequence[Row]) -> list[Row]:
    """Natural accuracies of the robustly trained classifiers; the most accurate has the risk that the paper takes.

    Checkpoints are left out; where no classifier was trained for robustness, all of them count.
    """
    names = models(rows)
    names = [m for m in names if published.method(m)] or names
    return [r for m in names if (r := largest(rows, Quantity.NATURAL, model=m))]


def most_accurate(rows: Sequence[Row]) -> Row | None:
    """The most accurate of the candidates."""
    return max(candidates(rows), key=lambda r: r.value, default=None)


def _chosen(rows: Sequence[Row]) -> str:
    """A phrase for a row: among how many classifiers the most accurate was chosen."""
    count = len(candidates(rows))
    return f", the most accurate of {count}," if count > 1 else ""


def measured_alpha(rows: Sequence[Row]) -> tuple[float, str] | None:
    """The natural risk of the most accurate, and where it comes from.

    A share of errors is a point estimate; of the best of several classifiers, chosen on the same images, it lies
    rather too low, where the limit is higher.  A classifier that is right on all n images has a risk that n images
    cannot tell from 0: the upper end of its exact interval is taken, at a level at which the intervals of all m
    candidates hold together with 95 % confidence (1 - 0.05 / m each), since the choice fell on the luckiest.
    """
    best = most_accurate(rows)
    if best is None:
        return None
    if best.value == 1.0 and best.n:
        level = 1 - 0.05 / len(candidates(rows))
        high = float(clopper_pearson(0, best.n, level)[1])
        return high, (f"95 % upper limit of the risk of {best.model}{_chosen(rows)} which made no error on "
                      f"{best.n:,} images")
    return 1 - best.value, f"natural risk of {best.model}{_chosen(rows)} on {best.n:,} images"


def measured_risk(rows: Sequence[Row]) -> Risk | None:
    """The natural risk of the best candidate, with the errors of every candidate that it was chosen from."""
    found = tuple((round((1 - r.value) * r.n), r.n) for r in candidates(rows) if r.n)
    best = most_accurate(rows)
    if best is None or not found:
        return None
    return Risk(found, f"errors of {best.model}{_chosen(rows)} on {best.n:,} images")


def noted(rows: Sequence[Row], assumptions: Sequence[str]) -> list[Row]:
    """The rows with these assumptions added to every bound; a bound that assumes something certifies nothing."""
    def note(r: Row) -> Row:
        if r.quantity != Quantity.BOUND:
            return r
        text = "; ".join([t for t in (r.detail.assumptions,) if t] + list(assumptions))
        inputs = (*r.detail.inputs, ("assumptions", "estimate"))
        return dataclasses.replace(r, detail=dataclasses.replace(r.detail, inputs=inputs, assumptions=text))

    return [note(r) for r in rows] if assumptions else list(rows)


def limit_rows(
    constants: dict[int, float],
    *,
    dataset: str,
    protocol: str,
    alphas: dict[float, tuple[bool, str]],
    threats: Sequence[ThreatRecord],
    radius: float,
    terms: bounds.Terms,
    label_of: Sequence[int] = (),
) -> list[Row]:
    """Theorem 4.4: one row for each threat, alpha and family.

    Args:
        constants: component to sampled Lipschitz constant, in the units of the protocol.
        alphas: risk to (whether it was measured here, its source).
        label_of: the label of each component, for the per-class family; () where they are the labels.
        radius: of the local Lipschitz constants.  terms: their delta, and the confidence with which they cover their
            quantiles.

    The theorem asks for radius * L >= epsilon, in image units.  Where that fails, error sets grow by the radius only,
    and that is what protocol "default" puts in.  The published protocol ignores it, divides epsilon in [0,1] units by
    constants in [-1,1] units, and takes the largest of them for the per-class family.
    """
    as_published = protocol == "paper"
    values = np.asarray([constants[c] for c in sorted(constants)])
    units = published.settings(dataset).scale if as_published else 1.0
    reach = radius / units  # reach * L is radius times the constant in image units
    rows = []
    for threat, (alpha, (measured, source)), family in itertools.product(threats, alphas.items(), FAMILIES):
        epsilon = threat.strength
        taken = np.full_like(values, values.max()) if as_published and family == "per_class" else values
        groups = label_of if label_of and family == "per_class" else family
        here = dataclasses.replace(terms, family=groups, violated="record" if as_published else "cap")
        bound = bounds.evidence(alpha, epsilon, taken, here, radius=reach, side="lower")
        fails = [c for c in sorted(constants) if reach * constants[c] < epsilon]
        curve = None
        if measured and not as_published:
            grown = bounds.intrinsic_robustness_upper_from_radius(
                ALPHAS, np.minimum(radius, epsilon / taken), delta=terms.delta, family=groups)
            curve = {"alpha": tuple(ALPHAS.tolist()), "value": tuple(np.asarray(grown).tolist())}
        detail = UpperEnd(
            bound.inputs, float(alpha), family, protocol, assumptions="; ".join(bound.assumptions), curve=curve,
            measured=measured, source=source, proviso=not fails, fails_for=tuple(fails), radius=radius,
            delta=terms.delta, lipschitz=float(taken.max()))
        rows.append(detail.row(dataset, ANY, threat, Number(bound.value), f"{bound.theorem}, {family}"))
    return rows


def fawzi_rows(
    constant: float, *, dataset: str, protocol: str, threats: Sequence[ThreatRecord], classes: int = 10
) -> list[Row]:
    """Fawzi et al. (2018) for `classes` equally likely predictions: the share that no in-distribution move changes.

    constant: of the unconditional generator, sampled, in the units of the protocol; so these are estimates too.
    """
    rows = []
    for threat, form in itertools.product(threats, FORMS if classes >= 5 else ("simplified", "exact")):
        value = float(bounds.fawzi(classes, threat.strength, constant, form))
        detail = Stability(protocol=protocol, lipschitz=constant, classes=classes)
        rows.append(detail.row(dataset, ANY, threat, Number(value), f"Fawzi et al., {form} form"))
    return rows
