"""The bracket: intrinsic robustness between what a witness attains and what isoperimetry allows.

    1 - AdvRisk(witness)  <=  sup over classifiers of risk >= alpha of 1 - AdvRisk  <=  the bounds of irob.bounds

The lower end is certified by sampling alone.  Three independent samples: on the first, directions and centres are
fitted and one witness of each kind is chosen for every epsilon; on the second, thresholds are set so that the risk
is at least alpha; on the third, adversarial risk is counted.  With confidence 1 - d, one half of d goes to the
thresholds (shared by the classes, in the per-class family), the other to the upper Clopper-Pearson ends of the
adversarial risk (shared by the epsilons).  So every row holds with confidence 1 - d, and so do, together, the rows of
one region at all the epsilons that it serves; a kind that takes other regions at other epsilons has one such statement
for each region.  Two ends of a bracket, each with confidence 1 - d, hold together with 1 - 2 d: widths say that.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import batch, check, keys
from irob.core.compile import jit
from irob.core.rows import ANY, LowerEnd, Number, Quantity, Row, Width, select
from irob.core.store import Task
from irob.core.threat import ThreatRecord
from irob.core.types import Generator
from irob.evaluation.limits import latent_regions
from irob.evaluation.limits.regions import SLACK, Images, Picked, Scores, candidates, draw, moments, shipped, threshold
from irob.math.confidence import clopper_pearson, together

FAMILIES = ("overall", "per_class")


@dataclasses.dataclass(frozen=True)
class Witness:
    """An error region by thresholds on scores.  columns: of the scores, one for all classes or one for each."""

    kind: str
    name: str
    columns: tuple[int, ...]

    def thresholds(self, scores: np.ndarray, y: np.ndarray, family: str, alpha: float, level: float, p) -> np.ndarray:
        """t f[K]: with confidence 1 - level, E has measure at least alpha, or alpha in each class that there is."""
        if family == "overall":
            return np.full(len(p), threshold(scores[:, self.columns[0]], alpha, 1 - level))
        t, each = np.full(len(p), np.inf), level / np.count_nonzero(p)
        for c in np.flatnonzero(p):
            t[c] = threshold(self.own(scores[y == c], np.full(np.sum(y == c), c)), alpha, 1 - each)
        return t

    def own(self, scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The score of each image's own class, f[n]."""
        columns = np.asarray(self.columns)
        return scores[np.arange(len(y)), columns[y] if len(columns) > 1 else columns[0]]

    def margins(self, scores: np.ndarray, t: np.ndarray) -> np.ndarray:
        """max over classes of s_k - t_k, f[n]: within epsilon of E, it is at least -epsilon."""
        return (scores[:, self.columns] - t).max(1)

    def inside(self, scores: np.ndarray, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Whether each image lies in E, bool[n]: the threshold of its own class counts."""
        return self.own(scores, y) >= t[y]


@dataclasses.dataclass(frozen=True)
class BracketPlan:
    """What to bracket and by how much work; raises `InputError` for values out of range.

    alphas: natural risks, in (0, 1).  epsilons: l2, in image units.  families: "overall", "per_class".
    confidence: of each certified lower end, in (0, 1).
    choice, calibration, samples: images of the three samples.
    latent: codes that the attack on each latent half-space starts from; 0 leaves it out.
    chunk: images at a time; results do not depend on it.
    """

    alphas: Sequence[float] = (0.015,)
    epsilons: Sequence[float] = (1.0, 2.0, 3.0)
    families: Sequence[str] = FAMILIES
    confidence: float = 0.95
    choice: int = 10_000
    calibration: int = 20_000
    samples: int = 20_000
    latent: int = 200
    chunk: int = 1000

    def __post_init__(self):
        for name, values in (("alpha", self.alphas), ("confidence", (self.confidence,))):
            for v in values:
                if not 0 < check.number(name, v) < 1:
                    raise check.InputError(f"{name}: got {v:g}, wanted a number in (0, 1)")
        for e in self.epsilons:
            check.number("epsilon", e, low=0, open_low=True)
        for name in ("choice", "calibration", "samples"):
            check.integer(name, vars(self)[name], low=2)
        check.integer("latent", self.latent)
        for f in self.families:
            if f not in FAMILIES:
                raise check.unknown("family", f, FAMILIES)


def bracket(
    key: jax.Array, generator: Generator, plan: BracketPlan, *, upper: Sequence[Row] = (),
    witnesses: Sequence[Scores] | None = None, priors=None, task: Task = Task(),
) -> list[Row]:
    """Lower ends by witnesses, one row for each kind, epsilon, alpha and family; widths for each upper end given.

    Args:
        key: typed key; independent of the one that trained the witnesses.
        generator: with Gaussian codes.
        upper: rows of upper ends; those of equal family, alpha and threat are paired with the best witness.
        witnesses: scores to hold beside principal components and balls; None: those shipped for these very weights.
        priors: of the components; None means equal.

    Returns:
        Rows with a `LowerEnd`.  value: the certified lower end, 1 minus the upper end of the adversarial risk; high: 1
        minus its lower end.  Of the kinds, take the `best`: the highest value of all would owe something to luck.
        Latent half-spaces of generators that are not affine are estimates.
        Rows with a `Width`.

    Raises:
        InputError: values out of range, a generator whose latent law is not known.
    """
    keys.require(key)
    of_components = check.priors(priors, generator.components)
    count = max(1, generator.num_classes)
    p = np.bincount(generator.labels(np.arange(generator.components)), of_components, count)
    epsilons, chunk = plan.epsilons, plan.chunk

    def sample(name: str, n: int, what):
        return draw(keys.named(key, name), generator, n, what, priors=of_components, chunk=chunk,
                    label=task.label and f"{task.label}, {name}")

    level = 1 - plan.confidence
    x, y = sample("choice", plan.choice, Images())
    members = (*candidates(moments(x, y, count)), *(shipped(generator) if witnesses is None else witnesses))
    scores = _scores(members, x, chunk)
    options = _options(members, count)
    chosen = {(family, alpha): _choose(options, scores, y, family, alpha, tuple(epsilons), level, p)
              for family, alpha in itertools.product(plan.families, plan.alphas)}
    used = sorted({c for picks in chosen.values() for _, w in picks.values() for c in w.columns})
    place = {c: i for i, c in enumerate(used)}
    picked = Picked(members, jnp.asarray(used, jnp.int32))
    second, third = sample("calibration", plan.calibration, picked), sample("measurement", plan.samples, picked)
    rows = []
    for (family, alpha), picks in chosen.items():
        best = {e: min((risk, kind) for (kind, at), (risk, _) in picks.items() if at == e)[1] for e in epsilons}
        for (kind, e), (_, w) in picks.items():
            here = dataclasses.replace(w, columns=tuple(place[c] for c in w.columns))
            t = here.thresholds(*second, family, alpha, level / 2, p)
            found = _measure(here, third[0], third[1], t, e, level / 2 / len(epsilons), family, p)
            detail = LowerEnd(
                (("adversarial risk", "upper"),), float(alpha), family, "default", plan.confidence,
                assumptions=_joint([o for o in epsilons if picks[kind, o][1] == w]), witness=kind, region=w.name,
                best=kind == best[e], calibration=plan.calibration, **found)
            low, high = 1 - found["adversarial_risk"].high, 1 - found["adversarial_risk"].low
            rows.append(detail.row(task.dataset, ANY, ThreatRecord.lp("l2", e),
                                   Number(low, low, high, plan.samples), f"witness: {kind}"))
    if plan.latent:
        for family, alpha in chosen:
            rows += latent_regions.latent_rows(
                keys.named(key, "latent"), generator, LowerEnd(alpha=float(alpha), family=family, protocol="default"),
                epsilons=epsilons, priors=of_components, count=plan.latent, dataset=task.dataset,
                label=task.label and f"{task.label}, latent half-space")
    return rows + widths(rows, upper)


def widths(rows: Sequence[Row], upper: Sequence[Row]) -> list[Row]:
    """One row for every upper end that a certified lower end of the same threat, alpha and family faces.

    The lower end is that of the kind which the first sample chose, so that no luck of the third is in it; an exact
    one (of an affine generator) where that is higher.  A width speaks of both ends at once, so its confidence is 1 less
    what each of them leaves to chance: 0.9 for two ends at 0.95.
    """
    found = []
    lower = [r for r in select(rows, Quantity.BOUND, side="lower", certified=True) if r.detail.best]
    for u in select(upper, Quantity.BOUND, side="upper"):
        about = u.detail
        fit = [r for r in lower if (r.threat, r.detail.alpha, r.detail.family) == (u.threat, about.alpha, about.family)]
        if about.protocol == "paper" or not fit:
            continue
        low = max(fit, key=lambda r: r.value)
        detail = Width(
            (*low.detail.inputs, *about.inputs), about.alpha, about.family, "default",
            together(*(r.detail.confidence or 1.0 for r in (low, u))), lower=low.value, witness=low.detail.witness,
            region=low.detail.region, upper=u.value, upper_method=u.method, lower_definition=low.definition,
            upper_definition=u.definition)
        found.append(detail.row(
            u.dataset, ANY, u.threat, Number(u.value - low.value, n=low.n), f"{u.method} less {low.method}",
            side="upper" if u.certified else "estimate"))
    return found


def _joint(served: Sequence[float]) -> str:
    """In words, which statements hold together with the confidence.  served: epsilons that share this region."""
    radii = ", ".join(f"{e:g}" for e in served)
    return ("simultaneous over classes and over the epsilons that share a region, here "
            f"{radii}; each region by itself")


def _scores(members: Sequence[Scores], x: np.ndarray, chunk: int) -> np.ndarray:
    """All scores f[n,M] of images f[n,H,W,C]."""
    picked = Picked(tuple(members), slice(None))
    with jax.default_matmul_precision("float32"):
        return batch.stream(lambda _, x: _apply(picked.members, x), x, chunk=chunk)


@jit
def _apply(members, x):
    return jax.vmap(lambda v: jnp.concatenate([s(v) for s in members]))(x)


def _options(members: Sequence[Scores], count: int) -> list[Witness]:
    """Every witness that the scores offer."""
    options, at = [], 0
    for s in members:
        if s.classwise:
            options.append(Witness(s.kind, s.names[0], tuple(range(at, at + count))))
            at += count
        else:
            options += [Witness(s.kind, name, (at + i,)) for i, name in enumerate(s.names)]
            at += len(s.names)
    return options


def _choose(options: Sequence[Witness], scores, y, family: str, alpha: float, epsilons, level: float, p) -> dict:
    """(kind, epsilon) to (adversarial risk on this sample, witness): the best of each kind for every epsilon."""
    best: dict[tuple[str, float], tuple[float, Witness]] = {}
    for w in options:
        if family == "overall" and len(w.columns) > 1:
            continue
        margin = w.margins(scores, w.thresholds(scores, y, family, alpha, level, p))
        for e in epsilons:
            risk = float(np.mean(margin >= -e))
            if (w.kind, e) not in best or risk < best[w.kind, e][0]:
                best[w.kind, e] = risk, w
    return best


def _measure(w: Witness, scores, y, t: np.ndarray, epsilon: float, level: float, family: str, p) -> dict[str, Any]:
    """Risk and adversarial risk on a fresh sample, with one-sided ends."""

    def ends(hits, n):
        low, high = (clopper_pearson(int(hits), int(n), 1 - level, side) for side in ("lower", "upper"))
        return Number(float(hits / n), low, high)

    inside = w.inside(scores, y, t)
    adversarial = inside | (w.margins(scores, t) >= -epsilon - SLACK)
    found = {"adversarial_risk": ends(adversarial.sum(), len(y)), "risk": ends(inside.sum(), len(y))}
    if family == "per_class":
        found["class_risks"] = tuple(ends(inside[y == c].sum(), (y == c).sum()) for c in np.flatnonzero(p))
    return found
