"""Robust accuracy against epsilon as a figure: curves of minimum-norm attacks, points of the others.

A curve is a step function, shaded by its exact interval at each epsilon; thin lines bound the whole curve at once.
Only numbers come in: anything with the fields of `evaluation.curves.Curve`.
"""

import types
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from irob.core import published
from irob.core.check import InputError
from irob.core.rows import Quantity, Row, largest, models, select
from irob.report import attacks, tables
from irob.report.figures import COLOURS, _figure, framed, keyed, strength


def draw(
    curves: "dict[str, Any]", points: Iterable[tuple[str, float, float, float, float]] = (), *, band: bool = True,
    look: "dict[str, tuple[str, str]] | None" = None, axis: str = "ε (images in [0, 1])",
) -> Any:
    """Curves over epsilon with their bands, and points with error bars, as a figure.

    Args:
        curves: {label: epsilons f[m], robust, low, high and, for `band`, band_low, band_high}.
        points: (label, epsilon, value, low, high) of attacks of fixed epsilon.
        band: whether to draw the band that holds for all epsilons at once.
        look: {label: (colour, line style)} of curves and points; by default each has a colour of its own.
        axis: name of the axis of epsilons.

    Raises:
        InputError: a curve that rises, which no threat set that grows with epsilon allows.
    """
    figure = _figure(5.6, 4.6)
    axes = figure.subplots()
    for i, (label, curve) in enumerate(curves.items()):
        robust = np.asarray(curve.robust)
        if np.any(np.diff(robust) > 1e-9):
            raise InputError(f"curve {label!r}: robust accuracy rises with epsilon, wanted one that never does")
        colour, style = (look or {}).get(label, (COLOURS[i % len(COLOURS)], "-"))
        at = np.asarray(curve.epsilons)
        axes.step(at, robust, where="post", color=colour, linestyle=style, linewidth=1.6, label=label, zorder=3)
        axes.fill_between(at, curve.low, curve.high, step="post", color=colour, alpha=0.2, linewidth=0, zorder=1)
        if band:
            for edge in (curve.band_low, curve.band_high):
                axes.step(at, edge, where="post", color=colour, linewidth=0.6, linestyle=":", zorder=2)
    _marks(axes, list(points), len(curves), look or {})
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(left=0)
    framed(axes, axis, "robust accuracy")
    keyed(figure)
    return figure


def _marks(axes: Any, points: Sequence[tuple[str, float, float, float, float]], used: int, look: Any) -> None:
    for i, label in enumerate(dict.fromkeys(p[0] for p in points)):
        mine = [p[1:] for p in points if p[0] == label]
        at, value, low, high = map(np.asarray, zip(*mine))
        colour = look.get(label, (COLOURS[(used + i) % len(COLOURS)], ""))[0]
        axes.errorbar(at, value, yerr=[value - low, high - value], fmt="o", color=colour, markersize=5,
                      elinewidth=0.8, label=label, zorder=4)


def figure(rows: Sequence[Row]) -> Any | None:
    """The curves that the rows carry, with the strongest attack on any image beside them; None where there is none."""
    carrying = [r for q in (Quantity.ROBUST, Quantity.IN_DISTRIBUTION) for r in select(rows, q)
                if r.detail.curve and "@" not in r.model]
    if not carrying:
        return None
    curves = {f"{published.short(r.model)}, {attacks.named(r)}": types.SimpleNamespace(**r.detail.curve)
              for r in carrying}
    strongest = [(name, e, largest(rows, Quantity.ROBUST, model=name, epsilon=e))
                 for name in models(rows) for e in tables.epsilons(rows)]
    points = [(f"{published.short(name)}, any image", e, r.value, r.low or 0.0, 1.0 if r.high is None else r.high)
              for name, e, r in strongest if r]
    # A colour for each classifier, a line style for each attack.
    order, ways = list(dict.fromkeys(r.model for r in carrying)), list(dict.fromkeys(map(attacks.named, carrying)))
    colour = {published.short(m): COLOURS[i % len(COLOURS)] for i, m in enumerate(order)}
    ways.sort(key=lambda way: way != "manifold attack")  # the strongest one is solid
    styles = dict(zip(ways, ("-", "--", "-.", ":") * len(ways)))
    look = {f"{published.short(r.model)}, {attacks.named(r)}": (colour[published.short(r.model)],
                                                                styles[attacks.named(r)]) for r in carrying}
    look |= {f"{name}, any image": (c, "") for name, c in colour.items()}
    return draw(curves, points, band=False, look=look, axis=strength(carrying))
