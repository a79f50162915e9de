"""Figures 1 and 2, and what all figures share: axes, legends, PNG and SVG.

Figures are returned, never shown; matplotlib is imported when one is drawn.

`samples` is Figure 1 (columns are classes), `robustness` Figure 2: over the risk alpha, the bound as a dotted curve
and each checkpoint twice, unconstrained and in-distribution.
"""

import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from irob.core import published
from irob.core.check import InputError
from irob.core.rows import Quantity, Row, largest, select
from irob.report import tables

INK = "#010101"  # nothing else has this colour, so that a page can let the ink follow its theme
LIMIT = "#c4441f"  # of what no classifier passes
COLOURS = ("#d9642b", "#2f8fd0", "#8a6fc4", "#3aa17e", "#c2528b", "#9a8a2e")
MARKS = {Quantity.ROBUST: ("o", "unconstrained"), Quantity.IN_DISTRIBUTION: ("D", "in-distribution")}


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def framed(axes: Any, x: str, y: str) -> None:
    """What the axes of all figures have: their names, a grid, and the ink of the page."""
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color="#808080", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)


def strength(rows: Iterable[Row]) -> str:
    """The name of an axis of strengths, with the threats and the unit.

    >>> from irob.core.rows import Number, Robust
    >>> from irob.core.threat import ThreatRecord
    >>> strength([Robust().row("d", "m", ThreatRecord.lp("linf", 0.1), Number(0.5), "pgd")])
    'ε (linf, images in [0, 1])'
    """
    names = list(dict.fromkeys(r.threat.name for r in rows if r.threat))
    unit = "standard deviations of the code" if any("latent" in name for name in names) else "images in [0, 1]"
    return f"ε ({' and '.join(names)}, {unit})"


def keyed(figure: Any, *, size: float = 8.5) -> None:
    """A legend below the panels, each label once, in as many columns as the width of the figure has room for."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles |= dict(zip(*axes.get_legend_handles_labels()[::-1]))
    for columns in range(min(4, len(handles)), 0, -1):
        drawn = figure.legend(handles.values(), handles.keys(), fontsize=size, frameon=False, ncols=columns,
                              loc="outside lower center", labelcolor=INK)
        if drawn.get_window_extent().width <= figure.bbox.width or columns == 1:
            return
        drawn.remove()


def png(figure: Any, *, dpi: int = 150) -> bytes:
    """The figure as PNG on white."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return out.getvalue()


def svg(figure: Any, *, inline: bool = False) -> str:
    """The figure as SVG; inline: without a head, transparent, scalable, and in the ink of the page around it."""
    import matplotlib

    out = io.BytesIO()
    # A fixed salt gives the same names of clip paths in every run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "irob", "svg.image_inline": True}):
        figure.savefig(out, format="svg", transparent=inline, metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode()
    if not inline:
        return text
    text = text[text.index("<svg"):].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"font: ([^;\"]*?)px [^;\"]*", r"font: \1px var(--font, sans-serif)", text)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", text, count=1).replace('height="', 'data-height="', 1)


def samples(images: np.ndarray, names: Sequence[str]) -> Any:
    """Figure 1: images f[rows, classes, H, W, C] in [0,1], a column for each class."""
    if images.ndim != 5 or images.shape[1] != len(names):
        raise InputError(f"figure 1: got images {images.shape}, wanted (rows, {len(names)}, height, width, channels)")
    rows, classes, height, width = images.shape[:4]
    figure = _figure(0.72 * classes, 0.72 * rows * height / width + 0.3)
    axes = figure.subplots(1, 1)
    gap = max(1, width // 14)
    tiles = np.ones((rows * (height + gap) - gap, classes * (width + gap) - gap, images.shape[-1]))
    for r in range(rows):
        for c in range(classes):
            top, left = r * (height + gap), c * (width + gap)
            tiles[top:top + height, left:left + width] = images[r, c]
    _show(axes, tiles)
    axes.set_xticks([c * (width + gap) + width / 2 - 0.5 for c in range(classes)], names)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=11, colors=INK)
    return figure


def _show(axes: Any, image: np.ndarray) -> None:
    shown, cmap = (image[..., 0], "gray") if image.shape[-1] == 1 else (image, None)
    axes.imshow(shown, cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def robustness(rows: Sequence[Row], pairs: "dict[str, np.ndarray] | None" = None) -> Any:
    """Figure 2, all of it: a panel for each epsilon, and beside them clean and adversarial images.

    pairs: {caption of a row of images: f[n,H,W,C]}, the rows under one another.
    """
    radii = tables.epsilons(rows)
    pairs = pairs or {}
    widths = [4.1] * len(radii) + ([0.95 * len(pairs)] if pairs else [])
    figure = _figure(sum(widths), 4.9)
    grid = figure.add_gridspec(1, len(widths), width_ratios=widths)
    for i, epsilon in enumerate(radii):
        panel(rows, epsilon, figure.add_subplot(grid[0, i]))
    keyed(figure, size=9)
    if pairs:
        _pairs(figure, grid[0, len(radii)], pairs)
    return figure


def one_panel(rows: Sequence[Row], epsilon: float) -> Any:
    """One panel of Figure 2 as a figure of its own."""
    figure = _figure(3.6, 3.3)
    panel(rows, epsilon, figure.subplots())
    return figure


def _pairs(figure: Any, place: Any, pairs: "dict[str, np.ndarray]") -> None:
    """Columns: kinds of image (clean, adversarial); rows: examples."""
    kinds = list(pairs)
    count = max(len(v) for v in pairs.values())
    inner = place.subgridspec(count, len(kinds), wspace=0.05, hspace=0.05)
    for k, kind in enumerate(kinds):
        for i, image in enumerate(pairs[kind]):
            axes = figure.add_subplot(inner[i, k])
            _show(axes, image)
            if i == 0:
                axes.set_title(kind, fontsize=8, color=INK)


def drawn(rows: Sequence[Row]) -> list[Row]:
    """The points of Figure 2: each classifier at each epsilon, in and out of distribution, on the same images."""
    points = []
    attacked = (r for r in rows if r.quantity in MARKS and r.detail.risk is not None)
    for key in dict.fromkeys((r.model, r.epsilon) for r in attacked):
        at = {"model": key[0], "epsilon": key[1]}
        inside = largest(rows, Quantity.IN_DISTRIBUTION, **at)
        same = {"n": inside.n} if inside and select(rows, Quantity.ROBUST, n=inside.n, **at) else {}
        points += [r for r in (largest(rows, Quantity.ROBUST, **at, **same), inside) if r and r.detail.risk is not None]
    return points


def weaker(rows: Sequence[Row], point: Row) -> list[Row]:
    """What single attacks leave of the same classifier on the same images, where it is more than the point shows."""
    same = select(
        rows, point.quantity, model=point.model, epsilon=point.epsilon, n=point.n)
    return [r for r in same if " + " not in r.method and r.value > point.value]


def panel(rows: Sequence[Row], epsilon: float, axes: Any) -> None:
    """Robustness over natural risk at one epsilon, with 95 % intervals; curves are bounds, dashes weaker attacks."""
    points = [r for r in drawn(rows) if r.epsilon == epsilon]
    right = max([0.05, *(1.15 * r.detail.risk for r in points)])
    for r in select(rows, Quantity.BOUND, epsilon=epsilon):
        curve = r.detail.curve
        if curve:
            inside = [(a, v) for a, v in zip(curve["alpha"], curve["value"]) if a <= right]
            style = ":" if r.detail.family == "overall" else (0, (1, 4))
            label = f"bound, {tables.FAMILIES[r.detail.family]}"
            axes.plot(*zip(*inside), linestyle=style, color=INK, linewidth=1.8, label=label, zorder=2)
    proved = select(rows, Quantity.LABEL, epsilon=epsilon, side="upper", certified=True)
    if proved:
        axes.axhline(min(r.value for r in proved), color=LIMIT, linewidth=1.4, label="label limit (proved)", zorder=2)
    methods = list(dict.fromkeys(r.model.partition("@")[0] for r in points))
    for r in points:
        base, _, epoch = r.model.partition("@")
        colour = COLOURS[methods.index(base) % len(COLOURS)]
        mark, label = MARKS[r.quantity]
        filled = r.quantity == Quantity.ROBUST
        name = f"{published.short(base)}, {label}"
        for w in weaker(rows, r):
            axes.plot([r.detail.risk] * 2, [r.value, w.value], color=colour, linewidth=0.7, alpha=0.5, zorder=2)
            axes.plot(r.detail.risk, w.value, "_", color=colour, markersize=9, zorder=2)
        spread = None if r.low is None or r.high is None else [[r.value - r.low], [r.high - r.value]]
        axes.errorbar(
            r.detail.risk, r.value, yerr=spread, fmt=mark, color=colour, markersize=7 if filled else 6, alpha=0.95,
            markerfacecolor=colour if filled else "none", markeredgewidth=1.5, elinewidth=0.8, label=name, zorder=3,
        )
        if epoch:  # of a checkpoint
            axes.annotate(epoch, (r.detail.risk, r.value), (5, 4), textcoords="offset points", fontsize=7,
                          color=colour)
    axes.set_xlim(-0.02 * right, right)  # a mark at risk 0 is whole
    axes.locator_params(axis="x", nbins=5)
    axes.set_ylim(-0.02, 1.02)
    named = ", ".join(dict.fromkeys(r.threat.name for r in points if r.threat))
    axes.set_title(f"{named}, ε = {epsilon:g}" if named else f"ε = {epsilon:g}", fontsize=12, color=INK)
    framed(axes, "natural risk α", "label robustness")


def legend(rows: Sequence[Row]) -> list[dict[str, str]]:
    """What the marks of Figure 2 mean, for a page that writes its own legend: colour, shape and label."""
    points = drawn(rows)
    methods = list(dict.fromkeys(r.model.partition("@")[0] for r in points))
    entries = [
        {"colour": COLOURS[i % len(COLOURS)], "shape": mark, "label": f"{published.short(m)}, {name}"}
        for i, m in enumerate(methods) for q, (mark, name) in MARKS.items()
        if any(r.quantity == q and r.model.partition("@")[0] == m for r in points)
    ]
    if select(rows, Quantity.LABEL, side="upper", certified=True):
        entries.append({"colour": LIMIT, "shape": "solid", "label": "label limit (proved)"})
    for family in dict.fromkeys(r.detail.family for r in select(rows, Quantity.BOUND) if r.detail.curve):
        shape = "dotted" if family == "overall" else "sparse"
        label = f"bound, {tables.FAMILIES[family]} (estimate)"
        entries.append({"colour": "currentColor", "shape": shape, "label": label})
    return entries
