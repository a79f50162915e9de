"""A report into a folder: JSON, CSV, LaTeX, figures and the page, each written whole or not at all."""

import pathlib
from collections.abc import Sequence
from typing import Any

from irob.core.check import write_atomically
from irob.core.evidence import Report
from irob.report import (
    attacks,
    comparison,
    comparison_figure,
    csv,
    curves,
    figures,
    html,
    label,
    latex,
    limits,
    table3,
    tables,
)


def write(
    folder,
    report: Report,
    *,
    generator: str = "",
    pictures: dict[str, Any] | None = None,
    discoveries: Sequence[str] = (),
    omitted: Sequence[str] = (),
    title: str = "How robust can any classifier be?",
) -> list[pathlib.Path]:
    """Writes report.json, report.csv, report.html, table1.tex, table3.tex, attacks.tex, figure1 and figure2 (PNG, SVG);
    for each distribution whose limit was bracketed also label_NAME.tex, limits_NAME.tex and figures, and one for
    earlier bounds.

    What the rows do not hold is left out.  Returns the paths written, report.html last.
    """
    folder, rows, pictures = pathlib.Path(folder), report.rows, pictures or {}
    made = (table3.table3(rows), attacks.table(rows), tables.table1(rows, generator),
            tables.comparison(rows, generator), tables.fawzi(rows))
    tabled = [t for t in made if t is not None]
    files: dict[str, bytes | str] = {"report.json": report.to_json(), "report.csv": csv.text(rows)}
    files |= {f"{t.name}.tex": latex.tabular(t) for t in tabled}
    drawn: dict[str, Any] = {}
    if "samples" in pictures:
        grid = pictures["samples"]
        drawn["figure1"] = figures.samples(grid, [str(c) for c in range(grid.shape[1])])
    if html.radii(rows):
        drawn["figure2"] = figures.robustness(rows, pictures.get("pairs"))
    curve = curves.figure(rows)
    if curve is not None:
        drawn["curves"] = curve
    for d in label.datasets(rows):
        bracket = label.table(rows, d)
        assert bracket is not None
        drawn[f"label_{pathlib.PurePath(d).name}"] = label.figure(rows, d)
        files[f"label_{pathlib.PurePath(d).name}.tex"] = latex.tabular(bracket)
    for i, d in enumerate(limits.datasets(rows)):
        table = limits.ladder(rows, d)
        assert table is not None
        drawn[f"figure{3 + i}"] = limits.figure(rows, d, limits.alphas(rows, d)[0])
        files[f"limits_{pathlib.PurePath(d).name}.tex"] = latex.tabular(table)
    earlier = comparison.comparison_table(rows)
    if earlier is not None:
        drawn[f"figure{3 + len(limits.datasets(rows))}"] = comparison_figure.comparison_figure(rows)
        files["earlier.tex"] = latex.tabular(earlier)
    for name, figure in drawn.items():
        files |= {f"{name}.png": figures.png(figure), f"{name}.svg": figures.svg(figure)}
    files["report.html"] = html.page(
        report, tabled, pictures=pictures, discoveries=discoveries, omitted=omitted, title=title)
    for name, data in files.items():
        write_atomically(folder / name, data)
    return [folder / name for name in files]
