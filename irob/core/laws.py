"""What the rows of a report may not contradict, and the contradictions that are discoveries.

Each law takes rows and raises `EvidenceError`, which names both; `check` holds them all.
"""

from collections.abc import Iterator, Sequence

from irob.core import definitions
from irob.core.rows import CertifiedAccuracy, Quantity, Row, select

LIMITS = (Quantity.BOUND, Quantity.LABEL)  # quantities whose upper ends limit classifiers
NOISE = 1e-9  # of sums of floats


class EvidenceError(ValueError):
    """Rows of a report contradict a theorem; the message names both."""


def check(rows: Sequence[Row]) -> tuple[str, ...]:
    """Raises `EvidenceError` where rows contradict a law; returns discoveries worth a sentence."""
    for law in (accuracies_are_shares, definitions_are_named, values_lie_in_their_intervals, proofs_are_not_fooled,
                certified_is_below_attacked, robust_is_below_natural, inside_is_above_outside):
        law(rows)
    return (*attacked_above_limits(rows), *witnesses_above_limits(rows))


def accuracies_are_shares(rows: Sequence[Row]) -> None:
    """Accuracies lie in [0, 1]."""
    for r in _accuracies(rows):
        if not 0 <= r.value <= 1:
            raise EvidenceError(f"{_name(r)}: {r.value:g} is no accuracy")


def definitions_are_named(rows: Sequence[Row]) -> None:
    """Every number of robustness names its own definition, and no difference is taken across two."""
    for r in rows:
        wanted = r.detail.own_definition
        if r.definition not in (definitions.NAMES if wanted is None else (wanted,)):
            raise EvidenceError(f"{_name(r)}: got definition {r.definition!r}, wanted "
                                f"{'one of ' + ', '.join(definitions.NAMES) if wanted is None else repr(wanted)}")
    for r in select(rows, Quantity.WIDTH):
        ends = r.detail.lower_definition, r.detail.upper_definition
        if not definitions.agree(*ends):
            raise EvidenceError(f"{_name(r)}: a difference between {ends[0]} and {ends[1]} robustness means nothing")


def values_lie_in_their_intervals(rows: Sequence[Row]) -> None:
    """A value lies between the ends of its interval."""
    for r in rows:
        if r.low is not None and r.high is not None and not r.low - NOISE <= r.value <= r.high + NOISE:
            raise EvidenceError(f"{_name(r)}: {r.value:g} lies outside its interval [{r.low:g}, {r.high:g}]")


def proofs_are_not_fooled(rows: Sequence[Row]) -> None:
    """No more images are certified and fooled than chance allows a certificate that holds with a confidence."""
    for r in select(rows, Quantity.CERTIFIED):
        if r.detail.contradictions > r.detail.allowed:
            raise EvidenceError(f"{_name(r)}: {r.detail.contradictions} certified images were fooled")


def certified_is_below_attacked(rows: Sequence[Row]) -> None:
    """On the same examples certified accuracy is at most attacked accuracy, but for what chance allows."""
    for a, b in _of_the_same_images(rows):
        allowed = a.detail.allowed if isinstance(a.detail, CertifiedAccuracy) else 0
        above = a.value > b.value + allowed / (a.n or 1) + NOISE
        if a.threat == b.threat and a.side == "lower" and b.side == "upper" and above:
            raise EvidenceError(f"{_name(a)} certified {a.value:g} exceeds {_name(b)} attacked {b.value:g}")


def robust_is_below_natural(rows: Sequence[Row]) -> None:
    """On the same examples robust accuracy is at most natural accuracy."""
    for a, b in _of_the_same_images(rows):
        if b.quantity == Quantity.NATURAL != a.quantity and a.value > b.value + NOISE:
            raise EvidenceError(f"{_name(a)} {a.value:g} exceeds the natural accuracy {b.value:g}")


def inside_is_above_outside(rows: Sequence[Row]) -> None:
    """Remark 4.6: in-distribution accuracy is at least what the same attacks leave that may use any image."""
    for a, b in _of_the_same_images(rows):
        kinds = (a.quantity, b.quantity) == (Quantity.IN_DISTRIBUTION, Quantity.ROBUST) and a.threat == b.threat
        among = set(a.method.split(" + ")) <= set(b.method.split(" + "))
        if kinds and among and a.value < b.value - NOISE:
            raise EvidenceError(f"{a.model} at {a.threat}: in-distribution {a.value:g} is below unconstrained "
                                f"{b.value:g} on the same {a.n} images")


def comparable(a: Row, b: Row) -> None:
    """Raises `EvidenceError` where two rows have different definitions of robustness."""
    if not definitions.agree(a.definition, b.definition):
        raise EvidenceError(f"{_name(a)} is {a.definition or 'no'} robustness, {_name(b)} is {b.definition or 'no'} "
                            "robustness: numbers of different definitions are not compared")


def attacked_above_limits(rows: Sequence[Row]) -> list[str]:
    """Attacked accuracy above an upper end, its whole interval included, of a classifier that errs as the end asks for.

    Then the constant below the end is too low, or the attack too weak.
    """
    risks = {(r.dataset, r.model): 1 - r.value for r in select(rows, Quantity.NATURAL)}
    found = {}
    for b in (r for r in rows if r.quantity in LIMITS and r.side == "upper"):
        for a in select(rows, Quantity.ROBUST, dataset=b.dataset, threat=b.threat):
            comparable(a, b)
            lowest = a.value if a.low is None else a.low
            # A limit of labels has no alpha: it speaks of every classifier.
            if risks.get((a.dataset, a.model), 1.0) >= (b.detail.alpha or 0.0) and lowest > b.value:
                found[_name(a)] = (
                    f"{_name(a)}: attacked {a.value:.4f} (at least {lowest:.4f}) exceeds the bound {b.value:.4f} "
                    f"of {b.method}: " +
                    ("the attack is too weak" if b.certified else "the constant is too low or the attack too weak"))
    return list(found.values())


def witnesses_above_limits(rows: Sequence[Row]) -> list[str]:
    """Certified lower ends above upper ends that are estimates: the constant is too low.

    Raises:
        EvidenceError: both ends are certified.
    """
    found = {}
    for low, high in _brackets(rows):
        comparable(low, high)
        if low.certified and low.value > high.value + NOISE:
            text = f"{_name(low)}: certified {low.value:.4f} exceeds {_name(high)}: {high.value:.4f}"
            if high.certified:
                raise EvidenceError(text)
            found[_name(low), _name(high)] = text + "; the constant is too low"
    return list(found.values())


def classifiers_above_measured_limits(rows: Sequence[Row]) -> list[str]:
    """Classifiers whose attacked accuracy surely exceeds the limit at the risk that was measured here.

    The theorem bounds in-distribution robustness too, since its moves are latent ones.  Accuracies whose 95 % interval
    reaches below the limit are no discovery; each sentence has that confidence by itself, however many rows there are.
    """
    found = []
    for r in (*select(rows, Quantity.ROBUST), *select(rows, Quantity.IN_DISTRIBUTION)):
        at = {"threat": r.threat, "dataset": r.dataset, "protocol": "default", "measured": True, "family": "overall"}
        for b in select(rows, Quantity.BOUND, **at):
            covered = "@" not in r.model and (r.detail.risk or 0.0) >= b.detail.alpha - NOISE
            if covered and r.low is not None and r.low > b.value:
                found.append(
                    f"{r.model} at {r.threat}: {r.quantity} {100 * r.value:.1f} % (at least {100 * r.low:.1f} % with "
                    f"95 % confidence) exceeds the limit {100 * b.value:.1f} %: the sampled constants are too low, or "
                    f"the attack ({r.method}) is too weak")
    return found


def missed_by_attacks(rows: Sequence[Row]) -> list[str]:
    """One sentence about images on which the unconstrained attack missed what the in-distribution one found."""
    missed = [f"{r.model} at {r.threat}: {r.detail.missed} of {r.n}" for r in select(rows, Quantity.ROBUST)
              if r.detail.missed]
    if not missed:
        return []
    return ["the unconstrained attack is too weak on some images: the in-distribution attack, which may use fewer, "
            f"fooled the classifier where it failed ({'; '.join(missed)}); the unconstrained accuracy counts both"]


def _accuracies(rows: Sequence[Row]) -> list[Row]:
    return [r for r in rows if r.quantity.endswith("accuracy")]


def _of_the_same_images(rows: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Pairs of accuracies of a classifier on as many images of a data set."""
    for a in _accuracies(rows):
        for b in _accuracies(rows):
            if (a.dataset, a.model, a.n) == (b.dataset, b.model, b.n):
                yield a, b


def _brackets(rows: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Lower and upper ends of the same limit: quantity, data set, threat, alpha and family."""
    limits = [r for r in rows if r.quantity in LIMITS and r.detail.protocol != "paper"]

    def limit(r: Row) -> tuple:
        return r.quantity, r.dataset, r.threat, r.detail.alpha, r.detail.family

    for low in (r for r in limits if r.side == "lower"):
        for high in (r for r in limits if r.side == "upper"):
            if limit(low) == limit(high):
                yield low, high


def _name(r: Row) -> str:
    return f"{r.dataset} / {r.model} / {r.threat or 'none'} / {r.quantity} ({r.method})"
