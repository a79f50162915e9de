"""The bracket for label robustness: what certified classifiers keep of the labels, and what no classifier can keep.

    certified classifier  <=  best classifier  <=  label limit, and Theorem 4.4 for classifiers of risk alpha or more

Every row here is "label" or "both" in the sense of irob.core.definitions, so attacked accuracies stand between these
ends.  Only proved ends are taken; estimates from sampled constants are shown elsewhere, as comparisons.
"""

from collections.abc import Sequence
from typing import Any

from irob.core import published
from irob.core.laws import comparable
from irob.core.rows import Quantity, Row, largest, models
from irob.report import figures, limits, rounding, tables
from irob.report.tables import Cell, Line, Table

TRIVIAL = 1e-9


def datasets(rows: Sequence[Row]) -> list[str]:
    """The distributions whose label robustness is limited or reached by some row."""
    return list(dict.fromkeys(r.dataset for r in rows if r.quantity == Quantity.LABEL))


def radii(rows: Sequence[Row], dataset: str) -> list[float]:
    """The radii at which the label robustness of a data set is limited or reached by some row."""
    return sorted({r.epsilon for r in rows if r.quantity == Quantity.LABEL and r.dataset == dataset})


def kept(rows: Sequence[Row], dataset: str, epsilon: float) -> Row | None:
    """The certified classifier that keeps most: the lower end."""
    found = [r for r in _at(rows, dataset, epsilon) if r.side == "lower" and r.certified]
    return max(found, key=lambda r: r.value, default=None)


def limit(rows: Sequence[Row], dataset: str, epsilon: float) -> Row | None:
    """The proved label limit: it holds for every classifier, whatever its risk."""
    found = [r for r in _at(rows, dataset, epsilon) if r.side == "upper" and r.certified]
    return min(found, key=lambda r: r.value, default=None)


def theorem(rows: Sequence[Row], dataset: str, epsilon: float) -> Row | None:
    """The smallest proved limit by Theorem 4.4, for classifiers whose natural risk is at least the first alpha."""
    alphas = limits.alphas(rows, dataset)[:1]
    found = [r for a in alphas for r in limits.ends(rows, dataset, a, "overall", epsilon)[1] if r.certified]
    return min(found, key=lambda r: r.value, default=None)


def smallest(rows: Sequence[Row], dataset: str, epsilon: float) -> Row | None:
    """The smallest proved limit for label robustness: the upper end."""
    found = [r for r in (limit(rows, dataset, epsilon), theorem(rows, dataset, epsilon)) if r]
    return min(found, key=lambda r: r.value, default=None)


def _at(rows: Sequence[Row], dataset: str, epsilon: float) -> list[Row]:
    return [r for r in rows if r.quantity == Quantity.LABEL and r.dataset == dataset and r.epsilon == epsilon]


def attacked(rows: Sequence[Row], dataset: str, epsilon: float) -> Row | None:
    """The trained classifier that attacks leave most of; an upper end of its own robustness only."""
    found = [largest(rows, Quantity.ROBUST, model=m, epsilon=epsilon, dataset=dataset)
             for m in models(rows)]
    return max((r for r in found if r), key=lambda r: r.value, default=None)


def table(rows: Sequence[Row], dataset: str) -> Table | None:
    """The bracket, epsilon by epsilon: limits, attacked and certified classifiers, width."""
    at = radii(rows, dataset)
    if not at:
        return None
    limited, proved, best = ([f(rows, dataset, e) for e in at] for f in (limit, theorem, kept))
    lines = [Line("No classifier keeps more labels than", kind="group")]
    if any(limited):
        lines.append(Line("label limit: any classifier", _cells(limited), "bound", _words(limited)))
    if any(proved):
        alpha = next(r.detail.alpha for r in proved if r)
        lines.append(Line(f"Theorem 4.4: natural risk ≥ {tables.number(alpha)}", _cells(proved), "bound",
                          _words(proved)))
    trained = [(m, [largest(rows, Quantity.ROBUST, model=m, epsilon=e, dataset=dataset) for e in at])
               for m in models(rows)]
    if any(r for _, found in trained for r in found):
        lines.append(Line("Left by attacks of one trained classifier, at most", kind="group"))
        lines += [Line(published.short(m), _cells(found, 1)) for m, found in trained if any(found)]
    if any(best):
        lines.append(Line("A certified classifier keeps at least", kind="group"))
        names = dict.fromkeys(r.model for r in best if r)
        note = _words(best) if len(names) == 1 else f"the best of {len(names)}, {_words(best)}"
        lines.append(Line(", ".join(names) if len(names) == 1 else "best classifier for this ε", _cells(best), "ours",
                          note))
    widths, whole = [], [(low, smallest(rows, dataset, e)) for e, low in zip(at, best)]
    for low, high in whole:
        if low and high:
            comparable(low, high)
        widths.append(Cell(rounding.width(low.value, high.value), high.value - low.value,
                           sign=tables.mark(low) or tables.mark(high)) if low and high else Cell())
    if any(w.value is not None for w in widths):
        lines.append(Line("width of the bracket, points", tuple(widths), "same", limits.both(*whole)))
    notes = (
        "Percent. Label robustness: the answer at every point within ε is the label of the image. Attacked accuracies "
        "and certificates measure it.",
        "The label limit counts images of different classes within 2ε of each other, of which no classifier keeps "
        f"both{_over(limited)}. Limits are rounded up, what is reached is rounded down.",
    )
    return Table("label", f"Label robustness from both sides: {dataset}",
                 ("label robustness, %", *(f"ε = {e:g}" for e in at)), tuple(lines), notes)


def _cells(found: Sequence[Row | None], digits: int = 2) -> tuple[Cell, ...]:
    return tuple(Cell() if r is None else Cell(
        rounding.percent(r.value, r.side, digits), r.value, None, r.low, r.high, tables.mark(r)) for r in found)


def _words(found: Sequence[Row | None]) -> str:
    return limits.grade(next(r for r in found if r))


def _over(found: Sequence[Row | None]) -> str:
    first = next((r for r in found if r and r.n), None)
    return f", among {first.n:,} images" if first else ""


def words(rows: Sequence[Row], dataset: str) -> str:
    """What is proved about the labels of a distribution, and which limit binds at which epsilon, in plain words."""
    out: list[str] = []
    binding: dict[str, list[float]] = {}
    for e in radii(rows, dataset):
        top = smallest(rows, dataset, e)
        if top:
            binding.setdefault(_source(top), []).append(e)
    for e in radii(rows, dataset)[-1:]:
        low, high = kept(rows, dataset, e), smallest(rows, dataset, e)
        if high:
            alpha = high.detail.alpha if _of_theorem(high) else 0.0
            whom = f" that errs on at least {100 * alpha:.3g} % of the images" if alpha else ""
            out.append(f"Proved{limits.confidently(high)}: no classifier{whom} keeps the labels of more than "
                       f"{rounding.percent(high.value, 'upper', 2)} % of the images of {dataset} when each may move by "
                       f"ε = {e:g}.")
        if low:
            out.append(f"Proved{limits.confidently(low)}: {low.model} keeps at least "
                       f"{rounding.percent(low.value, 'lower', 2)} %.")
    if binding:
        parts = [f"at ε = {', '.join(f'{e:g}' for e in at)} {source}" for source, at in binding.items()]
        out.append(f"Which limit is the smallest: {'; '.join(parts)}.")
    return " ".join(out)


def _of_theorem(row: Row) -> bool:
    return row.quantity == Quantity.BOUND


def _source(row: Row) -> str:
    """What a limit comes from, in words: conflicts of images, Theorem 4.4, or only the natural risk."""
    if not _of_theorem(row):
        return "images that cannot both be kept (label limit)"
    if row.value >= 1 - row.detail.alpha - TRIVIAL:
        return "only the natural risk that is asked for"
    return "isoperimetry (Theorem 4.4)"


def figure(rows: Sequence[Row], dataset: str) -> Any:
    """The bracket over epsilon: a band between the proved ends, attacked classifiers as points in between."""
    at = radii(rows, dataset)
    drawing = figures._figure(6.4, 4.2)
    axes = drawing.subplots()
    ends = [(e, kept(rows, dataset, e), smallest(rows, dataset, e)) for e in at]
    whole = [(e, low.value, high.value) for e, low, high in ends if low and high]
    if whole:
        x, low, high = zip(*whole)
        axes.fill_between(x, low, high, color="#2f8fd0", alpha=0.15, linewidth=0, label="open")
    lines = (
        ("no classifier: label limit (proved)", limit, figures.LIMIT, "v"),
        ("no classifier of this risk: Theorem 4.4 (proved)", theorem, "#2c7a55", "s"),
        ("a certified classifier (proved)", kept, figures.INK, "^"))
    for label, end, colour, mark in lines:
        found = [(e, r.value) for e in at if (r := end(rows, dataset, e))]
        if found:
            axes.plot(*zip(*found), color=colour, marker=mark, markersize=6, linewidth=1.5, label=label, zorder=3)
    for i, m in enumerate(models(rows)):
        found = [(e, r.value) for e in at
                 if (r := largest(rows, Quantity.ROBUST, model=m, epsilon=e, dataset=dataset))]
        if found:
            axes.plot(*zip(*found), color=figures.COLOURS[i % len(figures.COLOURS)], marker="o", markersize=5,
                      linewidth=1, linestyle=":", label=f"{published.short(m)}, left by attacks", zorder=2)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks(at)
    figures.framed(axes, figures.strength(_at(rows, dataset, at[0])), "label robustness")
    figures.keyed(drawing)
    return drawing
