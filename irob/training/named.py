"""A data set by name: nothing is loaded or drawn before everything else about a training has been checked."""

import dataclasses
from typing import Any

import jax

from irob import data
from irob.core.check import integer
from irob.core.types import Dataset, Generator
from irob.training.proxy import Generated
from irob.training.source import Source


@dataclasses.dataclass(frozen=True)
class Named:
    """A data set by name, loaded when all else has been checked.

    count: only the first so many training images.  options: of the data set, such as generator or data_dir.
    """

    name: str
    count: int | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.count is not None:
            integer("count", self.count, low=1)

    def train(self, key: jax.Array, fresh: bool) -> Dataset | Source:
        """What to train on; fresh: drawn anew in every epoch, by this key."""
        if not fresh:
            return data.load(self.name, "train", count=self.count, **self.options)
        count = data.count(self.name) if self.count is None else self.count
        return Generated(key, self.drawer(), count, name=self.name)

    def test(self) -> Dataset:
        """What to measure on."""
        return data.load(self.name, "test", **self.options)

    def drawer(self) -> Generator:
        """The generator of the data set; raises `InputError` where its images are not drawn."""
        return data.drawer(self.name, self.options.get("generator", ""), self.options.get("resize", ""))
