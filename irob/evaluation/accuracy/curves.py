"""Robust accuracy against epsilon, all of it, from one run of a minimum-norm attack.

With d_i the smallest distance at which example i was broken (0 where naturally wrong, infinity where never),

    robust(epsilon) = #{i : d_i > epsilon} / n,

which bounds the truth from above, as every attack does, and never rises.  The examples are independent draws, so the
count at a fixed epsilon is binomial: Clopper and Pearson's interval is exact there.  For the whole curve at once
Massart's form of the Dvoretzky-Kiefer-Wolfowitz inequality gives a band of constant width,

    Pr[ sup |robust_n - robust| > sqrt(log(2 / (1 - confidence)) / (2 n)) ] <= 1 - confidence.

References: Clopper and Pearson (1934); Massart (1990).
"""

from collections.abc import Sequence

import numpy as np

from irob.core.check import InputError, number
from irob.core.rows import Number, Quantity, Robust, Row
from irob.core.threat import ThreatRecord
from irob.core.types import AttackResult, value
from irob.math.confidence import clopper_pearson


@value("n", "attack", "norm", "confidence")
class Curve:
    """Robust accuracy at a list of epsilons.

    epsilons: f[m], increasing.  robust: f[m], never rising.  low, high: f[m], exact at each epsilon by itself.
    band_low, band_high: f[m], for all epsilons at once.  n: examples.
    """

    epsilons: np.ndarray
    robust: np.ndarray
    low: np.ndarray
    high: np.ndarray
    band_low: np.ndarray
    band_high: np.ndarray
    n: int
    attack: str = ""
    norm: str = "l2"
    confidence: float = 0.95

    def at(self, epsilon: float) -> float:
        """Robust accuracy at one epsilon, that of the largest listed one below it; the curve is a step function.

        Raises:
            InputError: an epsilon outside the curve.
        """
        number("epsilon", epsilon, low=float(self.epsilons[0]), high=float(self.epsilons[-1]))
        return float(self.robust[np.searchsorted(self.epsilons, epsilon, side="right") - 1])

    def rows(self, dataset: str, model: str) -> list[Row]:
        """One row of a report for each epsilon."""
        return [
            Robust(band=(float(under), float(over))).row(
                dataset, model, ThreatRecord.lp(self.norm, float(e)),
                Number(float(r), float(low), float(high), self.n), self.attack)
            for e, r, low, high, under, over in zip(
                self.epsilons, self.robust, self.low, self.high, self.band_low, self.band_high)]


def from_distances(
    distance, *, largest: float, epsilons: Sequence[float] | None = None, attack: str = "", norm: str = "l2",
    confidence: float = 0.95,
) -> Curve:
    """The curve of n distances.

    Args:
        distance: f[n] in image units, at least 0; infinity where the attack found nothing within `largest`.
        largest: the radius within which the attack looked; the curve ends there.
        epsilons: where to give it; by default 0, every distance at which the curve falls, and `largest`.
        confidence: of the intervals and of the band.

    Raises:
        InputError: distances that are negative or NaN, none at all, epsilons that are negative or beyond `largest`.

    >>> curve = from_distances([0.0, 0.5, 0.5, 2.0, np.inf], largest=3.0)
    >>> [(float(e), round(float(r), 1)) for e, r in zip(curve.epsilons, curve.robust)]
    [(0.0, 0.8), (0.5, 0.4), (2.0, 0.2), (3.0, 0.2)]
    """
    d = np.asarray(distance, np.float64)
    if d.ndim != 1 or not d.size or not np.all(d >= 0):
        raise InputError(f"distances: got {d.size} of shape {d.shape}, wanted f[n] of numbers >= 0, infinity included")
    largest = number("largest", largest, low=0.0)
    if not 0 < number("confidence", confidence, low=0.0, high=1.0) < 1:
        raise InputError(f"confidence: got {confidence:g}, wanted a number strictly between 0 and 1")
    if epsilons is None:
        e = np.unique(np.concatenate([[0.0, largest], d[d <= largest]]))
    else:
        e = np.unique([number("epsilon", v, low=0.0, high=largest) for v in epsilons])
        if not e.size:
            raise InputError("epsilons: got none, wanted at least one")
    n = len(d)
    hits = n - np.searchsorted(np.sort(d), e, side="right")
    low, high = clopper_pearson(hits, n, confidence)
    robust = hits / n
    width = np.sqrt(np.log(2 / (1 - confidence)) / (2 * n))
    return Curve(e, robust, np.atleast_1d(low), np.atleast_1d(high), np.maximum(robust - width, 0.0),
                 np.minimum(robust + width, 1.0), n, attack, norm, confidence)


def from_result(result: AttackResult, attack, name: str, **options) -> Curve:
    """The curve of what `attacks.run` gave for a minimum-norm attack; `options` are those of `from_distances`.

    Raises:
        InputError: an attack of fixed epsilon, whose distances are not the smallest it could find.
    """
    if not attack.minimum_norm:
        raise InputError(f"curve: attack {name!r} works at one epsilon, wanted one of minimum norm such as fab; "
                         "give its points with curves.points")
    found = np.where(result.success, np.asarray(result.distance, np.float64), np.inf)
    return from_distances(found, largest=float(attack.threat.strength), attack=name, norm=attack.threat.norm, **options)


def points(rows: Sequence[Row], model: str | None = None) -> list[tuple[str, float, float, float, float]]:
    """(attack, epsilon, value, low, high) of attacks of fixed epsilon, for the axes of a curve."""
    return [(r.method, r.epsilon, r.value, r.value if r.low is None else r.low, r.value if r.high is None else r.high)
            for r in rows if r.quantity == Quantity.ROBUST and model in (None, r.model)]
