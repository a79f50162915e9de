"""The whole report: constants, classifiers, checkpoints, limits, in pieces that a killed run finds again.

    run(preset, generator=..., classifiers=..., dataset=..., seed=..., folder=...) -> Outcome

Sections whose weights are not there are left out with a sentence.
"""

import dataclasses
import functools
import json
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from irob import bounds, classifiers, generators
from irob.core import keys, laws, published, weights
from irob.core.check import InputError, unknown
from irob.core.evidence import Report
from irob.core.progress import say
from irob.core.provenance import provenance
from irob.core.rows import IntendedShare, Number, Quantity, Row, select
from irob.core.threat import LpBall
from irob.core.types import Classifier, Dataset, Generator
from irob.data import generated
from irob.evaluation import (
    attack,
    certify,
    doubts,
    estimate,
    label_limit,
    label_lower,
    limits,
    robustness,
    sides,
    trained,
)
from irob.evaluation import certified as certifying
from irob.evaluation.comparison import Question
from irob.evaluation.pieces import Pieces, Task
from irob.evaluation.presets import Preset

T = TypeVar("T")
JUDGE, UNCONDITIONAL = "mnist_standard", "gan_mnist"
METHODS = ("standard", "lp_certify", "adv", "trades")  # classifiers that are looked for by default
GRID = 10  # images of each class in Figure 1
CERTIFIED = "lipgan_mnist"  # its constant is certified everywhere, so both ends of its limit are
SECTIONS = ("constants", "classifiers", "limits")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A report that passed its laws, its pictures, what it discovered and what it left out."""

    report: Report
    pictures: dict[str, Any]
    discoveries: tuple[str, ...]
    omitted: tuple[str, ...]


class Clock:
    """Says which section is at work and what each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def section(self, name: str, work: Callable[..., T], /, *args: Any, **keywords: Any) -> T:
        """work(*args, **keywords), timed under `name`."""
        say(f"{name} ...")
        start = time.perf_counter()
        try:
            return work(*args, **keywords)
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 2)
            say(f"{name}: {self.seconds[name]:.1f} s")


def grid(key: jax.Array, generator: Generator, rows: int = GRID) -> np.ndarray:
    """Figure 1: images f[rows, classes, H, W, C], every one a fresh draw."""
    y = np.tile(np.arange(generator.num_classes, dtype=np.int32), rows)
    z = jax.random.normal(key, (len(y), generator.latent_dim))
    return generated.images(generator, np.asarray(z), y).reshape(rows, generator.num_classes, *generator.image_shape)


def present(names: Sequence[str], kind: str, omitted: list[str]) -> list[str]:
    """Those whose weights are there; a sentence for each of the others."""
    out = []
    for name in names:
        try:
            weights.resolve(name)
        except InputError:
            omitted.append(f"{kind} {name}: its weights are not shipped yet; this run says nothing about it.")
        else:
            out.append(name)
    return out


def run(
    preset: Preset,
    *,
    generator: str = "acgan_mnist",
    unconditional: str = UNCONDITIONAL,
    models: Sequence[str] = (),
    dataset: str = "mnist_gen",
    data_dir: str = "",
    resize: str = "",
    seed: int = 0,
    folder: pathlib.Path | None = None,
    resume: bool = True,
    sections: Sequence[str] = SECTIONS,
    alpha: float = limits.PAPER_ALPHA,
    confidence: float = 0.95,
    certified: str = CERTIFIED,
    assume_gaussian: bool = False,
    train: str = "",
) -> Outcome:
    """From names to a report: loads what is there, measures, holds the rows against the laws.

    Args:
        preset: sizes.
        generator, unconditional: shipped names or folders; the second may be missing.
        models: classifiers; none given means those shipped for the data set.
        folder: where finished pieces are kept.
        sections: "constants" (Table 1), "classifiers" (Table 3), "limits" (the limit from both sides).
        alpha: natural risk of the limits, in (0, 1).  confidence: of every certified end, in (0, 1).
        certified: a second generator for the section "limits", one whose constant is certified; "" for none.
        train: preset by which classifiers are trained for data sets that none are shipped for; "" for not at all.

        assume_gaussian: take a generator of other codes for one of Gaussian ones, and record that with every bound.

    Raises:
        InputError: a name that was given and is not there; a generator whose codes are not Gaussian.
        EvidenceError: rows that contradict a theorem.
    """
    omitted: list[str] = []
    for section in sections:
        if section not in SECTIONS:
            raise unknown("section", section, SECTIONS)
    clock, pieces = Clock(), Pieces(folder, resume)
    dataset, source = attack.drawn(dataset, generator, resize)
    assumed = bounds.gaussian_latent(source.latent, assume_gaussian)
    source = dataclasses.replace(source, latent=bounds.GAUSSIAN)
    omitted += assumed
    names = list(models)
    if "classifiers" not in sections:
        names = []
    elif not names and train and folder and dataset in trained.DATASETS:
        names = clock.section("classifiers", trained.train, dataset, source, preset=train,
                              folder=folder.parent / "classifiers", pieces=pieces, seed=seed)
    elif not names:
        names = present([f"{dataset}_{m}" for m in METHODS], "classifier", omitted)
    loaded = {name: classifiers.load(name) for name in names}
    along: dict[str, Classifier] = {}
    # Figure 2 follows the robust training methods, as the paper's does.
    for name in [n for n in names if published.method(n)] or names:
        saved = spread(before_the_end(name), preset.checkpoints)
        along |= {f"{name}@{epoch}": classifiers.load(f"{name}@{epoch}") for epoch in saved}
        if not saved:
            omitted.append(f"checkpoints of {name}: none are there, so Figure 2 shows the final classifier only.")
    other = [unconditional] if unconditional and "constants" in sections else []
    if other == [UNCONDITIONAL]:
        other = present(other, "unconditional generator", omitted)
    count = max(preset.natural, preset.trials * max(a.images for a in preset.attacks))
    test = clock.section(
        "test images", attack.load, dataset, count, generator=source, data_dir=data_dir, seed=seed)
    warnings: list[str] = []
    rows, pictures = measure(
        keys.from_seed(seed), preset, generators={generator: source} | {n: generators.load(n) for n in other},
        models=loaded, checkpoints=along, test=test, pieces=pieces, clock=clock, omitted=omitted, warnings=warnings,
        judge=judge_of(test, omitted), sections=sections)
    used = {name: sha256(weights.resolve(name)) for name in [generator, *other]}
    if "limits" in sections:
        found, shown = limited(
            preset, source, test, rows, name=generator, unconditional=unconditional, certified=certified, seed=seed,
            alpha=alpha, confidence=confidence, pieces=pieces, clock=clock, omitted=omitted)
        rows += found
        used |= {name: sha256(weights.resolve(name)) for name in shown}
    used |= {name: sha256(classifiers.resolve(name)) for name in [*loaded, *along]}
    record = provenance(
        seed=seed, matmul_precision="float32", preset=dataclasses.asdict(preset), generator=generator,
        dataset=dataset, weights=used, omitted=omitted,
        seconds=clock.seconds, **{"pieces reused": pieces.reused, "pieces computed": pieces.computed})
    report = Report(tuple(limits.noted(rows, assumed)), record)
    report.check()
    discovered = (*warnings, *laws.missed_by_attacks(rows), *laws.classifiers_above_measured_limits(rows))
    return Outcome(report, pictures, discovered, tuple(omitted))


def measure(
    key: jax.Array,
    preset: Preset,
    *,
    generators: dict[str, Generator],
    models: dict[str, Classifier],
    checkpoints: dict[str, Classifier],
    test: Dataset,
    pieces: Pieces,
    clock: "Clock",
    omitted: list[str],
    warnings: list[str] | None = None,
    judge: Classifier | None = None,
    sections: Sequence[str] = SECTIONS,
) -> tuple[list[Row], dict[str, Any]]:
    """Every section, from values: rows and pictures.

    generators: the conditional one first, then perhaps an unconditional one.  checkpoints: "name@epoch" to model.
    judge: a classifier trained on real images, which says how many generated ones show what they were drawn for.
    """
    (name, g), *others = generators.items()
    pictures: dict[str, Any] = {"samples": clock.section("sample images", grid, keys.named(key, "figure 1"), g)}
    sizes = estimate.Plan(preset.codes, preset.neighbours, preset.radius, preset.delta, preset.lipschitz_trials)
    rows: list[Row] = []
    constants = generators if "constants" in sections else {}
    for title, other in zip(("Lipschitz constants", *["unconditional generator"] * len(others)), constants):
        rows += clock.section(
            title, estimate.estimate, keys.named(key, "lipschitz"), generators[other], sizes, dataset=test.name,
            name=other, pieces=pieces, label=other).rows
    if judge is not None:
        rows.append(clock.section("intended labels", intended, judge, test, name))

    if test.z is None:
        omitted.append(f"attacks in distribution: {test.name} has no latent codes.")
    plans, fewer = ([
        robustness.Plan(a.name, a.images, a.options, chunk=preset.chunk) for a in chosen
        if test.z is not None or not robustness.latent(a.name)
    ] for chosen in (preset.attacks, preset.checkpoint_attacks))
    attacked = functools.partial(
        robustness.evaluate, keys.named(key, "attack"), epsilons=preset.epsilons, norm=preset.norm, generator=g,
        pieces=pieces)
    for model, classifier in models.items():
        found, outcomes = clock.section(
            model, attacked, classifier, test, plans, trials=preset.trials, name=model, label=model)
        rows += found
        pictures["pairs"] = pairs(test.x, outcomes)
        if warnings is not None:
            doubtful = doubts.of(keys.named(key, "examine"), classifier, test, outcomes, epsilons=preset.epsilons)
            warnings += [f"{model}: {w.code}: {w.message}" for w in doubtful]
        if preset.certified:
            rows += clock.section(
                f"{model}, certified", proved, keys.named(key, "certify"), classifier, test, outcomes, preset,
                model=model, pieces=pieces, omitted=omitted)
    for at, classifier in checkpoints.items():
        part = test.take(preset.checkpoint_natural)
        rows += clock.section(at, attacked, classifier, part, fewer, name=at, section="checkpoint", label=at)[0]
    if constants:
        rows += bound_rows(rows, preset, generators, test.name, omitted)
    return rows, pictures


def proved(
    key: jax.Array, classifier: Classifier, test: Dataset, outcomes: Sequence[robustness.Outcome], preset: Preset, *,
    model: str, pieces: Pieces, omitted: list[str],
) -> list[Row]:
    """Certified accuracy by the tightest certifier that the layers allow, held against the attacks image by image."""
    part = test.take(preset.certified)
    saw = [o.robust[0][:, :len(part)] for o in outcomes if o.plan.samples >= len(part)]
    try:
        plan = certify.Plan(certifying.best(classifier, part, preset.norm, None))
        return certify.evaluate(
            key, classifier, part, [plan], epsilons=preset.epsilons, norm=preset.norm, name=model, pieces=pieces,
            beside=np.all(saw, axis=0) if saw else None, label=model)[0]
    except InputError as e:
        omitted.append(f"certificates of {model}: {e}.")
        return []


def limited(
    preset: Preset,
    source: Generator,
    test: Dataset,
    rows: Sequence[Row],
    *,
    name: str,
    unconditional: str,
    certified: str,
    seed: int,
    alpha: float,
    confidence: float,
    pieces: Pieces,
    clock: "Clock",
    omitted: list[str],
) -> tuple[list[Row], list[str]]:
    """The section "limits": rows, and the names of the generators that they took.

    rows: of the other sections; the measured risk is taken from them.
    """
    key = keys.from_seed(seed)
    risks = [limits.Risk(alpha, "as in the paper" if alpha == published.settings(test.name).alpha else "as asked for")]
    risks += [r for r in [limits.measured_risk(rows)] if r]
    second = present([certified], "certified generator", omitted) if certified and certified != name else []
    out = clock.section(f"label limit of {name}", labels, key, source, preset, dataset=test.name,
                        confidence=confidence, pieces=pieces)
    for shown, g, dataset in ((name, source, test.name), *((c, generators.load(c), c) for c in second)):
        out += clock.section(
            f"limit of {shown}, from both sides", sides.both, keys.named(key, "limits"), g, preset.limits,
            risks if g is source else risks[:1], fresh=preset.fresh, name=shown, confidence=confidence,
            task=Task(dataset, pieces, shown))
    other = present([unconditional], "unconditional generator", []) if unconditional else []
    try:
        out += clock.section(
            "earlier bounds", sides.earlier, keys.named(key, "earlier"), test, out,
            Question(preset.limits.epsilons, alpha, confidence=confidence),
            unconditional=generators.load(other[0]) if other else None, judge=judge_of(test, []), radius=preset.radius,
            label="earlier bounds")
    except InputError as e:  # too few images
        omitted.append(f"earlier bounds: left out ({e})")
    return out, [name, *second, *other]


def labels(
    key: jax.Array, source: Generator, preset: Preset, *, dataset: str, confidence: float, pieces: Pieces
) -> list[Row]:
    """Both ends of label robustness: what no classifier keeps, and what the best of the certified ones does."""
    key = keys.named(key, "label limit")  # as `irob limit` has it
    job, task = label_limit.Job(preset.label_epsilons, preset.norm, confidence, grid=0), Task(dataset, pieces, dataset)
    rows = label_limit.of_generator(key, source, job, preset.labels, task=task)
    if preset.norm == "l2":
        rows += label_lower.rows(
            keys.named(key, "certified"), source, epsilons=preset.label_epsilons, confidence=confidence,
            samples=preset.kept, choice=max(1, preset.kept // 4),
            task=dataclasses.replace(task, label=task.says("certified classifiers")))
    return [dataclasses.replace(r, section="limits") for r in rows]


def judge_of(data: Dataset, omitted: list[str]) -> Classifier | None:
    """The shipped classifier of real images, if it is there and the data are of its kind."""
    if not present([JUDGE], "judge of intended labels", omitted):
        return None
    judge = classifiers.load(JUDGE)
    fits = (judge.image_shape, judge.num_classes) == (data.image_shape, data.num_classes)
    return judge if fits and data.z is not None else None


def intended(judge: Classifier, data: Dataset, name: str) -> Row:
    """The share of generated images that a classifier trained on real ones gives the label they were drawn for."""
    right = robustness.predictions(judge, data.x) == data.y
    number = Number(float(right.mean()), *robustness.interval(int(right.sum()), len(right)), len(right))
    return IntendedShare().row(data.name, name, None, number, JUDGE)


def sha256(folder: pathlib.Path) -> str:
    """The checksum that stands beside the weights of a folder."""
    return str(json.loads((folder / weights.CONFIG).read_text(encoding="utf-8"))["sha256"])


def pairs(clean: np.ndarray, outcomes: Sequence[robustness.Outcome]) -> dict[str, np.ndarray]:
    """Clean and adversarial images at the largest epsilon, of examples on which every attack succeeded if possible."""
    shown = min(o.x_adv.shape[1] for o in outcomes)
    changed = np.all([np.any(o.x_adv[-1][:shown] != clean[:shown], axis=(1, 2, 3)) for o in outcomes], axis=0)
    order = np.argsort(~changed, kind="stable")[:6]
    captions = {"pgd": "PGD", "in_distribution": "in-dist.", "manifold": "manifold", "autoattack": "AutoAttack"}
    out = {"clean": clean[:shown][order]}
    return out | {captions.get(o.plan.attack, o.plan.attack): o.x_adv[-1][order] for o in outcomes}


def before_the_end(name: str) -> list[str]:
    """The checkpoints of a classifier, without one of its last epoch, which is the classifier itself.

    Where training started from other weights, the checkpoints are those of the training before.
    """
    recipe = json.loads((classifiers.resolve(name) / weights.CONFIG).read_text(encoding="utf-8")).get("recipe", {})
    last = None if recipe.get("init") else str(recipe.get("epochs"))
    return [epoch for epoch in classifiers.checkpoints(name) if epoch != last]


def spread(values: Sequence[T], count: int) -> list[T]:
    """At most `count` of the values, in their order, evenly spread, the last one included.

    >>> spread([5, 10, 15, 20, 25], 3)
    [5, 15, 25]
    """
    if count < 1 or not values:
        return []
    places = np.unique(np.round(np.linspace(len(values) - 1, 0, min(count, len(values)))).astype(int))
    return [values[i] for i in places]


def bound_rows(
    rows: Sequence[Row], preset: Preset, generators: dict[str, Generator], dataset: str, omitted: list[str]
) -> list[Row]:
    """Theorem 4.4 at the measured risk and at the paper's, and Fawzi's bounds for the unconditional generator.

    A constant is the mean over trials, at least the least of them, so it covers its quantile where every trial does;
    codes of different trials and classes are independent, so the chances multiply.
    """
    alphas = {published.settings(dataset).alpha: (False, "as in the paper")}
    measured = limits.measured_alpha(rows)
    if measured is None:
        omitted.append("bound at the measured risk: no classifier was there to measure it.")
    else:
        alphas = {measured[0]: (True, measured[1])} | {a: v for a, v in alphas.items() if a != measured[0]}
    name, *others = generators
    out: list[Row] = []
    for protocol in limits.PROTOCOLS:
        common: dict[str, Any] = {
            "dataset": dataset, "protocol": protocol, "balls": [LpBall(preset.norm, e) for e in preset.epsilons]}
        found = select(rows, Quantity.LIPSCHITZ, model=name, protocol=protocol)
        values = {r.detail.class_index or 0: r.value for r in found}
        out += limits.limit_rows(
            values, alphas=alphas, radius=preset.radius, delta=preset.delta,
            confidence=math.prod(r.detail.confidence ** r.detail.trials for r in found), **common)
        for r in (r for other in others for r in select(rows, Quantity.LIPSCHITZ, model=other, protocol=protocol)):
            out += limits.fawzi_rows(r.value, classes=max(2, generators[name].num_classes), **common)
    return out
