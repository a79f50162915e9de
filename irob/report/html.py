"""One self-contained HTML page: styles and figures inside it, nothing fetched from anywhere.

The page follows the reader's light or dark theme and the width of a phone.
"""

import base64
import datetime
from collections.abc import Sequence
from typing import Any

import jinja2

from irob.core.evidence import Report
from irob.core.rows import Quantity, select
from irob.report import comparison, comparison_figure, curves, figures, label, limits, rounding, summary, tables

_LOADER = jinja2.PackageLoader("irob.report", "templates")


def page(
    report: Report,
    tabled: Sequence[tables.Table],
    *,
    pictures: dict[str, Any],
    discoveries: Sequence[str] = (),
    omitted: Sequence[str] = (),
    title: str = "How robust can any classifier be?",
) -> str:
    """The page as text.

    Args:
        report: rows and provenance.
        tabled: tables in the order of the page.
        pictures: "samples": f[rows, classes, H, W, C]; "pairs": {caption: f[n,H,W,C]}; either may be missing.
        discoveries: sentences of `Report.check`.
        omitted: what this run left out, and why.
        title: the page's head line.
    """
    rows = report.rows
    environment = jinja2.Environment(loader=_LOADER, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["image"] = lambda array: _data_uri(array)
    environment.filters["up"] = lambda share: rounding.percent(share, "upper")
    environment.filters["down"] = lambda share: rounding.percent(share, "lower")
    grid = pictures.get("samples")
    return environment.get_template("page.html").render(
        title=title,
        lede=summary.lede(rows),
        cards=summary.cards(rows),
        gaps=summary.gaps(rows),
        claims=summary.claims(rows),
        estimates=summary.estimates(rows),
        discoveries=discoveries,
        omitted=omitted,
        tables={t.name: t for t in tabled},
        samples=grid,
        intended=select(rows, Quantity.INTENDED),
        classes=range(0 if grid is None else grid.shape[1]),
        panels=[figures.svg(figures.one_panel(rows, e), inline=True) for e in radii(rows)],
        legend=figures.legend(rows),
        curves=_inline(curves.figure(rows)),
        pairs=pictures.get("pairs", {}),
        labels=labels(rows),
        sides=sides(rows),
        earlier=comparison.comparison_table(rows),
        earlier_figure=figures.svg(comparison_figure.comparison_figure(rows), inline=True)
        if comparison.rows_of(rows) else "",
        provenance=flat(report.provenance),
        day=_day(report.provenance),
    )


def _inline(figure: Any) -> str:
    return "" if figure is None else figures.svg(figure, inline=True)


def labels(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The bracket for label robustness of each distribution: table and figure."""
    return [{"table": label.table(rows, d), "figure": figures.svg(label.figure(rows, d), inline=True)}
            for d in label.datasets(rows)]


def sides(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The error-region limit of each distribution from both sides: words, ladder of methods, constants, figure."""
    return [{
        "dataset": d, "words": limits.words(rows, d), "ladder": limits.ladder(rows, d),
        "constants": limits.constants(rows, d), "ratios": limits.ratios(rows, d),
        "figure": figures.svg(limits.figure(rows, d, limits.alphas(rows, d)[0]), inline=True),
    } for d in limits.datasets(rows)]


def radii(rows: Sequence[Any]) -> list[float]:
    """The radii that have something to draw."""
    drawn = [r for r in rows if r.detail.curve or vars(r.detail).get("risk") is not None]
    return [e for e in tables.epsilons(rows) if any(r.epsilon == e for r in drawn)]


def _day(provenance: dict[str, Any]) -> str:
    try:
        return f"{datetime.datetime.fromisoformat(provenance['time']):%d %B %Y, %H:%M} UTC"
    except (KeyError, ValueError, TypeError):
        return ""


def _data_uri(image: Any) -> str:
    """One image f[H,W,C] in [0,1] as a PNG that stands in the page itself."""
    import io

    import numpy as np
    from matplotlib import image as mpl_image

    pixels = np.round(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
    out = io.BytesIO()
    mpl_image.imsave(out, pixels, format="png", metadata={"Software": None})  # type: ignore[dict-item]
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def flat(record: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested provenance as pairs of name and text.

    >>> flat({"seed": 0, "device": {"platform": "cpu"}})
    [('seed', '0'), ('device / platform', 'cpu')]
    """
    out: list[tuple[str, str]] = []
    for name, value in record.items():
        full = f"{prefix} / {name}" if prefix else name
        out += flat(value, full) if isinstance(value, dict) else [(full, str(value))]
    return out
