"""Tables as LaTeX: a bare `tabular` that needs no package, with its notes as comments below."""

from irob.report.tables import Table

_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "ε": r"$\epsilon$", "α": r"$\alpha$", "δ": r"$\delta$", "±": r"$\pm$", "≥": r"$\ge$", "·": r"$\cdot$",
    "≤": r"$\le$", "≈": r"$\approx$", "−": r"$-$", "–": "--", "†": r"$^\dagger$", "“": "``", "”": "''",
    "×": r"$\times$", "‡": r"$^\ddagger$",
}


def escape(text: str) -> str:
    r"""Text that LaTeX prints as it stands.

    >>> escape("mnist_gen at 93.1 ± 0.2 %")
    'mnist\\_gen at 93.1 $\\pm$ 0.2 \\%'
    """
    return "".join(_ESCAPES.get(c, c) for c in text)


def tabular(table: Table) -> str:
    """The table as a `tabular`; one line of text for each line of the table."""
    lines = [f"% {table.title}", r"\begin{tabular}{l" + "r" * (len(table.head) - 1) + "}", r"\hline"]
    lines += [" & ".join(escape(h) for h in table.head) + r" \\", r"\hline"]
    for line in table.lines:
        if line.kind == "group":
            lines.append(rf"\multicolumn{{{len(table.head)}}}{{l}}{{\emph{{{escape(line.label)}}}}} \\")
            continue
        label = line.label + (f" ({line.note})" if line.note else "")
        lines.append(" & ".join([escape(label), *(escape(c.text + c.sign) for c in line.cells)]) + r" \\")
    lines += [r"\hline", r"\end{tabular}", *(f"% {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"
