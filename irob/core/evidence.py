"""Evidence has a side: what a number bounds, and whether it certifies.

Sampling finds Lipschitz constants from below, so a robustness bound built on them is an estimate; only an
upper bound on L certifies.  Attacks bound robust accuracy from above, certificates from below.
"""

import dataclasses
import json
from typing import Any

import numpy as np

from irob.core import laws
from irob.core.check import InputError
from irob.core.rows import Inputs, Quantity, Row, Side, certain
from irob.core.threat import ThreatRecord
from irob.core.types import value
from irob.math import quantiles


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
    quantity: Quantity
    threat: ThreatRecord
    theorem: str
    inputs: Inputs
    assumptions: tuple[str, ...] = ()

    @property
    def certified(self) -> bool:
        """Whether the value is a bound for certain; computed, never passed in."""
        return certain(self.inputs)


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
class Report:
    """Rows and where they come from."""

    rows: tuple[Row, ...]
    provenance: dict[str, Any]

    def to_json(self) -> str:
        """{"rows": [one object per row], "provenance": {...}}; NaN is refused."""
        rows = [r.to_json() for r in self.rows]
        return json.dumps({"rows": rows, "provenance": self.provenance}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The inverse of `to_json`."""
        try:
            data = json.loads(text)
            return cls(tuple(map(Row.from_json, data["rows"])), data["provenance"])
        except (ValueError, KeyError, TypeError, StopIteration) as e:
            raise InputError(f"report: not the JSON of a report ({e})") from None

    def check(self) -> tuple[str, ...]:
        """Raises `EvidenceError` where rows contradict a law of `irob.core.laws`; returns discoveries."""
        return laws.check(self.rows)
