"""Classifiers against attacks, as robustness leaderboards print them: a line a classifier, a group an epsilon.

The worst case counts an image as robust where every attack failed on it.  The interval is the exact one of the worst
case.  `text.render` and `latex.tabular` write the table as they write every other; `markdown` is here.
"""

from collections.abc import Sequence

from irob.core.rows import Quantity, Row, select
from irob.report import rounding, tables
from irob.report.tables import Cell, Line, Table

WORST = " + "  # joins the attacks of a row that counts them together
DOUBT = "†"  # marks what a warning speaks of


def table(rows: Sequence[Row], warnings: Sequence[str] = ()) -> Table:
    """Natural accuracy, accuracy under each attack, and the worst case over them, for each classifier and epsilon.

    In-distribution attacks have a column of their own; as they stay within epsilon they count in the worst case.

    warnings: "classifier: sentence", what makes an evaluation doubtful: the worst case of that classifier bears a sign
    that points to them.
    """
    attacked = [r for r in rows if r.quantity in (Quantity.ROBUST, Quantity.IN_DISTRIBUTION)]
    attacks = list(dict.fromkeys(r.method for r in attacked if WORST not in r.method))
    lines = []
    for threat in dict.fromkeys(r.threat for r in attacked if r.threat):
        lines.append(Line(f"{threat.name}, ε = {threat.strength:g}", kind="group"))
        for model in dict.fromkeys(r.model for r in attacked):
            here = [r for r in attacked if (r.model, r.threat) == (model, threat)]
            worst = _worst(here)
            same = [r for r in rows if r.quantity == Quantity.NATURAL and r.model == model]
            natural = next((r for r in same if worst and r.n == worst.n), same[0] if same else None)
            cells = [tables.percent(natural)]
            cells += [tables.percent(next((r for r in here if r.method == a), None)) for a in attacks]
            sign = DOUBT if any(w.startswith(f"{model}: ") for w in warnings) else ""
            cells += [tables.percent(worst, sign), _interval(worst), Cell(f"{worst.n:,}", worst.n) if worst else Cell()]
            lines.append(Line(model, tuple(cells)))
    head = ("accuracy, %", "natural", *attacks, "worst case", "95 % interval", "images")
    data = ", ".join(dict.fromkeys(r.dataset for r in rows))
    return Table("leaderboard", f"Robust accuracy on {data}", head, tuple(lines),
                 ("An attack that fails proves nothing: the truth may be lower.",
                  *(f"{DOUBT} Doubtful: {w}" for w in warnings)))


def _worst(rows: Sequence[Row]) -> Row | None:
    """The row of all attacks together, or that of the one attack."""
    together = [r for r in rows if WORST in r.method]
    return min(together or select(rows, Quantity.ROBUST) or rows, key=lambda r: r.value, default=None)


def _interval(row: Row | None) -> Cell:
    if row is None or row.low is None or row.high is None:
        return Cell()
    low, high = rounding.percent(row.low, "lower"), rounding.percent(row.high, "upper")
    return Cell(f"{low} – {high}", row.value, None, row.low, row.high)


def markdown(table: Table) -> str:
    """The table as GitHub's Markdown; a group of lines is a line in bold.

    >>> print(markdown(Table("t", "Title", ("model", "natural"), (Line("a_b", (Cell("99.0"),)),))), end="")
    Title
    <BLANKLINE>
    | model | natural |
    | :--- | ---: |
    | a_b | 99.0 |
    """
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"

    width = len(table.head)
    lines = [table.title, "", row(table.head), row([":---", *["---:"] * (width - 1)])]
    for line in table.lines:
        cells = [f"**{line.label}**"] if line.kind == "group" else [line.label, *(c.text + c.sign for c in line.cells)]
        lines.append(row([*cells, *[""] * (width - len(cells))]))
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes)]) + "\n"
