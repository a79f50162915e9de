"""Empirical concentration of measure: how little an error region of measure alpha can grow, by families of regions.

    h(mu, alpha, epsilon) = inf { mu(E_eps) : mu(E) >= alpha },    1 - h limits the robustness of risk >= alpha.

Robustness is of the error-region kind: x is lost if a classifier that errs on E alone, and equals the ground truth
elsewhere, errs at some x' within epsilon.  Nothing here speaks of f(x') against the label of x.

Every explicit E gives mu(E_eps) >= h: a family of regions bounds h from above, hence 1 - mu(E_eps) bounds the best
robustness from below.  It is no limit of classifiers; it says how robust one (which errs on E alone) would be.  The
region is fitted on one half of the points and measured on the other.

Families: half-spaces along principal components, both directions (l2; linf with sign(w)|w|^t, |w|_1 = 1), unions of
balls chosen greedily (l2), complements of unions of boxes (linf).
Attained: mu Gaussian, E a half-space, h = Phi(Phi^-1(alpha) + epsilon).

References: Mahloujifar, Zhang, Mahmoody, Evans (2019), https://arxiv.org/abs/1905.12202 (balls, boxes);
Prescott, Zhang, Evans (2021), https://arxiv.org/abs/2103.12913 (half-spaces).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from irob.bounds.regions import Balls, HalfSpace, OutsideBoxes, Region, cdist, pieces, principal, project
from irob.core.check import InputError, integer, number, unknown
from irob.math.confidence import clopper_pearson

FAMILIES = {"half-spaces": ("l2", "linf"), "balls": ("l2",), "boxes": ("linf",)}
EXPONENTS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # of |w|, for linf: the larger, the sparser
EDGE = 1e-9  # thresholds are lowered by this, so that the point that sets one lies inside however sums are rounded


@dataclasses.dataclass(frozen=True)
class Concentration:
    """A region and its measure.

    risk, adversarial_risk: shares of the `n` held-out points in E and within epsilon of it; each with the ends of its
    exact interval, which hold together on the certifying sides (risk_low, adversarial_high) with `confidence`.
    fit_risk, fit_adversarial_risk: the same on the points the region was fitted to.
    uncertainty: mean label uncertainty of the held-out points in E, if labels were given one; NaN if there are none.
    """

    family: str
    norm: str
    alpha: float
    epsilon: float
    region: Region
    risk: float
    risk_low: float
    risk_high: float
    adversarial_risk: float
    adversarial_low: float
    adversarial_high: float
    fit_risk: float
    fit_adversarial_risk: float
    n: int
    confidence: float
    uncertainty: float | None = None

    @property
    def certified(self) -> bool:
        """Whether the region surely has measure alpha; then 1 - adversarial_high is a certified lower bound."""
        return self.risk_low >= self.alpha


@dataclasses.dataclass(frozen=True)
class RegionSearch:
    """How a region is looked for.

    aim: measure on the points of the fit; alpha by default.  A larger one lets `certified` become true.
    uncertainty: f[n], label uncertainty of each point in [0, 2]; E must have mean uncertainty gamma on the fit.
    gamma: at least 0; for half-spaces and balls.
    components: principal directions tried.  exponents: of |w|, for linf.  extra: more directions f[m,D].
    regions: balls or boxes in the union.  centres: points of the fit that balls may be centred at.
    neighbours: for the density that boxes look for.  seed: of the split into halves and of k-means.
    """

    aim: float | None = None
    uncertainty: Any = None
    gamma: float = 0.0
    components: int = 50
    exponents: Sequence[float] = EXPONENTS
    regions: int = 5
    centres: int = 500
    neighbours: int = 50
    extra: Any = None
    seed: int = 0

    def __post_init__(self):
        number("gamma", self.gamma, low=0.0, high=2.0)
        if self.uncertainty is None and self.gamma > 0:
            raise InputError(f"gamma: got {self.gamma:g} without label uncertainty, wanted 0; give uncertainty")
        for name in ("regions", "components", "centres", "neighbours"):
            integer(name, vars(self)[name], low=1)


def concentration(
    x,
    alpha: float,
    epsilons: Sequence[float],
    *,
    family: str = "half-spaces",
    norm: str = "l2",
    confidence: float = 0.95,
    search: RegionSearch = RegionSearch(),
) -> list[Concentration]:
    """The region of a family that grows least, for each epsilon; those that have no region (see gamma) are left out.

    Args:
        x: f[n,...], independent points, at least 4; images are taken as long vectors.
        alpha: least measure of E, in (0, 1).
        epsilons: at least 0, in units of x.
        family: "half-spaces" (l2, linf), "balls" (l2) or "boxes" (linf).
        norm: "l2" or "linf".
        confidence: of risk_low and adversarial_high together, at each epsilon by itself.
        search: how regions are looked for.

    Returns:
        One Concentration for each epsilon, in order.

    Raises:
        InputError: values out of range, unknown names, a family that the norm does not have, too few points.

    >>> x = np.random.default_rng(0).normal(size=(4000, 2))
    >>> found, = concentration(x, 0.5, [1.0])
    >>> abs(found.adversarial_risk - 0.8413) < 0.02  # Phi(1)
    True
    """
    x = np.asarray(x)
    x = x.reshape(len(x), -1) if x.ndim else x
    if x.ndim != 2 or len(x) < 4 or not all(np.isfinite(part).all() for _, part in pieces(x)):
        raise InputError(f"x: got shape {x.shape}, wanted at least 4 points, all finite")
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    if norm not in FAMILIES[family]:
        raise InputError(f"norm: got {norm!r}, wanted {' or '.join(FAMILIES[family])} for {family}")
    alpha = number("alpha", alpha, low=0.0, high=1.0, open_low=True)
    aim = alpha if search.aim is None else number("aim", search.aim, low=alpha, high=1.0)
    radii = [number("epsilon", e, low=0.0) for e in np.atleast_1d(np.asarray(epsilons, dtype=object))]
    if not 0 < number("confidence", confidence) < 1:
        raise InputError(f"confidence: got {confidence!r}, wanted a number in (0, 1)")
    lu, gamma = None if search.uncertainty is None else np.asarray(search.uncertainty, np.float64), search.gamma
    if lu is not None and (lu.shape != (len(x),) or not np.all((lu >= 0) & (lu <= 2))):
        raise InputError(f"uncertainty: got shape {lu.shape}, wanted {len(x)} numbers in [0, 2]")
    if family == "boxes" and lu is not None:
        raise InputError("uncertainty: got one for boxes, wanted none; use half-spaces or balls")

    order = np.random.default_rng(search.seed).permutation(len(x))
    first, second = order[: len(x) // 2], order[len(x) // 2 :]
    a, b = x[first], x[second]
    lu_a = None if lu is None else lu[first]
    if aim * len(a) < 1:
        raise InputError(f"x: got {len(x)} points, wanted at least {math.ceil(2 / aim)} for regions of measure {aim:g}")
    if family == "half-spaces":
        w = directions(a, norm, search.components, search.exponents, search.extra)
        fitted: Sequence[Region | None] = fit_half_spaces(a, w, aim, radii, lu_a, gamma)
    elif family == "balls":
        fitted = exchange(fit_balls(a, aim, radii, search.regions, search.centres, lu_a, gamma), a, radii)
    else:
        fitted = exchange(fit_boxes(a, aim, radii, search.regions, search.neighbours, search.seed), a, radii)
    lu_b = None if lu is None else lu[second]
    return [Concentration(family, norm, alpha, e, r, *measure(r, a, b, e, confidence, lu_b))
            for e, r in zip(radii, fitted) if r is not None]


def measure(region: Region, fit, held, epsilon: float, confidence: float, lu=None) -> tuple:
    """The fields of a Concentration from `risk` on: counts of the region on the points that it was fitted to and on
    held-out ones, with Clopper-Pearson ends."""
    seen, away = region.distance(fit), region.distance(held)
    risk, grown = int(np.sum(away <= 0)), int(np.sum(away <= epsilon + EDGE))
    n = len(held)
    low, high = clopper_pearson(risk, n, confidence)
    grown_low, grown_high = clopper_pearson(grown, n, confidence)
    mean = None if lu is None else float(lu[away <= 0].mean()) if risk else math.nan
    return (risk / n, low, high, grown / n, grown_low, grown_high, float(np.mean(seen <= 0)),
            float(np.mean(seen <= epsilon + EDGE)), n, confidence, mean)


def exchange(fitted: Sequence[Region | None], x, epsilons) -> list[Region | None]:
    """For each epsilon, of the regions found for any epsilon the one that grows least: greedy choices miss some."""
    pool = [r for r in fitted if r is not None]
    away = [r.distance(x) for r in pool]
    return [pool[int(np.argmin([np.sum(d <= e + EDGE) for d in away]))] if pool else None for e in epsilons]


def directions(x, norm: str, components: int, exponents=EXPONENTS, extra=None) -> np.ndarray:
    """Directions f[D,m] of dual norm 1, both signs of each; for linf, sparser copies sign(w)|w|^t."""
    found = principal(x, components)
    if extra is not None:
        extra = np.atleast_2d(np.asarray(extra, np.float64)).T
        found = np.concatenate([found, extra[:, np.abs(extra).max(axis=0) > 0]], axis=1)
    if norm == "linf":
        scaled = found / np.abs(found).max(axis=0)
        found = np.concatenate([np.sign(scaled) * np.abs(scaled) ** t for t in exponents], axis=1)
        found = found / np.abs(found).sum(axis=0)
    else:
        found = found / np.linalg.norm(found, axis=0)
    return np.concatenate([found, -found], axis=1)


def fit_half_spaces(x, w, aim: float, epsilons, lu=None, gamma: float = 0.0) -> list[HalfSpace | None]:
    """For each epsilon, of the half-spaces {w.x >= b} that hold ceil(n aim) points, the one that grows least."""
    scores = project(x, w)
    k = math.ceil(len(x) * aim - 1e-9)
    b = -np.partition(-scores, k - 1, axis=0)[k - 1] - EDGE
    fits = np.ones(w.shape[1], bool)
    if lu is not None:
        inside = scores >= b
        fits = lu @ inside / inside.sum(axis=0) >= gamma - 1e-12
    out: list[HalfSpace | None] = []
    for e in epsilons:
        grown = np.where(fits, np.sum(scores >= b - e, axis=0), np.inf)
        j = int(np.argmin(grown))
        out.append(HalfSpace(w[:, j], float(b[j])) if np.isfinite(grown[j]) else None)
    return out


def fit_balls(
    x, aim: float, epsilons, count: int, centres: int = 500, lu=None, gamma: float = 0.0
) -> list[Region | None]:
    """For each epsilon, at most `count` balls that hold ceil(n aim) points; None if none have mean uncertainty gamma.

    Greedy: each step takes, of all centres and of all radii that cover between an equal share of the rest and all of
    it, the ball with the fewest (points newly within epsilon) - (points newly covered).  A ball must leave the mean
    uncertainty of all that is covered at gamma or above.
    """
    middles = np.asarray(x[:centres], np.float64)
    distance = np.concatenate([cdist(part, middles) for _, part in pieces(x)]).T.copy()  # once for all epsilons
    target = math.ceil(len(x) * aim - 1e-9)
    return [_greedy_balls(middles, distance, target, e, count, lu, gamma) for e in epsilons]


def _greedy_balls(middles, distance, target: int, epsilon: float, count: int, lu, gamma: float) -> Balls | None:
    """Balls about some of the middles; distance f[centres,n]."""
    n = distance.shape[1]
    covered, reached = np.zeros(n, bool), np.zeros(n, bool)
    chosen: list[tuple[np.ndarray, float]] = []
    for step in range(count):
        rest = target - int(covered.sum())
        if rest <= 0:
            break
        least = math.ceil(rest / (count - step))
        open_lu = None if lu is None else lu[~covered]
        best = (np.inf, 0, 0.0)
        so_far = (0.0, 0) if lu is None else (float(lu[covered].sum()), int(covered.sum()))
        for i, row in enumerate(distance):
            cost, radius = _best_radius(row[~covered], row[~reached], least, rest, epsilon, open_lu, so_far, gamma)
            if cost < best[0]:
                best = (cost, i, radius)
        if not np.isfinite(best[0]):
            return None
        centre, radius, away = middles[best[1]], best[2] + EDGE, distance[best[1]]
        covered |= away <= radius
        reached |= away <= radius + epsilon
        chosen.append((centre, radius))
    return Balls(np.array([c for c, _ in chosen]), np.array([r for _, r in chosen]))


def _best_radius(open_distances, unreached, least, most, epsilon, lu, so_far, gamma) -> tuple[float, float]:
    """(cost, radius) of the best ball about one centre; cost infinite if no radius will do."""
    if lu is None:
        nearest = np.sort(np.partition(open_distances, most - 1)[:most])[least - 1 :]
        fits = np.ones(len(nearest), bool)
    else:
        order = np.argsort(open_distances)[:most]
        nearest = open_distances[order][least - 1 :]
        total, size = so_far
        sums = (total + np.cumsum(lu[order])) / (size + np.arange(1, len(order) + 1))
        fits = sums[least - 1 :] >= gamma - 1e-12
    radii = nearest + epsilon + EDGE
    near = np.sort(unreached[unreached <= radii[-1]])  # only those can be reached: a short list to sort
    gained = np.searchsorted(near, radii, side="right") - np.arange(least, least + len(nearest))
    cost = np.where(fits, gained, np.inf)
    j = int(np.argmin(cost))
    return float(cost[j]), float(nearest[j])


def fit_boxes(x, aim: float, epsilons, count: int, neighbours: int = 50, seed: int = 0) -> list[Region | None]:
    """For each epsilon, the complement of the epsilon-expansions of boxes about the densest share q of the points.

    q is bisected: the largest that leaves ceil(n aim) points outside.  Dense: close to the k-th neighbour in l1.
    """
    x = np.asarray(x, np.float64)
    n, k = len(x), min(neighbours, len(x) - 1)
    order = np.argsort(np.concatenate(
        [np.partition(cdist(part, x, "cityblock"), k, axis=1)[:, k] for _, part in pieces(x, 250)]))
    target, boxes = math.ceil(n * aim - 1e-9), {}

    def region(m: int, epsilon: float) -> OutsideBoxes:
        if m not in boxes:
            boxes[m] = _cluster(x[order[:m]], count, seed)
        return OutsideBoxes(boxes[m][0], boxes[m][1] + epsilon)

    out: list[Region | None] = []
    for e in epsilons:
        low, high = 1, n
        while high - low > max(1, round(0.005 * n)):
            middle = (low + high) // 2
            if np.sum(region(middle, e).distance(x) <= 0) >= target:
                low = middle
            else:
                high = middle
        found = region(low, e)
        out.append(found if np.sum(found.distance(x) <= 0) >= target else None)
    return out


def _cluster(x: np.ndarray, count: int, seed: int, steps: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """k-means with l1 assignment: centres f[T,D] and the largest deviation f[T,D] of their points, by coordinate."""
    centres = x[np.random.default_rng(seed).choice(len(x), min(count, len(x)), replace=False)]
    labels = np.full(len(x), -1)
    for _ in range(steps):
        now = cdist(x, centres, "cityblock").argmin(axis=1)
        if np.array_equal(now, labels):
            break
        labels = now
        used = np.unique(labels)
        centres = np.array([x[labels == j].mean(axis=0) for j in used])
        labels = np.searchsorted(used, labels)
    half = np.array([np.abs(x[labels == j] - c).max(axis=0) if np.any(labels == j) else np.zeros(x.shape[1])
                     for j, c in enumerate(centres)])
    return centres, half + 2 * EDGE  # twice: where a coordinate never varies, points must lie more than EDGE inside
