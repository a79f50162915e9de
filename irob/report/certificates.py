"""Certificates beside attacks: a table, curves over epsilon, one page, and a file with a line for each example.

Certified accuracy bounds the true robust accuracy from below, attacked accuracy from above; what lies between is open.
"""

import csv as csv_
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from scipy.special import log_ndtr

from irob.core.evidence import Report, Row
from irob.report import figures, html, tables
from irob.report.tables import Cell, Line, Table


def models(rows: Sequence[Row]) -> list[str]:
    """The classifiers that something was certified of, in the order of their rows."""
    return list(dict.fromkeys(r.model for r in rows if r.quantity == tables.CERTIFIED))


def pairs(rows: Sequence[Row], model: str) -> Iterator[tuple[Row, Row | None]]:
    """Each certified row of a classifier with the strongest attack at the same radius on the same examples."""
    for low in tables.select(rows, tables.CERTIFIED, model=model):
        same = tables.select(rows, tables.ROBUST, model=model, dataset=low.dataset, threat=low.threat, n=low.n)
        yield low, min(same, key=lambda r: r.value, default=None)


def table(rows: Sequence[Row]) -> Table:
    """One line for each certifier and radius: certified from below, attacked from above, and what is open."""
    lines = []
    for model in models(rows):
        clean = tables.largest(rows, tables.NATURAL, model=model)
        natural = f": natural accuracy {100 * clean.value:.1f} %" if clean else ""
        lines.append(Line(f"{model}{natural}", kind="group"))
        for low, high in pairs(rows, model):
            open_ = Cell() if high is None else _percent(high.value - low.value)
            ends = _percent(low.low), _percent(high.high if high else None)
            lines.append(Line(f"{low.threat}, {low.detail.get('certifier', low.method)}",
                              (tables.percent(low), ends[0], tables.percent(high), ends[1], open_)))
    first = next((r for r in rows if r.quantity == tables.CERTIFIED), None)
    title = f"certified and attacked accuracy on {first.n:,} images of {first.dataset}, %" if first else ""
    head = ("ball, certifier", "certified", "95 % from", "attacked", "95 % to", "open")
    return Table("certify", title, head, tuple(lines), tuple(notes(rows)))


def _percent(value: float | None) -> Cell:
    return Cell() if value is None else Cell(f"{100 * value:.1f}", value)


def notes(rows: Sequence[Row]) -> list[str]:
    """How to read the table, and what its certificates are of."""
    out = ["Certified <= true <= attacked: an image in between resists this attack and has no proof."]
    done = set()
    for r in tables.select(rows, tables.CERTIFIED):
        confidence, sigma, largest = (r.detail.get(k) for k in ("confidence", "sigma", "largest"))
        if confidence is None or sigma is None or largest is None:
            continue
        if r.model not in done:
            done.add(r.model)
            out.append(
                f"{r.model} is a classifier of its own: the vote under noise of σ = {sigma:g}. Each of its certificates "
                f"holds with confidence {confidence:g}; the attack is on the vote too.")
        if r.detail["epsilon"] >= largest and r.detail["norm"] == "l2":
            n = int(np.log1p(-confidence) / log_ndtr(r.detail["epsilon"] / sigma)) + 1
            out.append(f"{r.threat}: so many copies certify up to {largest:.2f} at most; {r.detail['epsilon']:g} wants "
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
    handles: dict[str, Any] = {}
    for axes in panels:
        handles |= dict(zip(*axes.get_legend_handles_labels()[::-1]))
    drawing.legend(handles.values(), handles.keys(), fontsize=9, frameon=False, loc="outside lower center", ncols=3,
                   labelcolor=figures.INK)
    return drawing


def _panel(axes: Any, rows: Sequence[Row], model: str) -> None:
    clean = tables.largest(rows, tables.NATURAL, model=model)
    found = list(pairs(rows, model))
    radii = sorted({low.detail["epsilon"] for low, _ in found})
    start = [] if clean is None else [(0.0, clean.value)]
    upper = dict(start + [(low.detail["epsilon"], high.value) for low, high in found if high])
    lower = dict(start)
    for low, _ in found:
        e = low.detail["epsilon"]
        lower[e] = max(lower.get(e, 0.0), low.value)
    both = sorted(set(upper) & set(lower))
    axes.fill_between(both, [lower[e] for e in both], [upper[e] for e in both], color="#808080", alpha=0.16,
                      linewidth=0, label="open")
    axes.plot(*zip(*sorted(upper.items())), color=figures.INK, linewidth=1.4, label="attacked", zorder=3)
    _bars(axes, {r.detail["epsilon"]: r for _, r in found if r}, figures.INK, "v")
    methods = list(dict.fromkeys(r.detail.get("certifier", r.method) for r in tables.select(rows, tables.CERTIFIED)))
    for i, method in enumerate(methods):
        of = [low for low, _ in found if low.detail.get("certifier", low.method) == method]
        if not of:
            continue
        colour, name = figures.COLOURS[i % len(figures.COLOURS)], f"certified, {method}"
        curve = of[0].detail.get("curve")
        if curve:  # radii of single examples: the whole curve, which falls at each of them
            x, y = [*curve["epsilon"], max(radii[-1], curve["epsilon"][-1])], [*curve["value"], curve["value"][-1]]
            axes.step(x, y, where="post", color=colour, linewidth=1.6, label=name, zorder=4)
        else:
            points = start + [(r.detail["epsilon"], r.value) for r in of]
            axes.plot(*zip(*points), color=colour, linewidth=1.6, label=name, zorder=4)
        _bars(axes, {r.detail["epsilon"]: r for r in of}, colour, "^")
    threat = found[0][0].detail["norm"]
    axes.set_title(model, fontsize=11, color=figures.INK)
    axes.set_xlabel(f"ε ({threat}, images in [0, 1])", color=figures.INK)
    steps = [e for low, _ in found if "curve" in low.detail for e in low.detail["curve"]["epsilon"]]
    axes.set_xlim(0, 1.03 * max([*radii, *steps]))
    axes.set_ylim(-0.02, 1.02)
    axes.tick_params(colors=figures.INK, labelsize=9)
    axes.grid(color="#808080", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(figures.INK)


def _bars(axes: Any, of: Mapping[float, Row], colour: str, mark: str) -> None:
    """Marks with 95 % intervals."""
    for e, r in of.items():
        spread = None if r.low is None or r.high is None else [[r.value - r.low], [r.high - r.value]]
        axes.errorbar(e, r.value, yerr=spread, fmt=mark, color=colour, markersize=6, elinewidth=0.8, zorder=5)


def page(report: Report) -> str:
    """Table and figure on one self-contained page."""
    environment = jinja2.Environment(loader=html._LOADER, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("certify.html").render(
        title="What is certain, and what an attack leaves", table=table(report.rows),
        figure=figures.svg(figure(report.rows), inline=True), provenance=html.flat(report.provenance))


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
