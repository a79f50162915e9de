"""Table 1: the generator's local Lipschitz constants by sampling, and what Theorem 4.4 makes of them.

Sampling finds constants from below, so every bound here is an estimate, for comparison with what is proved elsewhere.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from irob import bounds, generators
from irob.core import published, weights
from irob.core.rows import Quantity, Row, select
from irob.core.threat import ThreatRecord
from irob.core.types import Generator
from irob.evaluation.limits import sampled
from irob.evaluation.section import UNCONDITIONAL, Context, Findings, ReportPlan, Section, present
from irob.evaluation.verbs import estimate
from irob.report import tables
from irob.report.model import Block, tabled


@dataclasses.dataclass(frozen=True)
class Sizes:
    """codes, neighbours, trials: of Algorithm 1, codes for each class and trial.  epsilons: of the bounds."""

    codes: int
    neighbours: int
    trials: int
    radius: float = 0.5
    delta: float = 0.001
    epsilons: tuple[float, ...] = (1.0, 2.0, 3.0)
    norm: str = "l2"


IMAGENET10 = {  # BigGAN takes a third of a second an image on a core; Table 2 has 500 codes and 1,000 neighbours
    "quick": Sizes(codes=5, neighbours=50, trials=1),
    "standard": Sizes(codes=50, neighbours=500, trials=1),
    "paper": Sizes(codes=500, neighbours=1000, trials=10),
}


PRESETS = {
    "quick": Sizes(codes=10, neighbours=200, trials=1),
    "standard": Sizes(codes=100, neighbours=2000, trials=3),
    "paper": Sizes(codes=1000, neighbours=2000, trials=10),
}


class Constants(Section):
    """Constants of the conditional generator and of one without classes, and bounds from them."""

    name, place = "constants", 50.0
    presets = PRESETS

    def sizes(self, preset: str, dataset: str) -> Sizes:
        """Those of the data set."""
        sizes = super().sizes(preset, dataset)
        return IMAGENET10[preset] if dataset == "imagenet10_gen" else sizes

    def check(self, plan: ReportPlan, sizes: Sizes) -> None:
        """A generator to compare with that was asked for must be there."""
        if plan.unconditional not in ("", UNCONDITIONAL):
            weights.checksum(plan.unconditional)

    def measure(self, context: Context, sizes: Sizes) -> Findings:
        """Algorithm 1 on both generators, then Theorem 4.4 and Fawzi's bounds."""
        plan = context.plan
        there, notes = present([plan.unconditional] if plan.unconditional else [], "unconditional generator")
        of = {plan.generator: context.source} | {name: generators.load(name) for name in there}
        wanted = estimate.EstimatePlan(sizes.codes, sizes.neighbours, sizes.radius, sizes.delta, sizes.trials)
        rows: list[Row] = []
        for title, name in zip(("Lipschitz constants", "unconditional generator"), of):
            rows += context.clock.run(
                title, estimate.estimate, context.key("lipschitz"), of[name], wanted, dataset=plan.dataset, name=name,
                pieces=context.pieces, label=name).rows
        if sampled.measured_alpha(context.rows) is None:
            notes.append("bound at the measured risk: no classifier was there to measure it.")
        rows += _bounds((*context.rows, *rows), sizes, of, plan.dataset)
        return Findings(tuple(rows), notes=tuple(notes),
                        used={name: weights.checksum(name) for name in there})

    def blocks(self, rows: Sequence[Row], pictures: Mapping[str, Any]) -> list[Block]:
        """Table 1, the comparison of both generators, Fawzi's bounds."""
        found = select(rows, Quantity.LIPSCHITZ)
        generator = found[0].model if found else ""
        return [*tabled(tables.table1(rows, generator)), *tabled(tables.comparison(rows, generator)),
                *tabled(tables.fawzi(rows))]


def _bounds(rows: Sequence[Row], sizes: Sizes, of: Mapping[str, Generator], dataset: str) -> list[Row]:
    """Theorem 4.4 at the measured risk and at the paper's, and Fawzi's bounds for the unconditional generator.

    A constant is the mean over trials, at least the least of them, so it covers its quantile where every trial does;
    codes of different trials and classes are independent, so the chances multiply.
    """
    alphas = {published.settings(dataset).alpha: (False, "as in the paper")}
    measured = sampled.measured_alpha(rows)
    if measured is not None:
        alphas = {measured[0]: (True, measured[1])} | {a: v for a, v in alphas.items() if a != measured[0]}
    name, *others = of
    out: list[Row] = []
    for protocol in sampled.PROTOCOLS:
        common: dict[str, Any] = {
            "dataset": dataset, "protocol": protocol,
            "threats": [ThreatRecord.lp(sizes.norm, e) for e in sizes.epsilons]}
        found = select(rows, Quantity.LIPSCHITZ, model=name, protocol=protocol)
        terms = bounds.Terms(delta=sizes.delta, confidence=math.prod(
            r.detail.confidence ** r.detail.trials for r in found))
        values = {r.detail.class_index or 0: r.value for r in found}
        out += sampled.limit_rows(
            values, alphas=alphas, radius=sizes.radius, label_of=of[name].label_of, terms=terms, **common)
        for r in (r for other in others for r in select(rows, Quantity.LIPSCHITZ, model=other, protocol=protocol)):
            out += sampled.fawzi_rows(r.value, classes=max(2, of[name].num_classes), **common)
    return out


def build() -> Constants:
    """The section."""
    return Constants()
