"""A section of a report as another package would have it: nothing of it stands in irob."""

import numpy as np

from irob.core.check import InputError
from irob.evaluation.section import Findings, Section
from irob.report.model import Block, tabled
from irob.report.tables import Cell, Line, Table


class Brightness(Section):
    """How bright the images of each class are."""

    name = "brightness"
    presets = {"quick": 20, "standard": 200, "paper": 2000}  # noqa: RUF012

    def images(self, sizes):
        """All of them are looked at."""
        return sizes

    def check(self, plan, sizes):
        """A seed that it does not like."""
        if plan.seed == 13:
            raise InputError("brightness: got seed 13, wanted another")

    def measure(self, context, sizes):
        """Means of pixels, class by class."""
        x, y = context.test.x[:sizes], context.test.y[:sizes]
        return Findings(pictures={"means": np.array([x[y == c].mean() for c in range(context.test.num_classes)])},
                        notes=("brightness: of pixels as they are, not of light.",))

    def blocks(self, rows, pictures):
        """One line."""
        cells = tuple(Cell(f"{v:.2f}", float(v)) for v in pictures["means"])
        head = ("class", *map(str, range(len(cells))))
        return [*tabled(Table("brightness", "Brightness", head, (Line("mean", cells),))), Block("Said", "All of it.")]


def build() -> Brightness:
    """The section."""
    return Brightness()


def no_section() -> str:
    """What is built here is no section."""
    return "brightness"
