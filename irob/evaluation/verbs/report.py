"""The report: its sections one after the other, in pieces that a killed run finds again.

    run(ReportPlan(sections, generator=...), folder=...) -> Outcome
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from irob import bounds
from irob.core import laws, weights
from irob.core.check import InputError
from irob.core.evidence import Report
from irob.core.provenance import provenance
from irob.core.rows import Row
from irob.core.store import Pieces
from irob.evaluation import shipped
from irob.evaluation.limits import sampled
from irob.evaluation.section import Clock, Context, Findings, ReportPlan
from irob.evaluation.verbs import attack
from irob.report import model
from irob.report.model import Block


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A report that passed its laws, what its sections show, what it discovered and what it left out."""

    report: Report
    blocks: tuple[Block, ...]
    discoveries: tuple[str, ...]
    omitted: tuple[str, ...]


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
    dataset, source = attack.drawn(plan.dataset, plan.generator, plan.resize)
    plan = dataclasses.replace(plan, dataset=dataset)
    chosen = {s.name: (sizes or {}).get(s.name) or s.sizes(plan.preset, dataset) for s in plan.sections}
    assumed = bounds.gaussian_latent(source.latent, plan.assume_gaussian)
    source = dataclasses.replace(source, latent=bounds.GAUSSIAN) if assumed else source
    for section in plan.sections:
        section.check(plan, chosen[section.name])
    count = max((s.images(chosen[s.name]) for s in plan.sections), default=1)
    clock, pieces = Clock(), Pieces(folder / "pieces" if folder else None, resume)
    test = clock.run("test images", attack.load, dataset, count, generator=source, data_dir=plan.data_dir,
                     seed=plan.seed)
    if tuple(test.image_shape) != tuple(source.image_shape):
        raise InputError(f"data set {dataset!r}: got images {tuple(test.image_shape)}, wanted "
                         f"{tuple(source.image_shape)} as the generator {plan.generator!r} draws them")
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
    plan, rows = context.plan, sampled.noted(context.rows, assumed)
    omitted = (*assumed, *(note for f in found.values() for note in f.notes))
    used = {plan.generator: weights.checksum(plan.generator)}
    for f in found.values():
        used |= f.used
    record = provenance(
        seed=plan.seed, matmul_precision="float32", preset=plan.preset, sizes={n: _plain(s) for n, s in sizes.items()},
        generator=plan.generator, dataset=plan.dataset, weights=used, omitted=omitted,
        seconds=dict(context.clock.seconds), shipped=shipped.origins(rows),
        **{"pieces reused": context.pieces.reused, "pieces computed": context.pieces.computed})
    report = Report(tuple(rows), record)
    report.check()
    warnings = (w for f in found.values() for w in f.warnings)
    discovered = (*warnings, *laws.missed_by_attacks(rows), *laws.classifiers_above_measured_limits(rows))
    order = sorted((s for s in plan.sections if s.name in found), key=lambda s: s.place)
    shown = (b for s in order for b in s.blocks(rows, found[s.name].pictures))
    blocks = tuple(model.with_origins(b, shipped.origins(rows)) for b in shown)
    return Outcome(report, blocks, discovered, omitted)


def _plain(sizes: Any) -> Any:
    """Sizes as JSON has them."""
    return dataclasses.asdict(sizes) if dataclasses.is_dataclass(sizes) and not isinstance(sizes, type) else sizes
