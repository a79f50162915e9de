"""One classifier, several attacks, a list of epsilons, repeated trials: rows with exact intervals.

Every trial has images of its own and its own randomness, so that all trials together are one binomial sample: the
value is the mean over trials, the interval the exact one (Clopper and Pearson, 1934) of all images together.
An attack that fails proves nothing: its robust accuracy bounds the true one from above.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from irob import attacks
from irob.attacks import program
from irob.core import batch, check, keys, laws, registry
from irob.core.check import InputError, integer
from irob.core.promises import Ensemble
from irob.core.rows import Accuracy, InDistribution, Natural, Number, Robust, Row
from irob.core.store import Pieces, fingerprint, whole
from irob.core.threat import SLACK, LpBall, Threat
from irob.core.types import Classifier, Dataset, Generator
from irob.evaluation.accuracy import curves
from irob.math.confidence import clopper_pearson

SHOWN = 8  # adversarial images kept for figures


@dataclasses.dataclass(frozen=True)
class AttackPlan:
    """An attack with its options, on the first `samples` images of each trial.

    options: for `attacks.build`.  monotone: an image fooled at one epsilon counts as fooled at every larger one and is
    not attacked again, where the threat is nested; the published evaluation does not do so.
    chunk: examples at a time, which sets memory and speed and not the result; plans of equal chunk share a program.
    """

    attack: str
    samples: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    monotone: bool = True
    chunk: int | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What classifiers are evaluated on.

    data: at least trials times as many images as an attack takes; trial t takes a stretch of its own.
    epsilons: strengths of the threat.  threat: any; its own strength is not looked at.
    generator: for attacks that stay among what it draws.
    name: of the classifier in rows, by default its own.  section: of finished pieces, which are kept in `pieces`.
    label: of the progress, an empty one shows nothing.
    """

    data: Dataset
    epsilons: Sequence[float]
    threat: Threat = dataclasses.field(default_factory=lambda: LpBall("l2", 0.0))
    trials: int = 1
    generator: Generator | None = None
    name: str = ""
    section: str = "attack"
    pieces: Pieces = dataclasses.field(default_factory=Pieces)
    label: str = ""

    @property
    def radii(self) -> list[float]:
        """The strengths in rising order, each once."""
        return sorted(set(self.epsilons))

    def says(self, text: str) -> str:
        """A label of the progress, empty where nobody asked for one."""
        return self.label and f"{self.label} {text}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The images that one attack left robust, at each epsilon.

    robust: bool[trials, epsilons, samples].  x_adv: f[epsilons, m, H, W, C], images of trial 0 for figures.
    distance: f[trials, samples] of a minimum-norm attack, infinity where it found nothing; else None.
    broken_by: of an ensemble, at each epsilon how many images each member broke that were robust before.
    black_boxes: of what attacked, the names of those that do not differentiate the classifier.
    """

    plan: AttackPlan
    robust: np.ndarray
    x_adv: np.ndarray
    distance: np.ndarray | None = None
    broken_by: tuple[dict[str, int], ...] = ()
    black_boxes: tuple[str, ...] = ()


def interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact confidence interval of a proportion (Clopper and Pearson).

    >>> tuple(round(v, 4) for v in interval(0, 100))
    (0.0, 0.0362)
    """
    return clopper_pearson(successes, n, confidence)


def logits(classifier: Classifier, x: np.ndarray, *, chunk: int = 256, label: str = "") -> np.ndarray:
    """Logits f[n,K] of images f[n,H,W,C]."""
    with jax.default_matmul_precision("float32"):
        return batch.stream(lambda _, x: program.outputs(classifier, x), x, chunk=chunk, label=label)


def predictions(classifier: Classifier, x: np.ndarray, *, chunk: int = 256, label: str = "") -> np.ndarray:
    """Predicted classes i[n] of images f[n,H,W,C]."""
    return logits(classifier, x, chunk=chunk, label=label).argmax(-1)


def attacked(
    key: jax.Array, classifier: Classifier, plan: AttackPlan, on: Evaluation, data: Dataset, label: str = ""
) -> Outcome:
    """Runs one attack on the images of one trial, at every strength of the threat.

    The attack is built once and run at every strength of the threat.  Where the threat is nested, one of minimum norm
    is run at the largest alone, which serves them all and gives distances.
    """
    pieces, section, threat, radii = on.pieces, on.section, on.threat, on.radii
    attack = attacks.build(plan.attack, threat.at(radii[0]), **_with(plan, on.generator, data))
    nearest, carried = attack.minimum_norm and threat.nested, plan.monotone and threat.nested
    identity = {
        "attack": plan.attack, "code": registry.source(plan.attack, kind="attack"), "options": plan.options,
        "threat": threat.at(0.0).record(), "bounds": threat.bounds, "key": fingerprint(key),
        "classifier": fingerprint(classifier.variables), "module": classifier.name,
        "data": fingerprint((data.x, data.y, data.z)),
        "generator": whole(attack.generator) if attack.needs_generator else None,
    }
    runs = [radii[-1]] if nearest else radii
    alive = np.ones(len(data), bool)
    robust, images, distance, by = [], [], None, []
    for epsilon in runs:
        chosen = np.flatnonzero(alive) if carried else np.arange(len(data))
        settings = {**identity, "epsilon": epsilon, "examples": fingerprint(chosen)}
        state = pieces.state(section, settings) if isinstance(attack, Ensemble) else None
        work = functools.partial(
            _one, key, classifier, data, chosen, attack.at(epsilon), plan.chunk,
            f"{label} {plan.attack} ε={epsilon:g}" if label else "", state)
        found = pieces.get(section, settings, work)
        if isinstance(attack, Ensemble):
            broken = found.get("broken_by", np.zeros(0))
            by.append({name: int(np.sum(broken == i)) for i, name in enumerate(attack.names)})
        if nearest:
            distance = np.where(found["success"], found["distance"], np.inf)
        for radius in radii if nearest else [epsilon]:
            fooled = found["success"] & (found["distance"] <= radius + SLACK)  # what the threat grants to float noise
            left = np.ones(len(data), bool)
            left[chosen] = ~fooled
            alive = alive & left if carried else left
            robust.append(alive.copy())
            images.append(_first(found["x_adv"], chosen, data.x[:SHOWN], fooled))
    kept = None if distance is None else distance[None]
    if isinstance(attack, Ensemble):
        blind = attack.black_boxes
    else:
        blind = () if attack.needs_gradient else (plan.attack,)
    return Outcome(plan, np.stack(robust)[None], np.stack(images), kept, tuple(by), blind)


def latent(name: str) -> bool:
    """Whether an attack stays among the images that a generator draws."""
    return "generator" in attacks.takes(name)


def _with(plan: AttackPlan, generator: Generator | None, data: Dataset) -> dict[str, Any]:
    """The options to build the attack with: the plan's, the generator if it takes one, inversion without codes."""
    invert = data.z is None and "initialisation" in attacks.takes(plan.attack)
    inverted = {"initialisation": "inversion"} if invert else {}
    return {**inverted, **plan.options, **({"generator": generator} if latent(plan.attack) else {})}


def _one(key, classifier, data, chosen, attack, chunk, label, state=None) -> dict[str, Any]:
    """One run of an attack on the chosen examples, filled up to one chunk so that few examples need no new program."""
    count = len(chosen)
    if not count:
        empty = np.zeros(0)
        return {"success": empty.astype(bool), "distance": empty, "x_adv": np.zeros((0, *data.image_shape), np.float32)}
    chunk = chunk or (128 if jax.default_backend() == "cpu" else 1024)
    # An ensemble cuts what is left into pieces of its own.
    filled = chosen if isinstance(attack, Ensemble) else np.resize(chosen, max(count, min(chunk, len(data))))
    z = data.z[filled] if attack.needs_generator and data.z is not None else None
    result = attacks.run(
        attack, key, classifier, data.x[filled], data.y[filled], z, work=batch.Work(chunk, label), state=state)
    shown = int(np.sum(chosen < SHOWN))
    out = {"success": result.success[:count], "distance": result.distance[:count], "x_adv": result.x_adv[:shown]}
    return out if result.broken_by is None else {**out, "broken_by": result.broken_by[:count]}


def _first(x_adv: np.ndarray, chosen: np.ndarray, clean: np.ndarray, fooled: np.ndarray) -> np.ndarray:
    """Adversarial images of the first examples; the clean image where the attack failed or did not run."""
    images = np.array(clean)
    for image, place, hit in zip(x_adv, chosen, fooled):
        if place < len(images) and hit:
            images[place] = image
    return images


def evaluate(
    key: jax.Array, classifier: Classifier, plans: Sequence[AttackPlan], on: Evaluation
) -> tuple[list[Row], list[Outcome]]:
    """Rows: natural accuracy on all of the data, and for each plan and epsilon the accuracy that the attack left.

    Args:
        key: typed key; trial t uses fold_in(key, t).

    Raises:
        InputError: too few images, pixels outside [0,1], codes that are not finite or not those of the images, a
            radius that is negative or NaN.
        EvidenceError: an image robust under all attacks together that one of them fooled.
    """
    data, epsilons, threat, pieces = on.data, on.epsilons, on.threat, on.pieces
    trials = integer("trials", on.trials, low=1)
    if not epsilons or not plans:
        raise InputError("attack: got no epsilon or no attack, wanted at least one of each")
    size = max(integer("samples", p.samples, low=1) for p in plans)
    if len(data) < trials * size:
        raise InputError(f"images: got {len(data)}, wanted {trials} trials x {size}; lower --trials or --samples")
    keys.require(key)
    if classifier.image_shape is not None and tuple(classifier.image_shape) != tuple(data.image_shape):
        raise InputError(f"classifier {on.name or classifier.name}: takes images {tuple(classifier.image_shape)}, got "
                         f"{tuple(data.image_shape)} of data set {data.name}; choose another with --classifier")
    check.images(data.x, data.y, num_classes=classifier.num_classes)
    if data.z is not None:
        check.finite("codes z", data.z)
    for plan in plans:  # what cannot be built is said before any work
        attacks.build(plan.attack, threat.at(max(epsilons)), **_with(plan, on.generator, data))
    name = on.name or classifier.name
    seen = pieces.get(f"{on.section}-natural", {
        "classifier": fingerprint(classifier.variables), "module": classifier.name, "x": fingerprint(data.x),
    }, lambda: {"y": predictions(classifier, data.x)})["y"]
    right = seen == data.y
    clean = right[:trials * size].reshape(trials, size)
    radii = on.radii
    outcomes = []
    for plan in plans:
        parts = []
        for t in range(trials):
            part = data.take(slice(t * size, t * size + plan.samples))
            parts.append(attacked(
                jax.random.fold_in(key, t), classifier, plan, on, part,
                f"{on.label}, trial {t + 1}/{trials}:" if on.label and trials > 1 else on.label))
        outcomes.append(_joined(parts))

    def row(kind: type[Accuracy], kept: np.ndarray, method: str, epsilon: float | None = None, **detail: Any) -> Row:
        """The row of an accuracy.  kept: bool[trials, samples], which images were answered rightly."""
        spread = float(np.std(kept.mean(axis=1), ddof=1)) if len(kept) > 1 else None
        where = None if epsilon is None else threat.at(epsilon).record()
        number = Number(float(kept.mean()), *interval(int(kept.sum()), kept.size), kept.size)
        return kind(trials=len(kept), std=spread, **detail).row(data.name, name, where, number, method)

    rows = []
    if len(data) > clean.size:
        rows.append(row(Natural, right[None], "clean"))
    rows += [row(Natural, clean[:, :n], "clean") for n in sorted({p.samples for p in plans}, reverse=True)]
    for o in outcomes:
        kind = InDistribution if latent(o.plan.attack) else Robust
        for i, epsilon in enumerate(radii):
            more = _curve(o, radii[-1]) if i == 0 else {}
            more |= {"broken_by": o.broken_by[i]} if o.broken_by else {}
            rows.append(row(kind, o.robust[:, i], o.plan.attack, epsilon, risk=1 - rows[0].value,
                            options=o.plan.options, **more))
    rows += _together(outcomes, radii, functools.partial(row, risk=1 - rows[0].value))
    laws.inside_is_above_outside(rows)
    return rows, outcomes


def _joined(trials: Sequence[Outcome]) -> Outcome:
    """The trials of one plan as one outcome; images are those of the first."""
    first, *_ = trials
    distance = None if first.distance is None else np.concatenate([t.distance for t in trials])
    by = tuple({k: sum(c[k] for c in counts) for k in counts[0]} for counts in zip(*(t.broken_by for t in trials)))
    return Outcome(first.plan, np.concatenate([t.robust for t in trials]), first.x_adv, distance, by, first.black_boxes)


def _curve(outcome: Outcome, largest: float) -> dict[str, Any]:
    """The whole curve over epsilon that a minimum-norm attack gives, for the first of its rows."""
    if outcome.distance is None:
        return {}
    curve = curves.from_distances(outcome.distance.ravel(), largest=largest)
    fields = ("epsilons", "robust", "low", "high", "band_low", "band_high")
    return {"curve": {f: tuple(round(float(v), 6) for v in vars(curve)[f]) for f in fields}}


def _together(outcomes: Sequence[Outcome], radii: Sequence[float], row) -> list[Row]:
    """Accuracy under several attacks together, on the examples that all of them saw: those in distribution, those
    that may use any image, and all.

    An in-distribution example is an image within epsilon like any other, so it counts; `missed` says on how many
    images it succeeded where the attacks that may use every image did not.
    """
    inside = [o for o in outcomes if latent(o.plan.attack)]
    outside = [o for o in outcomes if not latent(o.plan.attack)]
    out = []
    for i, epsilon in enumerate(radii):
        for kind, group in ((InDistribution, inside), (Robust, outside)):
            if len(group) > 1:
                out.append(row(kind, _left(group, i), _named(group), epsilon))
        if inside and outside:
            n = min(o.plan.samples for o in outcomes)
            free, caught = _left(outside, i)[:, :n], _left(inside, i)[:, :n]
            out.append(row(Robust, free & caught, _named([*outside, *inside]), epsilon,
                           missed=int(np.sum(free & ~caught))))
    return out


def _left(group: Sequence[Outcome], i: int) -> np.ndarray:
    """bool[trials, n]: what all attacks of a group left, on the examples that all of them saw."""
    n = min(o.plan.samples for o in group)
    return np.all([o.robust[:, i, :n] for o in group], axis=0)


def _named(group: Sequence[Outcome]) -> str:
    return " + ".join(o.plan.attack for o in group)
