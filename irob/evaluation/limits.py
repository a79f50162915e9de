"""The bound rows of a report: what Theorem 4.4 says at the measured risk and at the paper's, and Fawzi's bounds.

The Lipschitz constant of a class is the (1 - delta)-quantile of sampled constants.  Sampling finds constants from
below, so every bound here is an estimate, and `Bound.certified` says so.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from irob import bounds
from irob.core.evidence import Row
from irob.math.confidence import clopper_pearson
from irob.report import published, tables

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
    names = tables.models(rows)
    names = [m for m in names if published.method(m)] or names
    return [r for m in names if (r := tables.largest(rows, tables.NATURAL, model=m))]


def most_accurate(rows: Sequence[Row]) -> Row | None:
    """The most accurate of the candidates."""
    return max(candidates(rows), key=lambda r: r.value, default=None)


def _chosen(rows: Sequence[Row]) -> str:
    """Words that say among how many the most accurate was chosen."""
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
    """The errors of every candidate on its images; the risk is that of the best, whichever of them that is."""
    found = tuple((round((1 - r.value) * r.n), r.n) for r in candidates(rows) if r.n)
    best = most_accurate(rows)
    if best is None or not found:
        return None
    return Risk(found, f"errors of {best.model}{_chosen(rows)} on {best.n:,} images")


def noted(rows: Sequence[Row], assumptions: Sequence[str]) -> list[Row]:
    """The rows, with these assumptions beside those of every bound, which then certifies nothing."""
    def note(r: Row) -> Row:
        if r.quantity != tables.BOUND:
            return r
        text = "; ".join([t for t in (r.detail.get("assumptions"),) if t] + list(assumptions))
        return dataclasses.replace(r, certified=False, detail={**r.detail, "assumptions": text})

    return [note(r) for r in rows] if assumptions else list(rows)


def limit_rows(
    constants: dict[int, float],
    *,
    dataset: str,
    protocol: str,
    alphas: dict[float, tuple[bool, str]],
    epsilons: Sequence[float],
    radius: float,
    delta: float,
    confidence: float | None = None,
    norm: str = "l2",
    label_of: Sequence[int] = (),
) -> list[Row]:
    """Theorem 4.4: one row for each epsilon, alpha and family.

    Args:
        constants: component to sampled Lipschitz constant, in the units of the protocol.
        alphas: risk to (whether it was measured here, its source).
        label_of: the label of each component, for the per-class family; () where they are the labels.
        radius, delta: of the local Lipschitz constants.  confidence: with which they cover their quantiles.

    The theorem asks for radius * L >= epsilon, in image units.  Where that fails, error sets grow by the radius only,
    and that is what protocol "default" puts in.  The published protocol ignores it, divides epsilon in [0,1] units by
    constants in [-1,1] units, and takes the largest of them for the per-class family.
    """
    as_published = protocol == "paper"
    values = np.asarray([constants[c] for c in sorted(constants)])
    units = published.settings(dataset).scale if as_published else 1.0
    reach = radius / units  # reach * L is radius times the constant in image units
    rows = []
    for epsilon, (alpha, (measured, source)), family in itertools.product(epsilons, alphas.items(), FAMILIES):
        taken = np.full_like(values, values.max()) if as_published and family == "per_class" else values
        groups = label_of if label_of and family == "per_class" else family
        bound = bounds.evidence(
            alpha, epsilon, taken, delta=delta, family=groups, radius=reach, side="lower", confidence=confidence,
            violated="record" if as_published else "cap")
        fails = [c for c in sorted(constants) if reach * constants[c] < epsilon]
        detail = {
            "epsilon": float(epsilon), "alpha": float(alpha), "measured": measured, "source": source,
            "family": family, "protocol": protocol, "proviso": not fails, "proviso fails for": fails,
            "radius": radius, "delta": delta, "lipschitz": float(taken.max()),
            "assumptions": "; ".join(bound.assumptions),
        }
        if measured and not as_published:
            grown = bounds.intrinsic_robustness_upper_from_radius(
                ALPHAS, np.minimum(radius, epsilon / taken), delta=delta, family=groups)
            detail["curve"] = {"alpha": ALPHAS.tolist(), "value": np.asarray(grown).tolist()}
        rows.append(Row(dataset, "any", f"{norm} {epsilon:g}", tables.BOUND, bound.value, bound.side, bound.certified,
                        f"{bound.theorem}, {family}", detail=detail))
    return rows


def discoveries(rows: Sequence[Row]) -> list[str]:
    """Sentences about classifiers whose attacked accuracy surely exceeds the limit that speaks of them.

    The theorem bounds in-distribution robustness too, since its moves are latent ones.  So either the constants are
    too low, or the attack is too weak.  Accuracies whose 95 % interval reaches below the limit are no discovery; each
    sentence has that confidence by itself, however many rows were looked at.
    """
    found = []
    for r in (*tables.select(rows, tables.ROBUST), *tables.select(rows, tables.IN_DISTRIBUTION)):
        at = {"threat": r.threat, "dataset": r.dataset, "protocol": "default", "measured": True, "family": "overall"}
        for b in tables.select(rows, tables.BOUND, **at):
            covered = "@" not in r.model and r.detail["risk"] >= b.detail["alpha"] - 1e-9
            if covered and r.low is not None and r.low > b.value:
                found.append(
                    f"{r.model} at {r.threat}: {r.quantity} {100 * r.value:.1f} % (at least {100 * r.low:.1f} % with "
                    f"95 % confidence) exceeds the limit {100 * b.value:.1f} %: the sampled constants are too low, or "
                    f"the attack ({r.method}) is too weak")
    return found


def fawzi_rows(
    constant: float, *, dataset: str, protocol: str, epsilons: Sequence[float], classes: int = 10, norm: str = "l2"
) -> list[Row]:
    """Fawzi et al. (2018) for `classes` equally likely predictions: the share that no in-distribution move changes.

    constant: of the unconditional generator, sampled, in the units of the protocol; so these are estimates too.
    """
    rows = []
    for e, form in itertools.product(epsilons, FORMS if classes >= 5 else ("simplified", "exact")):
        value = float(bounds.fawzi(classes, e, constant, form))
        detail = {"epsilon": float(e), "protocol": protocol, "lipschitz": constant, "classes": classes}
        rows.append(Row(dataset, "any", f"{norm} {e:g}", tables.PREDICTIONS, value, "upper", False,
                        f"Fawzi et al., {form} form", detail=detail))
    return rows
