"""Evidence has a side: what a number bounds, whether it certifies, and laws that a report must obey.

Sampling finds Lipschitz constants from below, so a robustness bound built on them is an estimate; only an
upper bound on L certifies.  Attacks bound robust accuracy from above, certificates from below.
"""

import dataclasses
import json
from typing import Any, Literal

import numpy as np

from irob.core import definitions
from irob.core.check import InputError
from irob.core.definitions import Definition
from irob.core.types import value
from irob.math import quantiles

Side = Literal["lower", "upper", "exact", "estimate"]


LIMITS = ("intrinsic robustness", "label robustness")  # quantities whose upper ends limit classifiers


class EvidenceError(ValueError):
    """Rows of a report contradict a theorem; the message names both."""


@value("radius", "side", "method")
class LipschitzEstimate:
    """Local Lipschitz constants of n codes.

    value: f[n] in image units per latent unit.  z: f[n,d].  y: i[n].  radius in latent standard deviations.
    side: "lower" for sampled and maximised constants, "upper" for certified ones.
    """

    value: Any
    z: Any
    y: Any
    radius: float
    side: Side
    method: str

    def quantile(self, q: float, confidence: float = 0.95) -> tuple[float, float]:
        """(order statistic that covers the q-quantile, confidence achieved); see irob.math.quantiles."""
        return quantiles.quantile(np.asarray(self.value), q, confidence)


@dataclasses.dataclass(frozen=True)
class Bound:
    """A bound and what it stands on.

    inputs: the side of every number that the theorem took, as pairs (name, side); the bound certifies only
    if each is exact or lies on the side that the theorem needs ("upper" for Lipschitz constants).
    """

    value: float
    side: Side
    quantity: str
    threat: str
    theorem: str
    inputs: tuple[tuple[str, Side], ...]
    assumptions: tuple[str, ...] = ()

    @property
    def certified(self) -> bool:
        """Whether the value is a bound for certain; computed, never passed in."""
        return all(side in ("exact", "upper") for _, side in self.inputs)


@value("method")
class Certificate:
    """What a certifier proved of n examples over one threat set.

    margin: f[n], a lower bound of min over the threat of f_y - max_k!=y f_k.  certified: bool[n].  radius: f[n] in the
    threat's norm, or None.  prediction: i[n], -1 where the certifier abstains, or None.
    """

    margin: Any
    certified: Any
    radius: Any
    prediction: Any
    method: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of a report.  low and high: its confidence interval, or None.  n: how many examples.

    definition: of robustness (irob.core.definitions), "" for numbers that are none; the quantity's own if left out.
    """

    dataset: str
    model: str
    threat: str
    quantity: str
    value: float
    side: Side
    certified: bool
    method: str
    low: float | None = None
    high: float | None = None
    n: int | None = None
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)
    definition: Definition = ""

    def __post_init__(self):
        if not self.definition:
            object.__setattr__(self, "definition", definitions.of(self.quantity, self.side))


@dataclasses.dataclass(frozen=True)
class Report:
    """Rows and where they come from; `check` enforces the laws."""

    rows: tuple[Row, ...]
    provenance: dict[str, Any]

    def to_json(self) -> str:
        """{"rows": [one object per row], "provenance": {...}}; NaN is refused."""
        rows = [dataclasses.asdict(r) for r in self.rows]
        return json.dumps({"rows": rows, "provenance": self.provenance}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The inverse of `to_json`."""
        try:
            data = json.loads(text)
            return cls(tuple(Row(**r) for r in data["rows"]), data["provenance"])
        except (ValueError, KeyError, TypeError) as e:
            raise InputError(f"report: not the JSON of a report ({e})") from None

    def check(self) -> tuple[str, ...]:
        """Raises `EvidenceError` where rows contradict a theorem; returns discoveries worth a sentence.

        Laws, for rows of the same data set, model, threat and number of examples:
        every value lies within its interval and accuracies within [0, 1]; certified robust accuracy never
        exceeds attacked, but for the few examples on which a certificate that holds with some confidence may be wrong
        (detail["allowed"]), and no more examples than those are certified and fooled (detail["contradictions"]);
        robust accuracy never exceeds natural accuracy.
        Of the limits of one family of classifiers at one alpha, a certified lower end (a witness) never exceeds a
        certified upper end; nor does a certified classifier exceed a certified label limit.
        Every number of robustness names its definition, and none is held against one of another definition.

        Discoveries: attacked robust accuracy above an upper bound, its whole confidence interval included, of a
        classifier whose natural risk is at least the bound's alpha (detail["alpha"]); a certified witness above an
        upper end that is an estimate.  The first says that the constant below the bound is too low or the attack too
        weak, the second that the constant is too low.
        """
        accuracies = [r for r in self.rows if r.quantity.endswith("accuracy")]
        for r in accuracies:
            if not 0 <= r.value <= 1:
                raise EvidenceError(f"{_name(r)}: {r.value:g} is no accuracy")
        _defined(self.rows)
        for r in self.rows:
            if r.low is not None and r.high is not None and not r.low - 1e-9 <= r.value <= r.high + 1e-9:
                raise EvidenceError(f"{_name(r)}: {r.value:g} lies outside its interval [{r.low:g}, {r.high:g}]")
            if r.detail.get("contradictions", 0) > r.detail.get("allowed", 0):
                raise EvidenceError(f"{_name(r)}: {r.detail['contradictions']} certified images were fooled")
        for a in accuracies:
            for b in accuracies:
                if (a.dataset, a.model, a.n) != (b.dataset, b.model, b.n):
                    continue
                slack = a.detail.get("allowed", 0) / (a.n or 1) + 1e-9
                if a.threat == b.threat and a.side == "lower" and b.side == "upper" and a.value > b.value + slack:
                    raise EvidenceError(f"{_name(a)} certified {a.value:g} exceeds {_name(b)} attacked {b.value:g}")
                natural = b.quantity == "natural accuracy"
                if natural and a.quantity != b.quantity and a.value > b.value + 1e-9:
                    raise EvidenceError(f"{_name(a)} {a.value:g} exceeds the natural accuracy {b.value:g}")
        risks = {(r.dataset, r.model): 1 - r.value for r in accuracies if r.quantity == "natural accuracy"}
        found: dict[Any, str] = {}
        for b in self.rows:
            if b.quantity not in LIMITS or b.side != "upper":
                continue
            for a in accuracies:
                same = (a.dataset, a.threat, a.quantity) == (b.dataset, b.threat, "robust accuracy")
                if same:
                    comparable(a, b)
                lowest = a.value if a.low is None else a.low
                # A limit of labels has no alpha: it speaks of every classifier.
                member = risks.get((a.dataset, a.model), 1.0) >= b.detail.get("alpha", 0.0)
                if same and member and lowest > b.value:
                    found[_name(a)] = (
                        f"{_name(a)}: attacked {a.value:.4f} (at least {lowest:.4f}) exceeds the bound {b.value:.4f} "
                        f"of {b.method}: " +
                        ("the attack is too weak" if b.certified else "the constant is too low or the attack too weak")
                    )
        for low, high in _brackets(self.rows):
            comparable(low, high)
            if low.certified and low.value > high.value + 1e-9:
                text = f"{_name(low)}: certified {low.value:.4f} exceeds {_name(high)}: {high.value:.4f}"
                if high.certified:
                    raise EvidenceError(text)
                found[_name(low), _name(high)] = text + "; the constant is too low"
        return tuple(found.values())


def comparable(a: Row, b: Row) -> None:
    """Raises `EvidenceError` where two rows have different definitions of robustness."""
    if not definitions.agree(a.definition, b.definition):
        raise EvidenceError(f"{_name(a)} is {a.definition or 'no'} robustness, {_name(b)} is {b.definition or 'no'} "
                            "robustness: numbers of different definitions are not compared")


def _defined(rows: tuple[Row, ...]) -> None:
    """Raises `EvidenceError` where a row has no definition, another than its quantity's, or compares across two."""
    for r in rows:
        wanted = definitions.of(r.quantity, r.side)
        fits = r.definition == wanted if wanted or not r.definition else r.definition in definitions.NAMES
        if not fits or (r.quantity in definitions.NAMED_BY_ROW and not r.definition):
            raise EvidenceError(f"{_name(r)}: got definition {r.definition!r}, wanted "
                                f"{repr(wanted) if wanted else 'one of ' + ', '.join(definitions.NAMES)}")
        ends = [r.detail[k] for k in ("lower definition", "upper definition") if k in r.detail]
        if len(ends) == 2 and not definitions.agree(*ends):
            raise EvidenceError(f"{_name(r)}: a difference between {ends[0]} and {ends[1]} robustness means nothing")


def _brackets(rows: tuple[Row, ...]):
    """Lower and upper ends of the same limit: quantity, data set, threat, alpha and family."""
    limits = [r for r in rows if r.quantity in LIMITS and r.detail.get("protocol") != "paper"]
    for low in (r for r in limits if r.side == "lower"):
        for high in (r for r in limits if r.side == "upper"):
            same = (low.quantity, low.dataset, low.threat) == (high.quantity, high.dataset, high.threat)
            if same and all(low.detail.get(k) == high.detail.get(k) for k in ("alpha", "family")):
                yield low, high


def _name(r: Row) -> str:
    return f"{r.dataset} / {r.model} / {r.threat} / {r.quantity} ({r.method})"
