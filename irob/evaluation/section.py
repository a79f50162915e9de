"""What a section of a report promises, and what the sections of one report share.

A section is a file of `irob.report.sections` with `build() -> Section`, or anybody's own as package.module:build.  It
measures, and it says what the page shows; the report, the page and the files only loop over sections.
"""

import abc
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax

from irob import classifiers
from irob.core import keys, weights
from irob.core.check import InputError, unknown
from irob.core.progress import say
from irob.core.rows import Row
from irob.core.store import Pieces
from irob.core.types import Classifier, Dataset, Generator
from irob.report.model import Block

T = TypeVar("T")
JUDGE = "mnist_standard"  # a classifier of real images, which says whether generated ones show what they should
# To compare with by default; where they are not there, that is said.
UNCONDITIONAL = "gan_mnist"
CERTIFIED = "lipgan_mnist"  # its constant is certified everywhere, so both ends of its limit are


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a section found.

    pictures: name to array, what its blocks show beside rows.  notes: sentences about what was left out, and why.
    warnings: sentences about what makes a number doubtful.  used: name to sha256 of the weights that it loaded.
    """

    rows: tuple[Row, ...] = ()
    pictures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    used: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Section(abc.ABC):
    """A part of a report: what it measures, how much of it in each preset, and how the page shows it."""

    name: str
    """That of its file; of its place in records and pieces."""

    place: float = 100.0
    """Where it stands on the page.  Sections are measured in the same order, each with the rows of those before."""

    presets: Mapping[str, Any] = {}
    """Preset to the sizes that `measure` gets."""

    def sizes(self, preset: str, dataset: str) -> Any:
        """How much it measures; a data set whose images are dear may get less.

        Raises:
            InputError: a preset that it does not have; the nearest is suggested.
        """
        if preset not in self.presets:
            raise unknown("preset", preset, self.presets)
        return self.presets[preset]

    def wanted(self, dataset: str) -> bool:
        """Whether a report on this data set has it unless sections are named."""
        return True

    def images(self, sizes: Any) -> int:
        """How many test images it takes."""
        return 1

    def check(self, plan: "ReportPlan", sizes: Any) -> None:  # noqa: B027
        """Raises `InputError` for what is wrong with the plan, before anything is drawn or measured."""

    @abc.abstractmethod
    def measure(self, context: "Context", sizes: Any) -> Findings:
        """The measurements; what is finished is kept in `context.pieces`."""

    @abc.abstractmethod
    def blocks(self, rows: Sequence[Row], pictures: Mapping[str, Any]) -> list[Block]:
        """What the page shows, from the rows of the whole report and the pictures of this section."""


@dataclasses.dataclass(frozen=True)
class ReportPlan:
    """What a report is about.

    generator: shipped name or folder.  dataset: "" is the one that the generator draws.  models: classifiers; none
    means those shipped for the data set.
    unconditional: a generator without classes to compare with, "" for none.  certified: a second generator, one whose
    constant is certified, "" for none.
    alpha: natural risk of the limits, in (0, 1).  confidence: of every certified end, in (0, 1).
    assume_gaussian: take a generator of other codes for one of Gaussian ones, and record that with every bound.
    """

    sections: tuple[Section, ...]
    preset: str = "quick"
    generator: str = "acgan_mnist"
    dataset: str = ""
    models: tuple[str, ...] = ()
    unconditional: str = ""
    certified: str = ""
    alpha: float = 0.015
    confidence: float = 0.95
    seed: int = 0
    data_dir: str = ""
    resize: str = ""
    assume_gaussian: bool = False


class Clock:
    """Says what is at work and keeps what each part took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, work: Callable[..., T], /, *args: Any, **keywords: Any) -> T:
        """work(*args, **keywords), timed under `name`."""
        say(f"{name} ...")
        start = time.perf_counter()
        try:
            return work(*args, **keywords)
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 2)
            say(f"{name}: {self.seconds[name]:.1f} s")


@dataclasses.dataclass(frozen=True)
class Context:
    """What sections share.

    source: the generator of the data.  test: test images.  rows: of the sections that were measured before.
    folder: of the report; what a section keeps beside its pieces goes there.
    """

    plan: ReportPlan
    source: Generator
    test: Dataset
    pieces: Pieces
    clock: Clock
    rows: tuple[Row, ...] = ()
    folder: pathlib.Path | None = None

    def key(self, name: str) -> jax.Array:
        """The typed key of a measurement: it depends on the seed and this name alone."""
        return keys.named(keys.from_seed(self.plan.seed), name)

    @property
    def drawn(self) -> str:
        """The name of what the generator draws: that of the data set if they are its images."""
        return self.plan.dataset if self.test.z is not None else self.plan.generator

    @functools.cached_property
    def judge(self) -> Classifier | None:
        """The shipped classifier of real images, if it is there and the data are generated ones of its kind."""
        if self.test.z is None or not present([JUDGE], "judge")[0]:
            return None
        judge = classifiers.load(JUDGE)
        fits = (judge.image_shape, judge.num_classes) == (self.test.image_shape, self.test.num_classes)
        return judge if fits else None


def present(names: Sequence[str], kind: str) -> tuple[list[str], list[str]]:
    """Those whose weights are there, and a sentence for each of the others."""
    there, notes = [], []
    for name in names:
        try:
            weights.resolve(name)
        except InputError:
            notes.append(f"{kind} {name}: its weights are not shipped yet; this run says nothing about it.")
        else:
            there.append(name)
    return there, notes
