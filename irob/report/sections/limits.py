"""The limit for error-region robustness from both sides, and earlier bounds on the same images."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from irob import generators
from irob.core import published, weights
from irob.core.check import InputError
from irob.core.rows import Row
from irob.core.store import Task
from irob.evaluation import shipped
from irob.evaluation.limits import both_sides, constants, sampled
from irob.evaluation.limits.constants import ConstantsPlan
from irob.evaluation.limits.earlier import Question
from irob.evaluation.section import CERTIFIED, Context, Findings, ReportPlan, Section, present
from irob.report import comparison, comparison_figure
from irob.report import limits as shown
from irob.report.model import Block, tabled


@dataclasses.dataclass(frozen=True)
class Sizes:
    """codes: of every method.  fresh: samples that measure a witness.  images: on which earlier bounds are fitted."""

    codes: ConstantsPlan
    fresh: int
    images: int
    radius: float = 0.5
    shipped: bool = False  # take results that came with irob in their place, where they are of this very generator


# BigGAN lists no explicit layers, so nothing about it is certified from above; nor is it shipped for CIFAR-10.
UNCERTIFIED: dict[str, Any] = {"certified": 0, "compared": 0}
IMAGENET10 = {
    "quick": Sizes(ConstantsPlan(sampled=10, ascent=10, pilot=3, neighbours=50, **UNCERTIFIED), 2000, 500),
    "standard": Sizes(ConstantsPlan(sampled=50, ascent=200, neighbours=1000, **UNCERTIFIED), 20_000, 5000),
    "paper": Sizes(ConstantsPlan(sampled=5000, ascent=10_000, neighbours=1000, **UNCERTIFIED), 100_000, 10_000),
}


PRESETS = {
    "quick": Sizes(ConstantsPlan(sampled=50, ascent=300, certified=20, compared=3, pilot=3, neighbours=500), 20_000,
                   2000, shipped=True),
    "standard": Sizes(ConstantsPlan(sampled=200, ascent=4000, certified=3000), 200_000, 10_000),
    "paper": Sizes(ConstantsPlan(sampled=10_000, ascent=30_000, certified=10_000), 1_000_000, 100_000),
}


class Limits(Section):
    """Theorem 4.4 by every method, witnesses, and the width between them; of a second generator too."""

    name, place = "limits", 30.0
    presets = PRESETS

    def wanted(self, dataset: str) -> bool:
        """Not of ImageNet10, whose limits take hours."""
        return dataset != "imagenet10_gen"

    def sizes(self, preset: str, dataset: str) -> Sizes:
        """Those that the data set can bear."""
        sizes = super().sizes(preset, dataset)
        if dataset == "imagenet10_gen":
            return IMAGENET10[preset]
        if dataset == "cifar10_gen":
            return dataclasses.replace(sizes, codes=dataclasses.replace(sizes.codes, **UNCERTIFIED))
        return sizes

    def images(self, sizes: Sizes) -> int:
        """Those of earlier bounds."""
        return sizes.images

    def check(self, plan: ReportPlan, sizes: Sizes) -> None:
        """A second generator that was asked for must be there."""
        if plan.certified not in ("", CERTIFIED):
            weights.checksum(plan.certified)

    def measure(self, context: Context, sizes: Sizes) -> Findings:
        """Both sides of each generator, then earlier bounds."""
        plan, clock = context.plan, context.clock
        known = shipped.rows("limits", plan.generator) if sizes.shipped else ()
        if known and (plan.alpha, plan.confidence) == (sampled.PAPER_ALPHA, shipped.CONFIDENCE):
            here = [r for r in known if r.dataset in (plan.dataset, plan.certified)]
            return Findings(tuple(here), notes=("earlier bounds: measured by --preset standard.",))
        paper = plan.alpha == published.settings(plan.dataset).alpha
        risks = [sampled.Risk(plan.alpha, "as in the paper" if paper else "as asked for")]
        measured = [r for r in [sampled.measured_risk(context.rows)] if r]
        second, notes = present([plan.certified] if plan.certified not in ("", plan.generator) else [],
                                "certified generator")
        if not constants.certifiable(context.source):
            notes.append(f"certified constants of {plan.generator}: its layers are not known, so its limit is an "
                         "estimate; list them with generators.from_layers.")
        rows: list[Row] = []
        for name, g, dataset in ((plan.generator, context.source, plan.dataset),
                                 *((name, generators.load(name), name) for name in second)):
            rows += clock.run(
                f"limit of {name}, from both sides", both_sides.both, context.key("limits"), g, sizes.codes,
                risks + measured if g is context.source else risks, fresh=sizes.fresh, name=name,
                confidence=plan.confidence, task=Task(dataset, context.pieces, name))
        other = present([plan.unconditional] if plan.unconditional else [], "unconditional generator")[0]
        try:
            rows += clock.run(
                "earlier bounds", both_sides.earlier, context.key("earlier"), context.test, rows,
                Question(sizes.codes.epsilons, plan.alpha, confidence=plan.confidence),
                unconditional=generators.load(other[0]) if other else None, judge=context.judge, radius=sizes.radius,
                label="earlier bounds")
        except InputError as e:  # too few images
            notes.append(f"earlier bounds: left out ({e})")
        return Findings(tuple(rows), notes=tuple(notes),
                        used={name: weights.checksum(name) for name in [*second, *other]})

    def blocks(self, rows: Sequence[Row], pictures: Mapping[str, Any]) -> list[Block]:
        """For each generator the ladder of methods with its figure, and its constants; earlier bounds."""
        out = []
        for d in shown.datasets(rows):
            (ladder,) = tabled(shown.ladder(rows, d), file=f"limits_{pathlib.PurePath(d).name}")
            out.append(dataclasses.replace(ladder, text=shown.words(rows, d), lead=True,
                                           figure=shown.figure(rows, d, shown.alphas(rows, d)[0])))
            for table in (shown.constants(rows, d), shown.ratios(rows, d)):
                out += tabled(table, part=True, file=f"{table.name}_{pathlib.PurePath(d).name}" if table else "")
        for block in tabled(comparison.comparison_table(rows)):
            out.append(dataclasses.replace(block, figure=comparison_figure.comparison_figure(rows)))
        return out


def build() -> Limits:
    """The section."""
    return Limits()
