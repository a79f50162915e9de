"""Blocks: what a section of a report shows.  HTML, LaTeX and image files only loop over them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from irob.report.tables import EARLIER, Table


@dataclasses.dataclass(frozen=True)
class Block:
    """A heading with what stands under it; everything else may be left out.

    file: name, without its ending, of the files that the table (.tex) and the figure (.png, .svg) are written to.
    part: it belongs to the block before, under a smaller heading.  lead: its text is what the section says in short.
    table: shown below the figure.
    figure: a matplotlib figure.  panels: figures that the page shows side by side in its place, which suits a phone.
    legend: of panels, {"colour", "shape", "label"} each.  gaps: bars, see `summary.gaps`.
    strips: {caption: f[n,H,W,C]}, rows of images.  grid: f[rows, columns, H, W, C].
    """

    heading: str
    text: str = ""
    file: str = ""
    part: bool = False
    lead: bool = False
    table: Table | None = None
    figure: Any = None
    panels: tuple[Any, ...] = ()
    legend: tuple[Mapping[str, str], ...] = ()
    gaps: tuple[Any, ...] = ()
    strips: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    grid: Any = None


def tabled(table: Table | None, *, part: bool = False, file: str = "", text: str = "") -> list[Block]:
    """A block for a table under its own title; none for no table."""
    if table is None:
        return []
    return [Block(table.title, text, file or table.name, part, table=table)]


def with_origins(block: Block, origins: Sequence[str]) -> Block:
    """The block, with a note that says where the marked numbers of its table come from, or those that are drawn."""
    if not origins:
        return block
    if block.table is None:
        drawn = block.gaps or block.panels or (block.figure is not None and block.grid is None)
        said = f" What was not measured in this run is marked {EARLIER} in the tables."
        return dataclasses.replace(block, text=block.text + said) if drawn else block
    if not any(EARLIER in c.sign for line in block.table.lines for c in line.cells):
        return block
    note = f"{EARLIER} Not measured in this run, but {'; '.join(origins)}; shipped with irob, for the same weights."
    return dataclasses.replace(block, table=dataclasses.replace(block.table, notes=(*block.table.notes, note)))
