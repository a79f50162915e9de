"""Table 3 and Figure 2: classifiers, clean, attacked and certified, against the limits that no classifier passes."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from irob import classifiers
from irob.core import published, registry, weights
from irob.core.check import InputError
from irob.core.rows import Quantity, Row, select
from irob.core.threat import LpBall
from irob.core.types import Classifier
from irob.evaluation import shipped, trained, users
from irob.evaluation.accuracy import attacked, certified, doubts
from irob.evaluation.section import Context, Findings, ReportPlan, Section, present
from irob.evaluation.verbs import certify as certify_verb
from irob.report import attacks, curves, figures, table3, tables
from irob.report.model import Block, tabled

T = TypeVar("T")
METHODS = ("standard", "lp_certify", "adv", "trades")  # classifiers that are looked for by default
CAPTIONS = {"pgd": "PGD", "in_distribution": "in-dist.", "manifold": "manifold", "autoattack": "AutoAttack"}
PAPER = {"protocol": "paper"}  # of the in-distribution attack: the published procedure


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack by name, on so many images of each trial, with its options."""

    name: str
    images: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """natural: images for natural accuracy.  attacks: equal numbers are the same images, so that attacks can be held
    against each other.  checkpoints: how many along training, with which images and attacks.  certified: images that
    are certified.  chunk: images at a time; numbers of images are multiples of it, so that one program serves them all
    and nothing is filled up.
    """

    natural: int
    trials: int
    attacks: tuple[Attack, ...]
    checkpoints: int = 0
    checkpoint_natural: int = 1000
    checkpoint_attacks: tuple[Attack, ...] = ()
    certified: int = 0
    chunk: int | None = 50
    shipped: bool = False  # take AutoAttack and certificates from the results that came with irob
    epsilons: tuple[float, ...] = (1.0, 2.0, 3.0)
    norm: str = "l2"


def _inside(images: int, steps: int) -> Attack:
    """The search "metric", and the manifold attack, take the Jacobian, 120 derivatives; "adaptive" is Adam."""
    return Attack("in_distribution", images, {"search": "adaptive", "steps": steps})


_LONG = (Attack("pgd", 10_000, {"steps": 100, "restarts": 2}), Attack("autoattack", 1000),
         Attack("in_distribution", 1000, PAPER), Attack("manifold", 1000))
_ALONG = (Attack("pgd", 2000, {"steps": 100}), Attack("manifold", 500))
IMAGENET10 = {  # BigGAN takes a third of a second an image on a core
    "quick": Sizes(500, 1, (Attack("pgd", 100, {"steps": 40}), _inside(20, 40)), chunk=20),
    "standard": Sizes(5000, 3, (Attack("pgd", 300, {"steps": 100}), Attack("autoattack", 60), _inside(60, 100)),
                      chunk=60),
    "paper": Sizes(10_000, 1, _LONG, 100, 10_000, _ALONG, chunk=None),
}


PRESETS = {
    "quick": Sizes(
        2000, 1, (Attack("pgd", 100, {"steps": 40}), Attack("manifold", 20)), 2, 1000,
        (Attack("pgd", 50, {"steps": 40}),), certified=20, shipped=True),
    "standard": Sizes(
        10_000, 3, (Attack("pgd", 300, {"steps": 100}), Attack("autoattack", 300),
                    Attack("in_distribution", 300, PAPER), Attack("manifold", 300)), 5, 5000,
        (Attack("pgd", 100, {"steps": 100}), Attack("manifold", 100)), certified=100),
    "paper": Sizes(100_000, 10, _LONG, 100, 10_000, _ALONG, certified=1000, chunk=None),
}


class Classifiers(Section):
    """Natural accuracy, attacks, certificates, and checkpoints along training."""

    name, place = "classifiers", 20.0
    presets = PRESETS

    def sizes(self, preset: str, dataset: str) -> Sizes:
        """Those of the data set."""
        sizes = super().sizes(preset, dataset)
        return IMAGENET10[preset] if dataset == "imagenet10_gen" else sizes

    def images(self, sizes: Sizes) -> int:
        """Enough for every trial to have its own."""
        return max(sizes.natural, sizes.trials * max(a.images for a in sizes.attacks))

    def check(self, plan: ReportPlan, sizes: Sizes) -> None:
        """Classifiers that were named must be there and whole."""
        for name in plan.models:
            users.make(name) if registry.is_outside(name) else classifiers.load(name)

    def measure(self, context: Context, sizes: Sizes) -> Findings:
        """Every classifier, then every checkpoint."""
        clock, test = context.clock, context.test
        models, notes = self._models(context)
        along, missing = _along(list(models), sizes.checkpoints)
        notes += missing
        if test.z is None:
            notes.append(f"attacks in distribution: {test.name} has no latent codes.")
        rows: list[Row] = []
        warnings: list[str] = []
        pairs: dict[str, Any] = {}
        known = _shipped(context, sizes)
        for name, classifier in models.items():
            found, outcomes = clock.run(name, _attacked, context, sizes, sizes.attacks, classifier, name)
            rows += found
            pairs = _pairs(test.x, outcomes)
            warnings += [f"{name}: {w.code}: {w.message}" for w in doubts.of(
                context.key("examine"), classifier, test, outcomes, epsilons=sizes.epsilons)]
            earlier = [r for r in known if r.model == name]
            rows += earlier
            if sizes.certified and not select(earlier, Quantity.CERTIFIED):
                try:
                    rows += clock.run(f"{name}, certified", _certified, context, sizes, classifier, name, outcomes)
                except InputError as e:
                    notes.append(f"certificates of {name}: {e}.")
        part = dataclasses.replace(context, test=test.take(sizes.checkpoint_natural))
        for name, classifier in along.items():
            rows += clock.run(name, _attacked, part, sizes, sizes.checkpoint_attacks, classifier, name, "checkpoint")[0]
        used = {name: weights.checksum(name if registry.is_outside(name) else classifiers.resolve(name))
                for name in models | along}
        return Findings(tuple(rows), {"pairs": pairs}, tuple(notes), tuple(warnings), used)

    def _models(self, context: Context) -> tuple[dict[str, Classifier], list[str]]:
        """The classifiers: those that were named, or trained on the generator's images, or shipped."""
        plan, notes = context.plan, list[str]()
        names = list(plan.models)
        if not names and plan.dataset in trained.DATASETS and context.folder:
            names = context.clock.run(
                "classifiers", trained.train, plan.dataset, context.source, preset=plan.preset,
                folder=context.folder / "classifiers", pieces=context.pieces, seed=plan.seed)
        elif not names:
            names, notes = present([f"{plan.dataset}_{m}" for m in METHODS], "classifier")
        return {name: users.named(name, context.test.image_shape) for name in names}, notes

    def blocks(self, rows: Sequence[Row], pictures: Mapping[str, Any]) -> list[Block]:
        """Table 3, what each attack leaves, curves over epsilon, Figure 2."""
        out, left, curve = tabled(table3.table3(rows)), attacks.table(rows), curves.figure(rows)
        out += tabled(left, part=True)
        if curve is not None:
            out.append(Block(
                "Accuracy left, over ε", "An attack that looks for the nearest error gives every ε at once. Bands are "
                "exact 95 % intervals at each ε; dots are what the strongest attack that may use any image leaves.",
                "curves", True, figure=curve))
        radii = _radii(rows)
        if radii:
            dash = (" A dash above a dot is what one weaker attack alone leaves of the same classifier on the same "
                    "images." if left else "")
            out.append(Block(
                "Figure 2. Limit and classifiers, over the natural risk", "Each dot is a classifier at some point of "
                "its training. Dotted curves are Theorem 4.4 with sampled constants, estimates for comparison: nothing "
                "can lie above the curve at its own risk if the constants are right. A solid line is proved." + dash,
                "figure2", figure=figures.robustness(rows, pictures.get("pairs")),
                panels=tuple(figures.one_panel(rows, e) for e in radii), legend=tuple(figures.legend(rows))))
        if pictures.get("pairs"):
            out.append(Block("What the attacks change", part=True, strips=pictures["pairs"]))
        return out


def _shipped(context: Context, sizes: Sizes) -> list[Row]:
    """What AutoAttack left of these test images, and certificates on them, from the results that came with irob."""
    plan = context.plan
    if not sizes.shipped or plan.seed or plan.dataset != "mnist_gen":  # they are of the images of seed 0
        return []
    found = [*shipped.rows("attacks", plan.generator), *shipped.rows("certificates", plan.generator)]
    return [r for r in found if r.norm == sizes.norm and r.epsilon in sizes.epsilons and (
        r.quantity != Quantity.CERTIFIED or r.detail.certifier == "crown")]


def _attacked(context: Context, sizes: Sizes, chosen: Sequence[Attack], classifier: Classifier, name: str,
              section: str = "attack") -> tuple[list[Row], list[attacked.Outcome]]:
    """A classifier under these attacks, without those that need codes where there are none."""
    plans = [attacked.AttackPlan(a.name, a.images, a.options, chunk=sizes.chunk) for a in chosen
             if context.test.z is not None or not attacked.latent(a.name)]
    return attacked.evaluate(context.key("attack"), classifier, plans, dataclasses.replace(
        _on(context, sizes, name), section=section, trials=sizes.trials if section == "attack" else 1))


def _on(context: Context, sizes: Sizes, name: str) -> attacked.Evaluation:
    return attacked.Evaluation(
        context.test, sizes.epsilons, LpBall(sizes.norm, 0.0), generator=context.source, name=name,
        pieces=context.pieces, label=name)


def _certified(context: Context, sizes: Sizes, classifier: Classifier, name: str,
               outcomes: Sequence[attacked.Outcome]) -> list[Row]:
    """Certified accuracy by the tightest certifier that the layers allow, held against the attacks image by image."""
    part = context.test.take(sizes.certified)
    saw = [o.robust[0][:, :len(part)] for o in outcomes if o.plan.samples >= len(part)]
    plan = certified.CertifierPlan(certify_verb.best(classifier, part, sizes.norm, None))
    on = dataclasses.replace(_on(context, sizes, name), data=part, section="certify")
    return certified.evaluate(context.key("certify"), classifier, [plan], on,
                              beside=np.all(saw, axis=0) if saw else None)[0]


def _pairs(clean: np.ndarray, outcomes: Sequence[attacked.Outcome]) -> dict[str, np.ndarray]:
    """Clean and adversarial images at the largest epsilon, of examples on which every attack succeeded if possible."""
    shown = min(o.x_adv.shape[1] for o in outcomes)
    changed = np.all([np.any(o.x_adv[-1][:shown] != clean[:shown], axis=(1, 2, 3)) for o in outcomes], axis=0)
    order = np.argsort(~changed, kind="stable")[:6]
    out = {"clean": clean[:shown][order]}
    return out | {CAPTIONS.get(o.plan.attack, o.plan.attack): o.x_adv[-1][order] for o in outcomes}


def _along(names: Sequence[str], count: int) -> tuple[dict[str, Classifier], list[str]]:
    """Checkpoints along training, which Figure 2 follows as the paper's does: of robust methods if there are any."""
    found, notes = dict[str, Classifier](), []
    for name in [n for n in names if published.method(n)] or names:
        saved = [] if registry.is_outside(name) else spread(before_the_end(name), count)
        found |= {f"{name}@{epoch}": classifiers.load(f"{name}@{epoch}") for epoch in saved}
        if not saved:
            notes.append(f"checkpoints of {name}: none are there, so Figure 2 shows the final classifier only.")
    return found, notes


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


def _radii(rows: Sequence[Row]) -> list[float]:
    """The radii at which Figure 2 has something to draw."""
    drawn = [r for r in rows if r.detail.curve or vars(r.detail).get("risk") is not None]
    return [e for e in tables.epsilons(rows) if any(r.epsilon == e for r in drawn)]


def build() -> Classifiers:
    """The section."""
    return Classifiers()
