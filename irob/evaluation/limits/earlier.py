"""Earlier bounds on the same images and epsilons as Theorem 4.4, each with its assumption and what it bounds.

Values are shares that stay right (or, for Fawzi, unchanged) under any move within epsilon.

- Fawzi (three forms): limits the predictions of any classifier; certified if the constant is an upper bound on the
  global one.
- Half-spaces, balls, boxes: 1 - mu(E_eps) of an explicit E, what a classifier that errs on E alone reaches: a lower
  end, certified if fresh images show that E has measure alpha.
- Label uncertainty: the same among regions whose labels are doubtful; as good as the probabilities.
- Transport: the best any classifier can do on the very sample of two classes; high is the certified upper end for
  their distribution.
- Shafahi (cube): only where the largest density of a class is given, which is not known for images.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from irob import bounds
from irob.bounds.concentration import FAMILIES, Concentration
from irob.core import check
from irob.core.check import InputError
from irob.core.definitions import Definition
from irob.core.progress import say
from irob.core.rows import ANY, EarlierBound, Number, Row, Side, UpperEnd
from irob.core.threat import ThreatRecord
from irob.core.types import Dataset

GAMMA = 0.17  # mean label uncertainty of the errors of CIFAR-10 classifiers, Zhang and Evans (2022)
HALF_SPACE = "Gaussian, half-space"


@dataclasses.dataclass(frozen=True)
class Question:
    """The epsilons, risk and norm that all earlier bounds are computed for.

    epsilons: in image units.  alpha: least natural risk, in (0, 1).  norm: "l2" or "linf".
    confidence: of intervals.  regions: balls or boxes in a union.  seed: of the split.
    """

    epsilons: Sequence[float] = (1.0, 2.0, 3.0)
    alpha: float = 0.015
    norm: str = "l2"
    confidence: float = 0.95
    regions: int = 5
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Given:
    """Inputs that only some bounds need; bounds whose input is missing are left out.

    lipschitz: global constant of an unconditional generator, in image units for this norm; for Fawzi's bounds.
    side: "upper" if it is certified, "lower" if it was sampled or maximised.
    theorem: rows of upper ends by Theorem 4.4; those of the question are shown beside, under their method's name.
    probabilities: f[n,K] over labels for each image, people's or a classifier's; for label uncertainty.
    gamma: least mean uncertainty of a region.  A family without such a region is left out, and that is said.
    density: largest density of a class in the cube, at least 1; for Shafahi's bound.
    """

    lipschitz: float | None = None
    side: Side = "lower"
    theorem: Sequence[Row] = ()
    probabilities: Any = None
    gamma: float = GAMMA
    density: float | None = None


@dataclasses.dataclass(frozen=True)
class Pair:
    """The two classes between which optimal transport is computed.

    classes: None leaves transport out, "auto" takes 3 and 7, or the first two that occur, if any.
    count: images of each.  data: to take them from; those of the comparison by default.
    """

    classes: tuple[int, int] | Literal["auto"] | None = "auto"
    count: int = 200
    data: Dataset | None = None


def comparison_rows(
    data: Dataset, question: Question = Question(), given: Given = Given(), pair: Pair = Pair()
) -> list[Row]:
    """Rows of earlier bounds, one for each method and epsilon.

    data: independent images with labels, all from the distribution that is spoken of.

    Raises:
        InputError: values out of range; too few images of the pair; images outside [0, 1].
    """
    check.images(data.x, data.y, num_classes=data.num_classes)
    norm, gamma, shown = question.norm, given.gamma, pair.data or data
    if norm not in ("l2", "linf"):
        raise check.unknown("norm", norm, ("l2", "linf"))
    radii = [check.number("epsilon", e, low=0.0) for e in np.atleast_1d(np.asarray(question.epsilons, dtype=object))]
    alpha = check.number("alpha", question.alpha, low=0.0, high=1.0, open_low=True)
    make = _Maker(data.name, norm, alpha)
    rows = [*_theorem(make, given.theorem, radii)]
    if given.lipschitz is not None:
        rows += _fawzi(make, radii, given.lipschitz, data.num_classes, given.side)
    x = data.x.reshape(len(data), -1)
    options: dict[str, Any] = {
        "norm": norm, "confidence": question.confidence,
        "search": bounds.RegionSearch(regions=question.regions, seed=question.seed)}
    for family in (f for f, norms in FAMILIES.items() if norm in norms):
        regions_found = bounds.concentration(x, alpha, radii, family=family, **options)
        if len(regions_found) < len(radii):
            say(f"concentration: no {family} of measure {alpha:g} for some of the radii; left out")
        rows += [make.region(c, f"concentration, {family}") for c in regions_found]
    if given.probabilities is not None:
        uncertainty = bounds.label_uncertainty(given.probabilities, data.y)
        for family in ("half-spaces", "balls") if norm == "l2" else ("half-spaces",):
            found = bounds.constrained_concentration(x, uncertainty, alpha, radii, gamma, family=family, **options)
            if len(found) < len(radii):
                say(f"label uncertainty: no {family} of measure {alpha:g} with mean {gamma:g} for some radii; left out")
            rows += [make.region(c, f"label uncertainty, {family}", gamma) for c in found]
    classes = _usual_pair(shown) if isinstance(pair.classes, str) else pair.classes
    if classes is not None:
        rows += _transport(make, shown, radii, classes, pair.count, question.confidence)
    if given.density is not None:
        about = EarlierBound(
            (("density", "estimate"),), alpha, bounds="images of a class right",
            assumption=f"class density at most {given.density:g}", attained_by="half-cube, small ε",
            density=given.density)
        rows += [make.row("Shafahi et al., cube", e, Number(float(bounds.shafahi_cube(e, given.density))), about)
                 for e in radii]
    return rows


@dataclasses.dataclass(frozen=True)
class _Maker:
    """Makes the rows of one data set, norm and risk."""

    dataset: str
    norm: str
    alpha: float

    def row(self, method: str, epsilon: float, number: Number, about: EarlierBound, *, side: Side = "upper",
            definition: Definition = "label") -> Row:
        """A row of this section of the report."""
        made = about.row(self.dataset, ANY, ThreatRecord.lp(self.norm, float(epsilon)), number, method, side=side,
                         definition=definition)
        return dataclasses.replace(made, section="comparison")

    def region(self, c: Concentration, method: str, gamma: float | None = None) -> Row:
        """The row of an error region: its certified value if it has one, else the measured share."""
        # Uncertainty is what the probabilities say it is, so a region chosen by it certifies nothing about it.
        sure = c.certified and gamma is None
        known = gamma is None and c.family == "half-spaces"
        about = EarlierBound(
            (("risk", "upper" if sure else "estimate"),), self.alpha, c.family, confidence=c.confidence,
            bounds="images right, if one region is wrong", attained_by=HALF_SPACE if known else "not known",
            assumption="the best region of a family" if gamma is None else
            f"region's label uncertainty at least {gamma:g}",
            risk=Number(c.risk, c.risk_low, c.risk_high), fit_risk=c.fit_risk,
            adversarial_risk=Number(c.adversarial_risk, c.adversarial_low, c.adversarial_high),
            fit_adversarial_risk=c.fit_adversarial_risk, gamma=gamma,
            uncertainty=None if gamma is None else _finite(c.uncertainty))
        value = 1 - (c.adversarial_high if sure else c.adversarial_risk)
        return self.row(method, c.epsilon, Number(value, 1 - c.adversarial_high, 1 - c.adversarial_low, c.n), about,
                        side="lower", definition="error region")


def _finite(v: float | None) -> float | None:
    return v if v is not None and np.isfinite(v) else None


def _theorem(make: _Maker, theorem: Sequence[Row], radii: Sequence[float]) -> list[Row]:
    out = []
    for r in theorem:
        same = r.threat in [ThreatRecord.lp(make.norm, e) for e in radii] and abs(r.detail.alpha - make.alpha) < 1e-9
        if isinstance(r.detail, UpperEnd) and same:
            about = EarlierBound(
                r.detail.inputs, make.alpha, r.detail.family, bounds="images right, risk at least α", ours=True,
                assumption="local constant, Gaussian codes", attained_by="isometry, half-space")
            out.append(make.row(r.method, r.epsilon, Number(float(r.value), n=r.n), about, definition=r.definition))
    return out


def _fawzi(make: _Maker, radii, lipschitz: float, classes: int, side: Side) -> list[Row]:
    forms = ("simplified", "classes", "exact")
    out = []
    for form in (f for f in forms if f != "classes" or classes >= 5):
        about = EarlierBound(
            (("lipschitz", side),), make.alpha, bounds="predictions unchanged on the manifold",
            assumption=f"global constant {lipschitz:.2f}, {classes} equal classes", lipschitz=float(lipschitz),
            attained_by="identity, half-space, K = 2" if form == "exact" else "never")
        out += [make.row(f"Fawzi et al., {form} form", e, Number(float(bounds.fawzi(classes, e, lipschitz, form))),
                         about, definition="prediction") for e in radii]
    return out


def _usual_pair(data: Dataset) -> tuple[int, int] | None:
    """Classes 3 and 7 as in the paper, or the first two that occur."""
    occur = [int(c) for c in np.unique(data.y)]
    if 3 in occur and 7 in occur:
        return 3, 7
    return (occur[0], occur[1]) if len(occur) > 1 else None


def _transport(make: _Maker, data: Dataset, radii, pair, count: int, confidence: float) -> list[Row]:
    count = check.integer("pair_count", count, low=1)
    if np.shape(pair) != (2,):
        raise InputError(f"pair: got {pair!r}, wanted two classes")
    first, second = (np.flatnonzero(data.y == c)[:count] for c in pair)
    if min(len(first), len(second)) < 1 or pair[0] == pair[1]:
        raise InputError(f"pair: got {pair} with {len(first)} and {len(second)} images, wanted two classes that occur")
    n = min(len(first), len(second))
    out = []
    for t in bounds.transport(data.x[first[:n]], data.x[second[:n]], radii, norm=make.norm, confidence=confidence):
        about = EarlierBound(
            (("the sample", "estimate"),), make.alpha, confidence=confidence,
            bounds=f"images of {pair[0]} and {pair[1]} right", assumption=f"these {n} images of each",
            attained_by="two Gaussians", pair=tuple(map(int, pair)), matching=t.matching,
            for_distribution=1 - t.certified)
        out.append(make.row(f"transport, {pair[0]} against {pair[1]}", t.epsilon,
                            Number(float(1 - t.error), high=1 - t.certified, n=2 * n), about, side="exact"))
    return out
