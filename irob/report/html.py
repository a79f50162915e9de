"""One self-contained HTML page: styles and figures inside it, nothing fetched from anywhere.

The page follows the reader's light or dark theme and the width of a phone.
"""

import base64
import datetime
from collections.abc import Sequence
from typing import Any

import jinja2

from irob.core.evidence import Report
from irob.report import figures, rounding, summary
from irob.report.model import Block

QUESTION = "How robust can any classifier be?"


def page(
    report: Report, blocks: Sequence[Block], *, title: str = QUESTION, head: bool = True, command: str = "report",
    discoveries: Sequence[str] = (), notes: Sequence[str] = (),
) -> str:
    """A self-contained HTML page of a report, as text.

    Args:
        report: rows and provenance.
        blocks: what stands on it, in their order.
        title: the head line.  command: of irob, above it.
        head: whether headline numbers come first, and what may be claimed last.
        discoveries: sentences worth a look.  notes: what this run left out, and why.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("irob.report", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["image"] = _data_uri
    environment.filters["svg"] = lambda figure: figures.svg(figure, inline=True)
    environment.filters["up"] = lambda share: rounding.percent(share, "upper")
    environment.filters["down"] = lambda share: rounding.percent(share, "lower")
    rows = report.rows
    said = {"lede": summary.lede(rows), "cards": summary.cards(rows), "claims": summary.claims(rows),
            "estimates": summary.estimates(rows)} if head else {}
    return environment.get_template("page.html").render(
        title=title, command=command, blocks=blocks, discoveries=discoveries, omitted=notes,
        provenance=flat(report.provenance), day=_day(report.provenance), **said)


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
