"""Tables for a terminal: aligned plain text."""

from irob.report.tables import Line, Table


def render(table: Table, *, notes: bool = True) -> str:
    """The table with aligned columns, its notes below it."""
    cells = [[table.head[0], *table.head[1:]]]
    cells += [[_label(line), *(c.text + c.sign for c in line.cells)] for line in table.lines if line.kind != "group"]
    widths = [max(len(row[i]) if i < len(row) else 0 for row in cells) for i in range(len(table.head))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))

    def aligned(row: list[str]) -> str:
        return "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])

    lines = [table.title, rule, aligned(cells[0]), rule]
    for line in table.lines:
        lines.append(line.label if line.kind == "group" else aligned(
            [_label(line), *(c.text + c.sign for c in line.cells)]))
    return "\n".join([*lines, rule, *(table.notes if notes else ())])


def _label(line: Line) -> str:
    return f"  {line.label}" + (f" ({line.note})" if line.note and line.kind == "bound" else "")
