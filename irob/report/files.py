"""A report into a folder: JSON, CSV, LaTeX, figures and the page, each written whole or not at all."""

import pathlib
from typing import Any

from irob.core.check import write_atomically
from irob.report import csv, figures, html, latex

PAGE = "report.html"


def write(folder: Any, outcome: Any) -> list[pathlib.Path]:
    """Writes report.json, report.csv, a .tex for each table of the blocks, .png and .svg for each figure, and the page.

    outcome: of `evaluation.report.run`, anything with its fields.  Returns the paths written, report.html last.
    """
    report = outcome.report
    files: dict[str, bytes | str] = {"report.json": report.to_json(), "report.csv": csv.text(report.rows)}
    for block in outcome.blocks:
        if block.table is not None:
            files[f"{block.file}.tex"] = latex.tabular(block.table)
        if block.figure is not None:
            files |= {f"{block.file}.png": figures.png(block.figure), f"{block.file}.svg": figures.svg(block.figure)}
    for name, data in files.items():
        write_atomically(pathlib.Path(folder) / name, data)
    return [*(pathlib.Path(folder) / name for name in files), page(folder, outcome)]


def page(folder: Any, outcome: Any) -> pathlib.Path:
    """Writes report.html alone, which a report does after every section."""
    path = pathlib.Path(folder) / PAGE
    write_atomically(path, html.page(outcome.report, outcome.blocks, notes=outcome.omitted,
                                     discoveries=outcome.discoveries))
    return path
