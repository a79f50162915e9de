"""Earlier bounds as a figure: value over epsilon, a line for each method.

Lines that limit classifiers are solid with marks pointing down, regions (what one classifier reaches) dashed with
marks pointing up, sample optima dotted.  Bars are the rows' intervals.  Limits of 1 and above say nothing: a method
that has no other is left out, unless all are so.
"""

from collections.abc import Sequence
from typing import Any

from irob.core.rows import Row
from irob.report.comparison import methods, rows_of
from irob.report.figures import COLOURS, INK, _figure, framed, keyed, strength

STYLES = {"upper": ("-", "v"), "lower": ("--", "^"), "exact": (":", "s"), "estimate": ("-.", "o")}


def comparison_figure(rows: Sequence[Row], dataset: str | None = None) -> Any:
    """Earlier bounds over epsilon as a figure, None without such rows.  Values above 1 are drawn at 1."""
    every = methods(found := rows_of(rows, dataset))
    if not every:
        return None
    lines = {m: of for m, of in every.items() if any(r.side != "upper" or r.value < 1 for r in of)} or every
    figure = _figure(6.4, 4.4)
    axes = figure.subplots()
    for i, (method, of) in enumerate(lines.items()):
        style, mark = STYLES[of[0].side]
        x, y = [r.epsilon for r in of], [min(r.value, 1.0) for r in of]
        colour = INK if of[0].detail.ours else COLOURS[i % len(COLOURS)]
        hollow = {"markerfacecolor": "white"} if i >= len(COLOURS) else {}  # colours come round again
        axes.plot(x, y, linestyle=style, marker=mark, color=colour, linewidth=1.5, markersize=5, label=method, zorder=3,
                  **hollow)
        ends = [(r.low if r.low is not None else v, min(r.high, 1.0) if r.high is not None else v)
                for r, v in zip(of, y)]
        if any(high > low for low, high in ends):
            axes.errorbar(x, y, yerr=[[max(0.0, v - low) for v, (low, _) in zip(y, ends)],
                                      [max(0.0, high - v) for v, (_, high) in zip(y, ends)]],
                          fmt="none", color=colour, elinewidth=0.8, alpha=0.7, zorder=2)
    framed(axes, strength(found), "share that stays right")
    keyed(figure)
    return figure
