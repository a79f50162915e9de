"""The report in plain words: headline numbers, what may be claimed, and what is only an estimate."""

import dataclasses
from collections.abc import Sequence

from irob.core import published
from irob.core.laws import comparable
from irob.core.rows import Quantity, Row, largest, models, select
from irob.report import label, limits, rounding, tables


@dataclasses.dataclass(frozen=True)
class Card:
    """A number to look at first: what it is, its value, what stands behind it."""

    label: str
    value: str
    chip: str
    text: str
    share: float | None = None


@dataclasses.dataclass(frozen=True)
class Gap:
    """One epsilon: the proved limit, the trained classifier that attacks leave most of, and what is certified.

    All in [0, 1] and all label robustness.  inside: what the attack in distribution leaves; certified: what the best
    certified classifier keeps; source: of the limit.
    """

    epsilon: float
    limit: float
    attacked: float
    name: str
    inside: float | None
    certified: float | None
    source: str


def best(rows: Sequence[Row], quantity: Quantity, epsilon: float) -> Row | None:
    """The classifier (not a checkpoint) with the highest accuracy of that kind."""
    found = [largest(rows, quantity, model=m, epsilon=epsilon) for m in models(rows)]
    return max((r for r in found if r), key=lambda r: r.value, default=None)


def gaps(rows: Sequence[Row]) -> list[Gap]:
    """Proved limit against best trained classifier, for each epsilon; estimates play no part."""
    out = []
    for d in label.datasets(rows)[:1]:
        for e in label.radii(rows, d):
            high, low = label.smallest(rows, d, e), label.kept(rows, d, e)
            top, inside = best(rows, Quantity.ROBUST, e), best(rows, Quantity.IN_DISTRIBUTION, e)
            if high and top:
                comparable(top, high)
                out.append(Gap(e, high.value, top.value, top.model, inside.value if inside else None,
                               low.value if low else None, high.method))
    return out


def cards(rows: Sequence[Row]) -> list[Card]:
    """Up to four headline numbers, label robustness first."""
    out = [c for c in [_labels(rows)] if c]
    radii = [e for d in label.datasets(rows)[:1] for e in label.radii(rows, d)] or tables.epsilons(rows)
    for e in radii[-1:]:
        top, inside = best(rows, Quantity.ROBUST, e), best(rows, Quantity.IN_DISTRIBUTION, e)
        if top:
            out.append(Card(
                f"best trained classifier under attack at ε = {e:g}", f"≤ {rounding.percent(top.value, top.side)} %",
                "attack", f"{published.short(top.model)}: labels kept, any image within ε; {_at_most(top)}", top.value))
        if inside:
            out.append(Card(
                f"best in-distribution at ε = {e:g}", f"≤ {rounding.percent(inside.value, inside.side)} %", "attack",
                f"{published.short(inside.model)}: images that the generator draws; {_at_most(inside)}", inside.value))
    out += [c for c in [_bracket(rows)] if c]
    constants = select(rows, Quantity.LIPSCHITZ, protocol="default")
    top = max((r for r in constants if r.detail.class_index is not None), key=lambda r: r.value, default=None)
    if top and len(out) < 4:
        out.append(Card("generator's constant L", f"≥ {rounding.outward(top.value, 'lower', 1)}", "sampled",
                        f"{top.model}, class {top.detail.class_index}, image units per latent unit"))
    return out


def _labels(rows: Sequence[Row]) -> Card | None:
    """The bracket for label robustness at the largest epsilon."""
    for d in label.datasets(rows)[:1]:
        e = label.radii(rows, d)[-1]
        low, high = label.kept(rows, d, e), label.smallest(rows, d, e)
        if high:
            least = rounding.percent(low.value, "lower") if low else "0"
            return Card(
                f"labels that the best classifier keeps at ε = {e:g}",
                f"{least} to {rounding.percent(high.value, 'upper')} %", "certified",
                "label robustness: " + (f"{low.model} proves the lower end, " if low else "")
                + f"the upper end is the {high.method}{limits.confidently(high)}" + _earlier(high), high.value)
    return None


def _bracket(rows: Sequence[Row]) -> Card | None:
    """The error-region limit at the largest epsilon from both sides, of the first distribution that has both."""
    for d in limits.datasets(rows):
        for alpha in limits.alphas(rows, d)[:1]:
            e = max(r.epsilon for r in limits.rows_of(rows) if r.dataset == d)
            low, high = (limits.best(found) for found in limits.ends(rows, d, alpha, "overall", e))
            if low and high:
                ends = rounding.percent(low.value, low.side), rounding.percent(high.value, high.side)
                level = limits.both((low, high)) if low.certified and high.certified else ""
                return Card(
                    f"error-region limit at ε = {e:g}", f"{ends[0]} to {ends[1]} %",
                    " to ".join("certified" if r.certified else "estimate" for r in (low, high)),
                    "another quantity: the answer is compared with the truth at the moved image; for a natural risk of "
                    f"α = {100 * alpha:.3g} %" + (f"; {level}" if level else "") + _earlier(high), high.value)
    return None


def _earlier(row: Row) -> str:
    """What a card says of a number that this run did not measure."""
    return f"; {tables.EARLIER} not measured in this run" if row.origin else ""


def _at_most(row: Row) -> str:
    """What an attacked accuracy proves."""
    top = "" if row.high is None else f", in truth at most {rounding.percent(row.high, 'upper')} % (95 %)"
    return f"{row.n:,} tried{top}" + _earlier(row)


def lede(rows: Sequence[Row]) -> str:
    """Two or three sentences that say what was found, about label robustness first."""
    said = [label.words(rows, d) for d in label.datasets(rows)[:1]]
    found = gaps(rows)
    if found:
        last = found[-1]
        said.append(f"The best trained classifier, {published.short(last.name)}, is left with at most "
                    f"{rounding.percent(last.attacked, 'upper')} % under attack at ε = {last.epsilon:g}.")
        gap = 100 * (last.limit - last.attacked)
        if gap > 0:
            said.append(f"The limit does not explain the {gap:.0f} points between: better training or a sharper limit "
                        "is missing.")
        else:
            said.append("It lies above the limit: the attack is too weak.")
    if said:
        if any(r.origin for r in rows):
            said.append(f"Numbers marked {tables.EARLIER} below come with irob; this run did not measure them.")
        return " ".join(said)
    if limits.datasets(rows):
        return "How robust a classifier of a given risk can be at best, in the error-region sense, from both sides."
    return "This run measured no limit and no classifier together; the tables below show what it did measure."


def claims(rows: Sequence[Row]) -> list[str]:
    """What may be claimed about images of this data set, each claim by itself with 95 % confidence."""
    out = []
    for name in models(rows):
        natural = largest(rows, Quantity.NATURAL, model=name)
        if natural and natural.low is not None and natural.high is not None:
            out.append(f"{published.short(name)} is right on {rounding.percent(natural.low, 'lower')} to "
                       f"{rounding.percent(natural.high, 'upper')} % of clean images (measured "
                       f"{rounding.percent(natural.value, natural.side)} % of {natural.n:,}).")
    found = [(name, largest(rows, Quantity.ROBUST, model=name, epsilon=e))
             for name in models(rows) for e in tables.epsilons(rows)[-1:]]
    for name, row in found:
        if row and row.high is not None:
            out.append(f"The robust accuracy of {published.short(name)} at ε = {row.epsilon:g} is at most "
                       f"{rounding.percent(row.high, 'upper')} %: the attack left "
                       f"{rounding.percent(row.value, row.side)} % of {row.n:,} images standing.")
    return out


def estimates(rows: Sequence[Row]) -> list[str]:
    """What is only an estimate, and which way it errs."""
    out = []
    if select(rows, Quantity.BOUND):
        out.append("Every bound by Theorem 4.4 that is not marked certified. It stands on Lipschitz constants or "
                   "escape radii found by sampling or search, which may miss the steepest directions: true constants "
                   "are at least as large, so the true limit lies as high as printed or higher.")
    if select(rows, Quantity.IN_DISTRIBUTION):
        out.append("In-distribution robustness. Its attack searches the generator's codes and may miss: "
                   "true values are lower or equal. It can still not be above the true limit.")
    if select(rows, Quantity.ROBUST):
        out.append("How close attacked accuracies come to the truth. A stronger attack can only lower them.")
    published = select(rows, Quantity.BOUND, protocol="paper", proviso=False)
    failing = sorted({r.epsilon for r in published})
    if failing:
        radii = ", ".join(f"{e:g}" for e in failing)
        out.append(f"The published protocol's bounds at ε = {radii}, even as consequences of its own constants: the "
                   "theorem asks for r·L ≥ ε in the units of the images, which fails for some class.")
    return out
