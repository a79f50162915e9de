"""The report: its sections one after the other, in pieces that a killed run finds again.

    run(ReportPlan(sections, generator=...), folder=...) -> Outcome
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

<<<<<<< HEAD
from irob import bounds
from irob.core import weights
=======
import jax
import numpy as np

from irob import bounds, classifiers, generators
from irob.core import keys, registry, weights
from irob.core.check import InputError, unknown
>>>>>>> laws
from irob.core.evidence import Report, Row
from irob.core.provenance import provenance
<<<<<<< HEAD
from irob.evaluation import attack, limits, robustness
=======
from irob.core.types import Classifier, Dataset, Generator
from irob.data import generated
from irob.evaluation import (
    attack,
    certify,
    codes,
    doubts,
    estimate,
    label_limit,
    label_lower,
    limits,
    robustness,
    sides,
    trained,
    users,
)
from irob.evaluation import certified as certifying
>>>>>>> laws
from irob.evaluation.pieces import Pieces
from irob.evaluation.section import Clock, Context, Findings, ReportPlan
from irob.report.model import Block


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A report that passed its laws, what its sections show, what it discovered and what it left out."""

    report: Report
    blocks: tuple[Block, ...]
    discoveries: tuple[str, ...]
    omitted: tuple[str, ...]


<<<<<<< HEAD
=======
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
    """Figure 1: images f[rows, components, H, W, C], every one a fresh draw."""
    y = np.tile(np.arange(generator.components, dtype=np.int32), rows)
    z = jax.random.normal(key, (len(y), generator.latent_dim))
    return generated.images(generator, np.asarray(z), y).reshape(rows, generator.components, *generator.image_shape)


def present(names: Sequence[str], kind: str, omitted: list[str]) -> list[str]:
    """Those whose weights are there; a sentence for each of the others."""
    out = []
    for name in names:
        try:
            if not registry.is_outside(name):
                weights.resolve(name)
        except InputError:
            omitted.append(f"{kind} {name}: its weights are not shipped yet; this run says nothing about it.")
        else:
            out.append(name)
    return out


>>>>>>> laws
def run(
    plan: ReportPlan,
    sizes: Mapping[str, Any] | None = None,
    *,
    folder: pathlib.Path | None = None,
    resume: bool = True,
    shown: Callable[[Outcome], object] | None = None,
) -> Outcome:
    """Measures every section and holds the rows against the laws.

    Args:
        sizes: of sections by name, in the place of the preset's.
        folder: of the report; finished pieces are kept in its folder `pieces`.
        resume: use pieces that are there.
        shown: called with what there is after every section.

    Raises:
        InputError: a name that was given and is not there; a generator whose codes are not Gaussian.
        EvidenceError: rows that contradict a theorem.
    """
<<<<<<< HEAD
    dataset, source = attack.drawn(plan.dataset, plan.generator, plan.resize)
    plan = dataclasses.replace(plan, dataset=dataset)
    chosen = {s.name: (sizes or {}).get(s.name) or s.sizes(plan.preset, dataset) for s in plan.sections}
    assumed = bounds.gaussian_latent(source.latent, plan.assume_gaussian)
    source = dataclasses.replace(source, latent=bounds.GAUSSIAN)
    for section in plan.sections:
        section.check(plan, chosen[section.name])
    count = max((s.images(chosen[s.name]) for s in plan.sections), default=1)
    clock, pieces = Clock(), Pieces(folder / "pieces" if folder else None, resume)
    test = clock.run("test images", attack.load, dataset, count, generator=source, data_dir=plan.data_dir,
                     seed=plan.seed)
    context, found = Context(plan, source, test, pieces, clock, folder=folder), dict[str, Findings]()
    outcome = None
    for section in sorted(plan.sections, key=lambda s: s.place):
        found[section.name] = section.measure(context, chosen[section.name])
        context = dataclasses.replace(context, rows=_rows(plan, found))
        outcome = _outcome(context, chosen, found, assumed)
        if shown:
            shown(outcome)
    return outcome or _outcome(context, chosen, found, assumed)


def _rows(plan: ReportPlan, found: Mapping[str, Findings]) -> tuple[Row, ...]:
    """The rows of all sections in the order of the page."""
    order = sorted((s for s in plan.sections if s.name in found), key=lambda s: s.place)
    return tuple(r for s in order for r in found[s.name].rows)


def _outcome(context: Context, sizes: Mapping[str, Any], found: Mapping[str, Findings], assumed) -> Outcome:
    """What there is so far, held against the laws."""
    plan, rows = context.plan, limits.noted(context.rows, assumed)
    omitted = (*assumed, *(note for f in found.values() for note in f.notes))
    used = {plan.generator: weights.sha256(weights.resolve(plan.generator))}
    for f in found.values():
        used |= f.used
=======
    omitted: list[str] = []
    for section in sections:
        if section not in SECTIONS:
            raise unknown("section", section, SECTIONS)
    clock, pieces = Clock(), Pieces(folder, resume)
    dataset, source = attack.drawn(dataset, generator, resize)
    assumed = bounds.gaussian_latent(source.latent, assume_gaussian)
    source = dataclasses.replace(source, latent=bounds.GAUSSIAN) if assumed else source
    omitted += assumed
    names = list(models)
    if "classifiers" not in sections:
        names = []
    elif not names and train and folder and dataset in trained.DATASETS:
        names = clock.section("classifiers", trained.train, dataset, source, preset=train,
                              folder=folder.parent / "classifiers", pieces=pieces, seed=seed)
    elif not names:
        names = present([f"{dataset}_{m}" for m in METHODS], "classifier", omitted)
    loaded = {name: users.named(name, source.image_shape) for name in names}
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
    if tuple(test.image_shape) != tuple(source.image_shape):
        raise InputError(f"data set {dataset!r}: got images {tuple(test.image_shape)}, wanted "
                         f"{tuple(source.image_shape)} as the generator {generator!r} draws them")
    warnings: list[str] = []
    rows, pictures = measure(
        keys.from_seed(seed), preset, generators={generator: source} | {n: generators.load(n) for n in other},
        models=loaded, checkpoints=along, test=test, pieces=pieces, clock=clock, omitted=omitted, warnings=warnings,
        judge=judge_of(test, omitted), sections=sections)
    used = {name: weights.checksum(name) for name in [generator, *other]}
    if "limits" in sections:
        found, shown = limited(
            preset, source, test, rows, name=generator, unconditional=unconditional, certified=certified, seed=seed,
            alpha=alpha, confidence=confidence, pieces=pieces, clock=clock, omitted=omitted)
        rows += found
        used |= {name: weights.checksum(name) for name in shown}
    used |= {name: weights.checksum(name if registry.is_outside(name) else classifiers.resolve(name))
             for name in [*loaded, *along]}
>>>>>>> laws
    record = provenance(
        seed=plan.seed, matmul_precision="float32", preset=plan.preset, sizes={n: _plain(s) for n, s in sizes.items()},
        generator=plan.generator, dataset=plan.dataset, weights=used, omitted=omitted,
        seconds=dict(context.clock.seconds),
        **{"pieces reused": context.pieces.reused, "pieces computed": context.pieces.computed})
    report = Report(tuple(rows), record)
    report.check()
    warnings = (w for f in found.values() for w in f.warnings)
    discovered = (*warnings, *robustness.discoveries(rows), *limits.discoveries(rows))
    order = sorted((s for s in plan.sections if s.name in found), key=lambda s: s.place)
    blocks = tuple(b for s in order for b in s.blocks(rows, found[s.name].pictures))
    return Outcome(report, blocks, discovered, omitted)


<<<<<<< HEAD
def _plain(sizes: Any) -> Any:
    """Sizes as JSON has them."""
    return dataclasses.asdict(sizes) if dataclasses.is_dataclass(sizes) and not isinstance(sizes, type) else sizes
=======
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
    if not codes.certifiable(source):
        omitted.append(f"certified constants of {name}: its layers are not known, so its limit is an estimate; "
                       "list them with generators.from_layers.")
    second = present([certified], "certified generator", omitted) if certified and certified != name else []
    out = clock.section(f"label limit of {name}", labels, key, source, preset, dataset=test.name,
                        confidence=confidence, pieces=pieces)
    for shown, g, dataset in ((name, source, test.name), *((c, generators.load(c), c) for c in second)):
        out += clock.section(
            f"limit of {shown}, from both sides", sides.both, keys.named(key, "limits"), g, preset.limits,
            risks if g is source else risks[:1], fresh=preset.fresh, dataset=dataset, name=shown,
            confidence=confidence, pieces=pieces, label=shown)
    other = present([unconditional], "unconditional generator", []) if unconditional else []
    try:
        out += clock.section(
            "earlier bounds", sides.earlier, keys.named(key, "earlier"), test, out, alpha=alpha,
            epsilons=preset.limits.epsilons, unconditional=generators.load(other[0]) if other else None,
            judge=judge_of(test, []), radius=preset.radius, confidence=confidence, label="earlier bounds")
    except InputError as e:  # too few images
        omitted.append(f"earlier bounds: left out ({e})")
    return out, [name, *second, *other]


def labels(
    key: jax.Array, source: Generator, preset: Preset, *, dataset: str, confidence: float, pieces: Pieces
) -> list[Row]:
    """Both ends of label robustness: what no classifier keeps, and what the best of the certified ones does."""
    key = keys.named(key, "label limit")  # as `irob limit` has it
    job = label_limit.Job(preset.label_epsilons, preset.norm, confidence, grid=0)
    rows = label_limit.of_generator(
        key, source, job, preset.labels, dataset=dataset, pieces=pieces, label=dataset)
    if preset.norm == "l2":
        rows += label_lower.rows(
            keys.named(key, "certified"), source, epsilons=preset.label_epsilons, confidence=confidence,
            samples=preset.kept, choice=max(1, preset.kept // 4), dataset=dataset,
            label=f"{dataset}, certified classifiers")
    return [dataclasses.replace(r, detail={**r.detail, "section": "limits"}) for r in rows]


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
    low, high = robustness.interval(int(right.sum()), len(right))
    return Row(
        data.name, name, "none", tables.INTENDED, float(right.mean()), "exact", False, JUDGE, low, high, len(right))


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
    if registry.is_outside(name):
        return []
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
            "dataset": dataset, "protocol": protocol, "epsilons": preset.epsilons, "norm": preset.norm}
        found = tables.select(rows, tables.LIPSCHITZ, model=name, protocol=protocol)
        values = {r.detail["class"] or 0: r.value for r in found}
        out += limits.limit_rows(
            values, label_of=generators[name].label_of, alphas=alphas, radius=preset.radius, delta=preset.delta,
            confidence=math.prod(r.detail["confidence"] ** r.detail["trials"] for r in found), **common)
        for r in (r for other in others for r in tables.select(rows, tables.LIPSCHITZ, model=other, protocol=protocol)):
            out += limits.fawzi_rows(r.value, classes=max(2, generators[name].num_classes), **common)
    return out
>>>>>>> laws
