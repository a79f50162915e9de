"""What the generator draws: a grid of fresh images, and how many of them show what they were drawn for."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from irob.core.rows import IntendedShare, Number, Quantity, Row, select
from irob.core.types import Classifier, Dataset, Generator
from irob.data import generated
from irob.evaluation.accuracy import attacked
from irob.evaluation.section import JUDGE, Context, Findings, Section
from irob.report import figures
from irob.report.model import Block


@dataclasses.dataclass(frozen=True)
class Sizes:
    """images: that the judge sees.  rows: of the grid, an image of each class in each."""

    images: int
    rows: int = 10


PRESETS = {"quick": Sizes(2000), "standard": Sizes(10_000), "paper": Sizes(100_000)}


class Samples(Section):
    """Figure 1."""

    name, place = "samples", 40.0
    presets = PRESETS

    def sizes(self, preset: str, dataset: str) -> Sizes:
        """Fewer images of ImageNet10, where they are dear."""
        sizes = super().sizes(preset, dataset)
        dear = {"quick": 500, "standard": 5000, "paper": 10_000}
        return dataclasses.replace(sizes, images=dear[preset]) if dataset == "imagenet10_gen" else sizes

    def images(self, sizes: Sizes) -> int:
        """All that the judge sees."""
        return sizes.images

    def measure(self, context: Context, sizes: Sizes) -> Findings:
        """The grid, and the share of intended labels where there is a judge."""
        pictures = {"samples": context.clock.run("sample images", grid, context.key("figure 1"), context.source,
                                                 sizes.rows)}
        if context.judge is None:
            return Findings(pictures=pictures)
        seen = context.test.take(sizes.images)
        return Findings((context.clock.run("intended labels", intended, context.judge, seen, context.plan.generator),),
                        pictures)

    def blocks(self, rows: Sequence[Row], pictures: Mapping[str, Any]) -> list[Block]:
        """The grid with its sentence."""
        images = pictures["samples"]
        said = "".join(f" Of {r.n:,} images, {100 * r.value:.1f} % show what they were drawn for, by the judgement of "
                       f"{r.method}, which was trained on real images." for r in select(rows, Quantity.INTENDED))
        return [Block(
            "Figure 1. What the generator draws", "A column for each class; every image is a fresh draw." + said,
            "figure1", grid=images, figure=figures.samples(images, [str(c) for c in range(images.shape[1])]))]


def grid(key: jax.Array, generator: Generator, rows: int) -> np.ndarray:
    """Images f[rows, classes, H, W, C], every one a fresh draw."""
    y = np.tile(np.arange(generator.num_classes, dtype=np.int32), rows)
    z = jax.random.normal(key, (len(y), generator.latent_dim))
    return generated.images(generator, np.asarray(z), y).reshape(rows, generator.num_classes, *generator.image_shape)


def intended(judge: Classifier, data: Dataset, name: str) -> Row:
    """The share of generated images that a classifier trained on real ones gives the label they were drawn for."""
    right = attacked.predictions(judge, data.x) == data.y
    number = Number(float(right.mean()), *attacked.interval(int(right.sum()), len(right)), len(right))
    return IntendedShare().row(data.name, name, None, number, JUDGE)


def build() -> Samples:
    """The section."""
    return Samples()
