"""What a person may say after reading the rows: the headline numbers, the claims and the estimates, in plain words."""

import dataclasses
from collections.abc import Sequence

from irob.core.evidence import Row
from irob.report import limits, published, tables


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
    """One epsilon: the limit, the best classifier, and what lies between (all in [0, 1])."""

    epsilon: float
    bound: float
    best: float
    name: str
    inside: float | None


def headline(rows: Sequence[Row]) -> Row | None:
    """The bound to show first: at the measured alpha, in consistent units, for risk overall, at the largest epsilon."""
    found = tables.select(rows, tables.BOUND, measured=True, protocol="default", family="overall")
    return max(found, key=lambda r: r.detail["epsilon"], default=None)


def best(rows: Sequence[Row], quantity: str, epsilon: float) -> Row | None:
    """The classifier (not a checkpoint) with the highest accuracy of that kind, of those that the limit speaks of."""
    limit = headline(rows)
    alpha = limit.detail["alpha"] if limit else 0.0
    natural = {m: tables.largest(rows, tables.NATURAL, model=m) for m in tables.models(rows)}
    covered = [m for m, r in natural.items() if r and 1 - r.value >= alpha - 1e-9]
    found = [tables.largest(rows, quantity, model=m, epsilon=epsilon) for m in covered]
    return max((r for r in found if r), key=lambda r: r.value, default=None)


def gaps(rows: Sequence[Row]) -> list[Gap]:
    """Limit against best classifier, for each epsilon."""
    out = []
    for e in tables.epsilons(rows):
        bound = next(iter(tables.select(
            rows, tables.BOUND, measured=True, protocol="default", family="overall", epsilon=e)), None)
        top, inside = best(rows, tables.ROBUST, e), best(rows, tables.IN_DISTRIBUTION, e)
        if bound and top:
            out.append(Gap(e, bound.value, top.value, top.model, inside.value if inside else None))
    return out


def cards(rows: Sequence[Row]) -> list[Card]:
    """Up to four headline numbers."""
    out = [c for c in [_bracket(rows)] if c]
    bound = headline(rows)
    if bound:
        e = bound.detail["epsilon"]
        out.append(Card(
            f"limit of any classifier at ε = {e:g}", f"{100 * bound.value:.1f} %",
            "certified" if bound.certified else "estimate",
            f"for a natural risk of at least α = {100 * bound.detail['alpha']:.3g} %", bound.value))
        top = best(rows, tables.ROBUST, e)
        if top:
            out.append(Card(
                f"best classifier at ε = {e:g}", f"{100 * top.value:.1f} %", "attack",
                f"{published.short(top.model)}: any image within ε; {_at_most(top)}", top.value))
        inside = best(rows, tables.IN_DISTRIBUTION, e)
        if inside:
            out.append(Card(
                f"best in-distribution at ε = {e:g}", f"{100 * inside.value:.1f} %", "attack",
                f"{published.short(inside.model)}: images that the generator draws; {_at_most(inside)}", inside.value))
    constants = tables.select(rows, tables.LIPSCHITZ, protocol="default")
    top = max((r for r in constants if r.detail["class"] is not None), key=lambda r: r.value, default=None)
    if top and len(out) < 4:
        out.append(Card("generator's constant L", f"≥ {top.value:.1f}", "sampled",
                        f"{top.model}, class {top.detail['class']}, image units per latent unit"))
    return out


def _bracket(rows: Sequence[Row]) -> Card | None:
    """The limit at the largest epsilon from both sides, of the first distribution that has both."""
    for d in limits.datasets(rows):
        for alpha in limits.alphas(rows, d)[:1]:
            e = max(r.detail["epsilon"] for r in limits.rows_of(rows) if r.dataset == d)
            low, high = (limits.best(found) for found in limits.ends(rows, d, alpha, "overall", e))
            if low and high:
                level = limits.both((low, high)) if low.certified and high.certified else ""
                return Card(
                    f"best possible at ε = {e:g}", f"{100 * low.value:.1f} to {100 * high.value:.1f} %",
                    " to ".join("certified" if r.certified else "estimate" for r in (low, high)),
                    f"the limit from both sides, for a natural risk of α = {100 * alpha:.3g} %"
                    + (f"; {level}" if level else ""), high.value)
    return None


def _at_most(row: Row) -> str:
    """What an attacked accuracy proves."""
    top = "" if row.high is None else f", in truth at most {100 * row.high:.1f} % (95 %)"
    return f"{row.n:,} tried{top}"


def lede(rows: Sequence[Row]) -> str:
    """Two or three sentences that say what was found."""
    found = gaps(rows)
    if not found:
        if limits.datasets(rows):
            return "How robust a classifier of a given risk can be at best, from both sides."
        return "This run measured no bound and no classifier together; the tables below show what it did measure."
    last = found[-1]
    text = (
        f"If the generator's constants are what sampling suggests, then no classifier with the natural risk of the "
        f"best robust one here can keep more than {100 * last.bound:.1f} % of its answers right when an image may "
        f"move by ε = {last.epsilon:g}. The best classifier measured, {published.short(last.name)}, is left with "
        f"{100 * last.best:.1f} % under attack. "
    )
    gap = 100 * (last.bound - last.best)
    if gap > 0:
        text += (f"The limit does not explain this gap of {gap:.0f} points: "
                 "better training or a sharper limit is missing.")
    else:
        text += "A classifier above the limit says that the constant is too low or the attack too weak."
    return text


def claims(rows: Sequence[Row]) -> list[str]:
    """What may be claimed about images of this data set, each claim by itself with 95 % confidence."""
    out = []
    for name in tables.models(rows):
        natural = tables.largest(rows, tables.NATURAL, model=name)
        if natural and natural.low is not None and natural.high is not None:
            out.append(f"{published.short(name)} is right on {100 * natural.low:.1f} to {100 * natural.high:.1f} % of "
                       f"clean images (measured {100 * natural.value:.1f} % of {natural.n:,}).")
    found = [(name, tables.largest(rows, tables.ROBUST, model=name, epsilon=e))
             for name in tables.models(rows) for e in tables.epsilons(rows)[-1:]]
    for name, row in found:
        if row and row.high is not None:
            out.append(f"The robust accuracy of {published.short(name)} at ε = {row.detail['epsilon']:g} is at most "
                       f"{100 * row.high:.1f} %: the attack left {100 * row.value:.1f} % of {row.n:,} images standing.")
    return out


def estimates(rows: Sequence[Row]) -> list[str]:
    """What is only an estimate, and which way it errs."""
    out = []
    if tables.select(rows, tables.BOUND):
        out.append("Every bound that is not marked certified. It stands on Lipschitz constants or escape radii found "
                   "by sampling or search, which may miss the steepest directions: true constants are at least as "
                   "large, so the true limit lies as high as printed or higher.")
    if tables.select(rows, tables.IN_DISTRIBUTION):
        out.append("In-distribution robustness. Its attack searches the generator's codes and may miss: "
                   "true values are lower or equal. It can still not be above the true limit.")
    if tables.select(rows, tables.ROBUST):
        out.append("How close attacked accuracies come to the truth. A stronger attack can only lower them.")
    published = tables.select(rows, tables.BOUND, protocol="paper", proviso=False)
    failing = sorted({r.detail["epsilon"] for r in published})
    if failing:
        radii = ", ".join(f"{e:g}" for e in failing)
        out.append(f"The published protocol's bounds at ε = {radii}, even as consequences of its own constants: the "
                   "theorem asks for r·L ≥ ε in the units of the images, which fails for some class.")
    return out
