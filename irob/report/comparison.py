"""Earlier bounds side by side: one line a method, one column an epsilon, with what each assumes and bounds.

Values are shares of images that stay right (or unchanged) under any move within
epsilon.  Upper bounds limit classifiers; lower ends are explicit regions, what one classifier attains; side "exact"
is the least error on the very sample.
"""

from collections.abc import Sequence

from irob.core.rows import Quantity, Row
from irob.report import rounding
from irob.report.tables import Cell, Line, Table

SENSES = {"label": "label sense", "error region": "error-region sense", "both": "either sense"}
SIGNS = {"upper": "≤", "lower": "≥", "exact": "=", "estimate": "≈"}


def rows_of(rows: Sequence[Row], dataset: str | None = None) -> list[Row]:
    """Rows of the comparison, of one data set if it is named."""
    return [r for r in rows if r.quantity == Quantity.EARLIER and dataset in (None, r.dataset)]


def methods(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Method to its rows by increasing epsilon, methods as they come; of several data sets, each alone."""
    found = rows_of(rows)
    several = len({r.dataset for r in found}) > 1
    out: dict[str, list[Row]] = {}
    for r in found:
        out.setdefault(f"{r.dataset}: {r.method}" if several else r.method, []).append(r)
    return {m: sorted(of, key=lambda r: r.epsilon) for m, of in out.items()}


def comparison_table(rows: Sequence[Row], dataset: str | None = None) -> Table | None:
    """One line for each method: its value at each epsilon, what it bounds, its assumption and where it is attained.

    Args:
        rows: of a report; those of other quantities are passed over.
        dataset: its name; None takes all.

    Returns:
        None where no row belongs to the comparison.
    """
    found = rows_of(rows, dataset)
    if not found:
        return None
    radii = sorted({r.epsilon for r in found})
    lines = []
    for method, of in methods(found).items():
        at = {r.epsilon: r for r in of}
        first = of[0].detail
        cells = tuple(_cell(at.get(e)) for e in radii)
        sense = SENSES.get(of[0].definition)
        what = f"{first['bounds']} ({sense})" if sense else first.bounds
        words = (Cell(what), Cell(first.assumption), Cell(first.attained_by))
        kind = "ours" if first.ours else "bound"
        lines.append(Line(method, (*cells, *words), kind, _standing(of)))
    names = ", ".join(dict.fromkeys(r.dataset for r in found))
    risks = " and ".join(f"{100 * a:g}" for a in sorted({r.detail.alpha for r in found}))
    notes = [
        "≤ limits any classifier; ≥ is what one classifier would reach, which errs on one explicit region, and limits "
        "no other; = is the best that any classifier can do on the very sample. Vacuous: it says nothing.",
        "The lines bound different quantities, so a smaller number is not a better bound.",
    ]
    if any(r.detail.risk is not None for r in found):
        notes.append("Regions are fitted on one half of the images and measured on the other; exact intervals stand in "
                     "report.json. A region is certified only if its measure surely reaches α.")
    head = ("share, %", *(f"ε = {e:g}" for e in radii), "of what", "assumes", "attained by")
    title = f"Earlier bounds on the same images ({names}, risk α = {risks} %)"
    return Table("earlier", title, head, tuple(lines), tuple(notes))


def _standing(of: Sequence[Row]) -> str:
    if of[0].side == "exact":
        return "exact on this sample"
    certified = sum(r.certified for r in of)
    return "certified" if certified == len(of) else "certified in part" if certified else "not certified"


def _cell(row: Row | None) -> Cell:
    if row is None:
        return Cell()
    if (row.side == "upper" and row.value >= 1) or (row.side == "lower" and row.value <= 0):
        return Cell("vacuous", row.value, None, row.low, row.high)
    digits = 2 if 0.9 < row.value < 1 else 1
    shown = rounding.percent(row.value, row.side, digits)
    return Cell(f"{SIGNS[row.side]} {shown}", row.value, None, row.low, row.high)
