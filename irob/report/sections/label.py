"""Label robustness from both sides: what no classifier can keep, and what a certified one keeps."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from irob.core import keys
from irob.core.rows import Row
from irob.core.store import Task
from irob.evaluation import shipped
from irob.evaluation.limits import label_lower, label_upper
from irob.evaluation.section import Context, Findings, Section
from irob.report import label, summary
from irob.report.model import Block, tabled


@dataclasses.dataclass(frozen=True)
class Sizes:
    """images: whose conflicts limit label robustness.  kept: images on which certified classifiers are counted."""

    images: int
    kept: int
    shipped: bool = False  # take results that came with irob in their place, where they are of this very generator
    epsilons: tuple[float, ...] = (1.0, 2.0, 2.5, 3.0)
    norm: str = "l2"


PRESETS = {
    "quick": Sizes(images=10_000, kept=2000, shipped=True),
    "standard": Sizes(images=200_000, kept=20_000),
    "paper": Sizes(images=1_000_000, kept=1_000_000),
}


class Label(Section):
    """The label limit of the generator's images, and the shipped certified classifiers of them."""

    name, place = "label", 10.0
    presets = PRESETS

    def wanted(self, dataset: str) -> bool:
        """Not where an image takes a third of a second."""
        return dataset != "imagenet10_gen"

    def measure(self, context: Context, sizes: Sizes) -> Findings:
        """Both ends, as `irob limit` has them."""
        plan, known = context.plan, shipped.rows("label", context.plan.generator) if sizes.shipped else ()
        if known and plan.confidence == shipped.CONFIDENCE:
            return Findings(tuple(dataclasses.replace(r, dataset=context.drawn) for r in known))
        rows = context.clock.run(f"label limit of {context.plan.generator}", _rows, context, sizes)
        return Findings(tuple(rows))

    def blocks(self, rows: Sequence[Row], pictures: Mapping[str, Any]) -> list[Block]:
        """The bracket of each distribution; then trained classifiers in it."""
        out = []
        for d in label.datasets(rows):
            (block,) = tabled(label.table(rows, d), file=f"label_{pathlib.PurePath(d).name}")
            out.append(dataclasses.replace(block, figure=label.figure(rows, d)))
        found = summary.gaps(rows)
        if found:
            out.append(Block(
                "The gap", "How many labels the best trained classifier keeps under attack, against what is proved: no "
                "classifier keeps more than the limit, and a certified one keeps at least the lower mark. All of it is "
                "label robustness.", gaps=tuple(found)))
        return out


def _rows(context: Context, sizes: Sizes) -> list[Row]:
    key, plan = context.key("label limit"), context.plan
    job = label_upper.Job(sizes.epsilons, sizes.norm, plan.confidence, grid=0)
    task = Task(context.drawn, context.pieces, context.drawn)
    rows = label_upper.of_generator(key, context.source, job, sizes.images, task=task)
    if sizes.norm == "l2":
        rows += label_lower.rows(
            keys.named(key, "certified"), context.source, epsilons=sizes.epsilons, confidence=plan.confidence,
            samples=sizes.kept, choice=max(1, sizes.kept // 4),
            task=dataclasses.replace(task, label=task.says("certified classifiers")))
    return rows


def build() -> Label:
    """The section."""
    return Label()
