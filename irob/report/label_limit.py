"""The limit for label robustness: a table, and a curve over epsilon with its band.  Only rows come in.

The line is the limit of the sample itself, the band ends at the limit of the distribution, with the confidence of all
of the curve at once.  What lies above the band is shaded: no classifier gets there.
"""

from collections.abc import Sequence
from typing import Any

from irob.core.rows import Quantity, Row
from irob.report import rounding
from irob.report.figures import COLOURS, _figure, framed, keyed, strength
from irob.report.tables import Cell, Line, Table


def rows_of(rows: Sequence[Row]) -> list[Row]:
    """The rows of label limits."""
    return [r for r in rows if r.quantity == Quantity.LABEL and r.side == "upper"]


def table(rows: Sequence[Row]) -> Table:
    """A line for each epsilon: the sample's limit, the distribution's."""
    found = rows_of(rows)
    lines = tuple(Line(str(r.threat), (
        Cell(rounding.percent(r.detail.sample_limit, "upper", 2), r.detail.sample_limit),
        Cell(rounding.percent(r.value, "upper", 2) if r.value < 1 else "says nothing", r.value),
        Cell(f"{r.detail.matching:,.1f}", r.detail.matching))) for r in found)
    first = found[0]
    joint, each = first.detail.joint_confidence, first.detail.confidence
    notes = [f"{first.n:,} images. No classifier keeps the labels of more, in percent; the column of the distribution "
             f"holds in all lines together with {100 * joint:g} % confidence, each line with {100 * each:.4g} %."]
    if first.detail.assumptions:
        notes.append(f"For the distribution if {first.detail.assumptions}.")
    if first.detail.judge:
        notes.append(f"Only images whose intended label {first.detail.judge} confirms: {first.n:,} of "
                     f"{first.detail.drawn:,} drawn.")
    if first.detail.coupling:
        notes.append(f"Classes share codes ({first.detail.coupling}), which the confidence allows for.")
    if not first.detail.complete:
        notes.append("There were more conflicts than are kept in memory: some are left out, which only raises limits.")
    return Table("label_limit", f"The limit for label robustness on {first.dataset}",
                 ("threat", "these images", "the distribution", "matching"), lines, tuple(notes))


def figure(rows: Sequence[Row]) -> Any | None:
    """Label limits as curves over epsilon, a figure; None where no row carries a curve."""
    carrying = [r for r in rows_of(rows) if r.detail.curve]
    if not carrying:
        return None
    drawn = _figure(5.6, 4.1)
    axes = drawn.subplots()
    several = len(carrying) > 1
    for r, colour in zip(carrying, COLOURS * len(carrying)):
        curve = r.detail.curve
        name = f"{r.dataset}, {r.n:,} images"
        at, sample, upper = ([first, *curve[k]] for k, first in (("epsilon", 0.0), ("sample", 1.0), ("upper", 1.0)))
        axes.plot(at, sample, color=colour, linewidth=1.6, label=f"limit on {name}", zorder=3)
        axes.fill_between(at, sample, upper, color=colour, alpha=0.3, linewidth=0, zorder=2,
                          label=f"the distribution, {100 * r.detail.joint_confidence:g} % at all ε together")
        if not several:
            axes.fill_between(at, upper, 1.02, color="#808080", alpha=0.15, linewidth=0, zorder=1,
                              label="out of reach of every classifier")
        mine = [v for v in rows_of(rows) if (v.dataset, v.n, v.norm) == (r.dataset, r.n, r.norm)]
        axes.plot([v.epsilon for v in mine], [v.value for v in mine], linestyle="", marker="v", color=colour,
                  markersize=5, zorder=4, label=f"table, {100 * r.detail.joint_confidence:g} % together")
    axes.set_ylim(top=1.02)
    axes.set_xlim(left=0)
    framed(axes, strength(carrying), "share whose labels can be kept")
    keyed(drawn)
    return drawn
