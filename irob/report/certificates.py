"""Certificates beside attacks: a table, curves over epsilon, and a file with a line for each example.

Certified accuracy bounds the true robust accuracy from below, attacked accuracy from above; what lies between is open.
"""

import csv as csv_
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from irob.core.rows import Quantity, Row, largest, select
from irob.report import figures, rounding, tables
from irob.report.model import Block, tabled
from irob.report.tables import Cell, Line, Table


def models(rows: Sequence[Row]) -> list[str]:
    """The classifiers that something was certified of, in the order of their rows."""
    return list(dict.fromkeys(r.model for r in rows if r.quantity == Quantity.CERTIFIED))


def pairs(rows: Sequence[Row], model: str) -> Iterator[tuple[Row, Row | None]]:
    """Each certified row of a classifier with the strongest attack at the same radius on the same examples."""
    for low in select(rows, Quantity.CERTIFIED, model=model):
        same = select(rows, Quantity.ROBUST, model=model, dataset=low.dataset, threat=low.threat, n=low.n)
        yield low, min(same, key=lambda r: r.value, default=None)


def table(rows: Sequence[Row]) -> Table:
    """One line for each certifier and radius: certified from below, attacked from above, and what is open."""
    lines = []
    for model in models(rows):
        clean = largest(rows, Quantity.NATURAL, model=model)
        natural = f": natural accuracy {rounding.percent(clean.value, clean.side)} %" if clean else ""
        lines.append(Line(f"{model}{natural}", kind="group"))
        for low, high in pairs(rows, model):
            open_ = Cell() if high is None else Cell(rounding.width(low.value, high.value, 1), high.value - low.value)
            ends = _percent(low.low, "lower"), _percent(high.high if high else None, "upper")
            lines.append(Line(f"{low.threat}, {_certifier(low)}",
                              (tables.percent(low), ends[0], tables.percent(high), ends[1], open_)))
    first = next((r for r in rows if r.quantity == Quantity.CERTIFIED), None)
    title = f"certified and attacked accuracy on {first.n:,} images of {first.dataset}, %" if first else ""
    head = ("ball, certifier", "certified", "95 % from", "attacked", "95 % to", "open")
    return Table("certify", title, head, tuple(lines), tuple(notes(rows)))


def _percent(value: float | None, side: str) -> Cell:
    return Cell() if value is None else Cell(rounding.percent(value, side), value)


def notes(rows: Sequence[Row]) -> list[str]:
    """How to read the table, and what its certificates are of."""
    out = ["Certified <= true <= attacked: an image in between resists this attack and has no proof."]
    done = set()
    for r in select(rows, Quantity.CERTIFIED):
        confidence, sigma, farthest = r.detail.confidence, r.detail.sigma, r.detail.largest
        if confidence is None or sigma is None or farthest is None:
            continue
        if r.model not in done:
            done.add(r.model)
            out.append(
                f"{r.model} is a classifier of its own: the vote under noise of σ = {sigma:g}. Each of its "
                f"certificates holds with confidence {confidence:g}; the attack is on the vote too.")
        if r.epsilon >= farthest and r.norm == "l2":
            n = int(np.log1p(-confidence) / log_ndtr(r.epsilon / sigma)) + 1
            out.append(f"{r.threat}: so many copies certify up to {farthest:.2f} at most; {r.epsilon:g} wants "
                       f"{n:,} or more (--copies), or a larger σ in training.")
    return out


def figure(rows: Sequence[Row]) -> Any:
    """Both curves over epsilon, a panel for each classifier: a line for each certifier, a band for what is open."""
    shown = models(rows)
    drawing = figures._figure(4.6 * max(1, len(shown)), 4.2)
    panels = drawing.subplots(1, max(1, len(shown)), squeeze=False, sharey=True)[0]
    for axes, model in zip(panels, shown):
        _panel(axes, rows, model)
    panels[0].set_ylabel("robust accuracy", color=figures.INK)
    figures.keyed(drawing, size=9)
    return drawing


def _panel(axes: Any, rows: Sequence[Row], model: str) -> None:
    """One classifier: certified and attacked accuracy as step functions of epsilon, and the band between them."""
    found = list(pairs(rows, model))
    clean = largest(rows, Quantity.NATURAL, model=model)
    by_method = {method: [low for low, _ in found if _certifier(low) == method] for method in _certifiers(rows)}
    steps = [e for low, _ in found for e in (low.epsilon, *(low.detail.curve or {}).get("epsilon", ()))]
    grid = np.union1d(np.linspace(0, 1.03 * max(steps), 800), steps)
    attacked = {high.epsilon: high for _, high in found if high}
    upper = np.full(len(grid), 1.0 if clean is None else clean.value)
    for e, row in attacked.items():
        upper = np.where(grid >= e, np.minimum(upper, row.value), upper)
    curves = {method: _lower(of, grid) for method, of in by_method.items() if of}
    best = np.max([*curves.values()], axis=0)
    axes.fill_between(grid, best, upper, color="#808080", alpha=0.16, linewidth=0, label="open")
    axes.plot(grid, upper, color=figures.INK, linewidth=1.4, label="attacked", zorder=3)
    _bars(axes, attacked, figures.INK, "v")
    for i, (method, of) in enumerate(by_method.items()):
        if of:
            colour = figures.COLOURS[i % len(figures.COLOURS)]
            axes.plot(grid, curves[method], color=colour, linewidth=1.6, label=f"certified, {method}", zorder=4)
            _bars(axes, {r.epsilon: r for r in of}, colour, "^")
    axes.set_title(model, fontsize=11, color=figures.INK)
    figures.framed(axes, figures.strength([low for low, _ in found]), "")
    axes.set_xlim(0, grid[-1])
    axes.set_ylim(-0.02, 1.04)


def _certifier(row: Row) -> str:
    return row.detail.certifier or row.method


def _certifiers(rows: Sequence[Row]) -> list[str]:
    """The certifiers of all rows, in one order for all panels, so that each has one colour."""
    return list(dict.fromkeys(_certifier(r) for r in select(rows, Quantity.CERTIFIED)))


def _lower(of: Sequence[Row], grid: np.ndarray) -> np.ndarray:
    """Certified accuracy on a grid of radii: from radii of single examples where there are some, or from the rows."""
    value = np.zeros(len(grid))
    for row in of:
        value = np.where(grid <= row.epsilon, np.maximum(value, row.value), value)
        curve = row.detail.curve
        if curve:
            falls, left = np.asarray(curve["epsilon"]), np.asarray(curve["value"])
            value = np.maximum(value, left[np.searchsorted(falls, grid, side="right") - 1])
    return value


def _bars(axes: Any, of: Mapping[float, Row], colour: str, mark: str) -> None:
    """Marks with 95 % intervals.  of: row by radius."""
    for e, r in of.items():
        spread = None if r.low is None or r.high is None else [[r.value - r.low], [r.high - r.value]]
        axes.errorbar(e, r.value, yerr=spread, fmt=mark, color=colour, markersize=6, elinewidth=0.8, zorder=5)


def blocks(rows: Sequence[Row]) -> list[Block]:
    """Figure and table, for the page."""
    return [dataclasses.replace(b, figure=figure(rows)) for b in tabled(table(rows))]


def examples(columns: Mapping[str, np.ndarray]) -> str:
    """CSV with a line for each example.

    >>> examples({"image": np.arange(2), "radius": np.array([0.5, 0.0])}).split()
    ['image,radius', '0,0.5', '1,0.0']
    """
    out = io.StringIO()
    writer = csv_.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(v.tolist() for v in columns.values())))
    return out.getvalue()
