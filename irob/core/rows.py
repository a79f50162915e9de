"""Rows of a report: one number each, what it is of, and what it stands on.

A row has what every reader needs; its `detail` has what numbers of its kind have beyond that.  Each kind is a class
that knows its quantity and makes its rows:

>>> from irob.core.threat import LpBall
>>> row = Robust(trials=1).row("mnist", "net", LpBall("l2", 1.0).record(), Number(0.5, 0.4, 0.6, 100), "pgd")
>>> row.quantity.value, str(row.threat), row.epsilon, row.side, row.certified, row.definition
('robust accuracy', 'l2 1', 1.0, 'upper', False, 'label')
>>> Row.from_json(row.to_json()) == row
True

Whether a number is certified follows from its detail and is never passed in.
"""

import dataclasses
import enum
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from irob.core.check import InputError
from irob.core.definitions import Definition
from irob.core.threat import ThreatRecord

Side = Literal["lower", "upper", "exact", "estimate"]
Inputs = tuple[tuple[str, Side], ...]
Curve = Mapping[str, tuple[float, ...]]  # columns of equal length
ANY = "any"  # the model where a number speaks of every classifier
RUNGS = {  # ways to the limit of Theorem 4.4, by `UpperEnd.rung`
    "paper": "published protocol",
    "sampled": "sampled constants",
    "maximised": "maximised constants",
    "escape": "escape radii",
    "supported": "escape radii, with confidence",
    "certified": "certified escape radii",
    "global": "certified constant of the whole space",
}


class Quantity(enum.StrEnum):
    """What a row measures; the values stand in files."""

    NATURAL = "natural accuracy"
    ROBUST = "robust accuracy"
    IN_DISTRIBUTION = "in-distribution robust accuracy"
    CERTIFIED = "certified robust accuracy"
    INTENDED = "intended-label share"
    LIPSCHITZ = "local Lipschitz constant"
    CONSTANT = "local Lipschitz constant at common codes"
    RATIO = "certified over maximised constant"
    BOUND = "intrinsic robustness"
    WIDTH = "bracket width"
    LABEL = "label robustness"
    EARLIER = "robustness by an earlier bound"
    PREDICTIONS = "in-distribution stability of predictions"


def certain(inputs: Inputs) -> bool:
    """Whether every number that a theorem took is exact or on the side that it needs; without any, nothing is.

    >>> certain((("lipschitz", "upper"),)), certain((("lipschitz", "lower"),)), certain(())
    (True, False, False)
    """
    return bool(inputs) and all(side in ("exact", "upper") for _, side in inputs)


@dataclass(frozen=True)
class Number:
    """A value, the ends of its confidence interval, and the examples that it is of; None where there are none."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@typing.dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class Detail:
    """What stands behind a number: here what several kinds have, in subclasses what one has.

    quantity, sides: of the rows of this kind, the usual side first.  proof: the number is a bound by itself.
    own_definition: of robustness; "" for numbers that are none, None where each row names its own.
    """

    quantity: ClassVar[Quantity]
    sides: ClassVar[tuple[Side, ...]] = ()
    proof: ClassVar[bool] = False
    own_definition: ClassVar[Definition | None] = ""

    inputs: Inputs = ()  # the side of every number that a theorem took, by name
    alpha: float | None = None  # least natural risk of the classifiers that are spoken of
    family: str = ""  # where the risk is: "overall" or "per_class"
    protocol: str = ""  # "default", or "paper"
    confidence: float | None = None  # of the number by itself
    joint_confidence: float | None = None  # of all numbers that were given with it
    assumptions: str = ""
    std: float | None = None  # of the number over trials
    curve: Curve | None = None  # the number over epsilon or alpha

    def __init_subclass__(cls, quantity: Quantity | None = None, sides: tuple[Side, ...] = (), proof: bool = False,
                          definition: Definition | None = ""):
        if quantity:
            cls.quantity, cls.proof = quantity, proof
        cls.sides, cls.own_definition = sides or cls.sides, cls.own_definition if definition == "" else definition
        dataclass(frozen=True)(cls)

    def row(self, dataset: str, model: str, threat: ThreatRecord | None, number: Number, method: str, *,
            side: Side | None = None, definition: Definition = "") -> "Row":
        """The row of a number of this kind.  side: by default the usual one.  definition: by default the kind's."""
        return Row(dataset, model, threat, self.quantity, number.value, side or self.sides[0], method, number.low,
                   number.high, number.n, self, definition or self.own_definition or "")


class Accuracy(Detail):
    """Share of images that a classifier gets right."""

    trials: int | None = None  # on images of their own
    sigma: float | None = None  # noise of a smoothed classifier


class Natural(Accuracy, quantity=Quantity.NATURAL, sides=("exact",)):
    """Accuracy on clean images."""

    abstained: int | None = None  # images that a smoothed classifier gives no answer to


class Robust(Accuracy, quantity=Quantity.ROBUST, sides=("upper",), definition="label"):
    """Accuracy that attacks left: the true one is at most as large."""

    risk: float | None = None  # natural, of the same classifier
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the attack
    broken_by: Mapping[str, int] | None = None  # images that each member of an ensemble broke first
    band: tuple[float, ...] = ()  # that holds for all epsilons of a curve at once
    missed: int | None = None  # images that the attack in distribution alone broke
    copies: int | None = None  # noisy copies in the surrogate of a smoothed classifier


class InDistribution(Robust, quantity=Quantity.IN_DISTRIBUTION):
    """Accuracy that attacks left whose images a generator draws."""


class CertifiedAccuracy(Detail, quantity=Quantity.CERTIFIED, sides=("lower",), proof=True, definition="label"):
    """Share of images that a certifier proves: the true accuracy is at least as large."""

    certifier: str = ""
    contradictions: int = 0  # images that are certified and were fooled
    allowed: int = 0  # so many by chance
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the certifier
    sigma: float | None = None  # noise of smoothing
    largest: float | None = None  # radius that smoothing can certify


class IntendedShare(Detail, quantity=Quantity.INTENDED, sides=("exact",)):
    """Share of generated images that a judge gives the label that they were drawn for."""


class Constant(Detail, quantity=Quantity.LIPSCHITZ, sides=("lower", "upper")):
    """Quantile of local Lipschitz constants, the mean over trials.  confidence: that one trial covers it."""

    class_index: int | None = None  # None for all of the generator
    directions: str = ""  # of neighbours, or how they were found
    units: str = ""  # of images
    radius: float = 0.0  # about a code
    delta: float = 0.0  # share of codes above the quantile
    codes: int = 0  # of each class, in each trial
    neighbours: int = 0  # of each code
    trials: int = 1
    each: tuple[float, ...] = ()  # trial by trial
    quantile: str = ""  # how it was taken
    wanted_confidence: float = 0.0
    supported_delta: float = 1.0  # by the codes of one trial
    pooled: float = 0.0  # quantile of all trials' codes together, with its confidence and the delta that they support
    pooled_confidence: float = 0.0
    pooled_supported_delta: float = 1.0
    median: float = 0.0


class CommonConstant(Detail, quantity=Quantity.CONSTANT, sides=("lower", "upper")):
    """Largest constant of a class at codes that all methods share."""

    class_index: int = 0
    radius: float = 0.0  # about a code
    median: float = 0.0  # over codes


class Ratio(Detail, quantity=Quantity.RATIO, sides=("upper",), proof=True):
    """Certified over maximised constants, median over codes; low and high: the least and the largest."""

    radius: float = 0.0
    maximised: float = 0.0  # median
    certified: float = 0.0  # median


class UpperEnd(Detail, quantity=Quantity.BOUND, sides=("upper",), definition="both"):
    """Upper end of intrinsic robustness, by Theorem 4.4."""

    measured: bool = False  # whether alpha was
    source: str = ""  # of alpha
    rung: str = ""  # see `RUNGS`; "" in the table of classifiers
    lipschitz: float | None = None  # largest constant
    radius: float | None = None  # within which constants hold
    delta: float | None = None  # share of codes that may lie beyond
    proviso: bool | None = None  # whether radius * lipschitz >= epsilon
    fails_for: tuple[int, ...] = ()  # classes
    growth: tuple[float, ...] = ()  # of error sets, by class, in latent standard deviations
    order: int | None = None  # of the statistic that the growth is
    codes: int | None = None  # that measured delta
    pilot: int | None = None  # codes that chose the order
    vacuous: str = ""  # why it says no more than 1 - alpha


class LowerEnd(Detail, quantity=Quantity.BOUND, sides=("lower",), definition="error region"):
    """Lower end of intrinsic robustness: a witness, which errs on one region and nowhere else."""

    witness: str = ""  # kind
    region: str = ""  # which one of the kind
    best: bool = False  # whether the first sample chose this kind
    calibration: int | None = None  # images that set its threshold
    risk: Number | None = None  # measure of the region
    adversarial_risk: Number | None = None  # measure of what lies within epsilon of it
    class_risks: tuple[Number, ...] = ()


class Width(Detail, quantity=Quantity.WIDTH, sides=("estimate", "upper"), definition="error region"):
    """An upper end less a lower one; inputs: of both."""

    lower: float = 0.0
    lower_definition: Definition = ""
    witness: str = ""
    region: str = ""
    upper: float = 1.0
    upper_definition: Definition = ""
    upper_method: str = ""


class LabelLimit(Detail, quantity=Quantity.LABEL, sides=("upper",), proof=True, definition="label"):
    """Share of labels that no classifier exceeds, since images conflict."""

    sample_limit: float = 1.0  # of the very images
    matching: float = 0.0  # size of the largest fractional one
    complete: bool = True  # whether all conflicts were kept
    conflicts: int = 0
    seed: int | None = None  # of the images
    split: str = ""  # of the data set
    judge: str = ""  # that confirmed the images, of so many drawn
    drawn: int | None = None
    coupling: str = ""  # by which classes share codes, in groups of these sizes
    groups: tuple[int, ...] = (1,)


class KeptLabels(Detail, quantity=Quantity.LABEL, sides=("lower",), proof=True, definition="label"):
    """Share of labels that a certified classifier keeps for certain."""

    certifier: str = ""
    kept: int = 0  # images
    joint: str = ""  # what holds at once with the confidence
    choice: int = 0  # images that chose the classifier among the candidates
    candidates: tuple[str, ...] = ()


class EarlierBound(Detail, quantity=Quantity.EARLIER, sides=("upper", "lower", "exact"), definition=None):
    """A bound from the literature on the same images, or ours beside it."""

    bounds: str = ""  # what it is a share of, in words
    assumption: str = ""
    attained_by: str = ""
    ours: bool = False  # Theorem 4.4
    lipschitz: float | None = None
    density: float | None = None  # largest, of a class
    risk: Number | None = None  # of a region, on held-out images and on those that it was fitted to
    adversarial_risk: Number | None = None
    fit_risk: float | None = None
    fit_adversarial_risk: float | None = None
    gamma: float | None = None  # least mean label uncertainty of a region, and what was found
    uncertainty: float | None = None
    pair: tuple[int, ...] = ()  # classes of transport
    matching: float | None = None
    for_distribution: float | None = None  # upper end for the distribution of the pair


class Stability(Detail, quantity=Quantity.PREDICTIONS, sides=("upper",), definition="prediction"):
    """Share of predictions that no move in distribution changes, from a sampled constant."""

    lipschitz: float = 0.0
    classes: int = 0


KINDS: tuple[type[Detail], ...] = (
    Natural, Robust, InDistribution, CertifiedAccuracy, IntendedShare, Constant, CommonConstant, Ratio, UpperEnd,
    LowerEnd, Width, LabelLimit, KeptLabels, EarlierBound, Stability)


@dataclass(frozen=True)
class Row:
    """One number of a report, made by `Detail.row`.

    threat: None where nobody moves an image.  low, high: of its confidence interval, or None.  n: how many examples.
    definition: of robustness (irob.core.definitions), "" for numbers that are none.  section: of the report.
    origin: where a number comes from that was not measured in this run, in words; "" for all others.
    """

    dataset: str
    model: str
    threat: ThreatRecord | None
    quantity: Quantity
    value: float
    side: Side
    method: str
    low: float | None
    high: float | None
    n: int | None
    detail: Any  # of one of `KINDS`
    definition: Definition
    section: str = ""
    origin: str = ""

    @property
    def certified(self) -> bool:
        """Whether the value is a bound for certain."""
        return self.detail.proof or certain(self.detail.inputs)

    @property
    def epsilon(self) -> float:
        """Strength of the threat, 0 without one."""
        return self.threat.strength if self.threat else 0.0

    @property
    def norm(self) -> str:
        """Norm of the threat, "" without one."""
        return self.threat.norm if self.threat else ""

    def to_json(self) -> dict[str, Any]:
        """As JSON has it, with `certified`; of the detail what is not empty."""
        detail = {k: v for k, v in dataclasses.asdict(self.detail).items() if v not in (None, "", (), {})}
        return {**dataclasses.asdict(self), "certified": self.certified, "detail": detail}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Row":
        """The inverse of `to_json`.

        Raises:
            InputError: a threat that is text, as earlier versions wrote it; certified without evidence.
        """
        if isinstance(data["threat"], str):
            raise InputError(f"threat: got the text {data['threat']!r} of an earlier version, wanted an object of "
                             "name, strength and norm; measure again")
        kind = next(k for k in KINDS if k.quantity == data["quantity"] and data["side"] in k.sides)
        own = _read(cls, {k: v for k, v in data.items() if k not in ("certified", "detail")})
        row = cls(**{**own, "quantity": kind.quantity, "detail": kind(**_read(kind, data["detail"]))})
        if row.certified is not data["certified"]:
            raise InputError(f"{row.quantity}, {row.method}: certified is {data['certified']}, evidence says otherwise")
        return row


def _read(cls: type, data: dict[str, Any]) -> dict[str, Any]:
    """The fields of a value from JSON, by their types."""
    hints = typing.get_type_hints(cls)
    return {k: _typed(hints.get(k), v) for k, v in data.items()}


def _typed(hint: Any, v: Any) -> Any:
    if isinstance(v, list):
        return tuple(_typed(hint, item) for item in v)
    if not isinstance(v, dict):
        return v
    inner = [t for t in (hint, *typing.get_args(hint)) if isinstance(t, type) and dataclasses.is_dataclass(t)]
    return inner[0](**v) if inner else {k: _typed(None, item) for k, item in v.items()}


def select(rows: Iterable[Row], quantity: Quantity, **wanted: Any) -> list[Row]:
    """The rows of a quantity whose fields or details have the wanted values.

    >>> select([], Quantity.ROBUST, model="net", epsilon=1.0)
    []
    """
    def fits(row: Row) -> bool:
        known = {**vars(row.detail), **vars(row), "epsilon": row.epsilon, "norm": row.norm,
                 "certified": row.certified}
        return all(known.get(k) == v for k, v in wanted.items())

    return [r for r in rows if r.quantity == quantity and fits(r)]


def largest(rows: Iterable[Row], quantity: Quantity, **wanted: Any) -> Row | None:
    """Of the rows that fit, the one that rests on most examples; of several, the strongest attack's."""
    return max(select(rows, quantity, **wanted), key=lambda r: (r.n or 0, -r.value), default=None)


def models(rows: Iterable[Row]) -> list[str]:
    """The classifiers in the order of their rows; checkpoints along training ("name@epoch") are left out."""
    return list(dict.fromkeys(r.model for r in rows if r.quantity == Quantity.NATURAL and "@" not in r.model))
