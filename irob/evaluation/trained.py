"""Trains the classifiers of a report for a generator whose classifiers cannot be shipped, and keeps them.

Table 3 holds adversarially trained classifiers and TRADES against the limit.  Those of generated MNIST are shipped;
those of ImageNet10 depend on weights that are not ours to ship.  So the report trains them, with the paper's settings
for the data set and as many passes as its preset affords, and finds them again the next time.  Images are kept in
blocks and training in checkpoints: a run that was killed goes on.
"""

import functools
import hashlib
import json
import pathlib

import numpy as np

from irob import training
from irob.core import keys
from irob.core.check import integer
from irob.core.progress import say
from irob.core.store import Pieces, fingerprint, whole
from irob.core.types import Dataset, Generator
from irob.data import generated
from irob.training.run import plan

DATASETS = ("imagenet10_gen", "cifar10_gen")
METHODS = ("adv", "trades")
BLOCK = 500  # images in a piece on disk
# Training images and passes over them; "paper" is the paper's recipe.
SIZES = {"quick": (2000, 4, 500), "standard": (20_000, 10, 2000), "paper": (50_000, 100, 10_000)}


def train(
    dataset: str,
    generator: Generator,
    *,
    preset: str,
    folder: pathlib.Path,
    pieces: Pieces,
    seed: int = 0,
    sizes: tuple[int, int, int] | None = None,
) -> list[str]:
    """Folders of the classifiers of this generator's images, by the methods of Table 3; trained if need be.

    Args:
        preset: whose sizes to take.  sizes: others, (training images, passes, test images).
        folder: for the classifiers.  pieces: for the images.
    """
    count, epochs, held = sizes or SIZES[preset]
    for name, value in (("training images", count), ("epochs", epochs), ("test images", held)):
        integer(name, value, low=1)
    settings = {"epochs": epochs, "final_count": 0, "evaluate_count": min(held, 200), "checkpoint_every": 1,
                "batch_size": min(128, count)}
    plans = [repr(plan(method, dataset, **settings).settings) for method in METHODS]  # the paper's values among them
    about = {"dataset": dataset, "count": count, "seed": seed}
    mark = hashlib.sha256(json.dumps([whole(generator), held, about, plans]).encode()).hexdigest()[:12]
    out, data = [], None
    for method in METHODS:
        place = folder / mark / f"{dataset}_{method}"
        out.append(str(place))
        if (place / "config.json").is_file():
            continue
        if data is None:
            data = tuple(images(dataset, generator, split, n, seed, pieces)
                         for split, n in (("train", count), ("test", held)))
        say(f"training {place.name}: {count} images, {epochs} passes")
        training.train(
            method, data[0], key=keys.from_seed(seed), test=data[1], workdir=place.with_name(f"{method}_run"),
            out=place, resume=True, about=about, **settings)
    return out


def images(dataset: str, generator: Generator, split: str, count: int, seed: int, pieces: Pieces) -> Dataset:
    """The first `count` images of a split, as the data set has them, kept on disk in blocks."""
    z, y = generated.codes(generated.stream(seed, split), count, generator.latent_dim, generator.components)
    weights, blocks = whole(generator), []
    for start in range(0, count, BLOCK):
        s = slice(start, start + BLOCK)
        label = f"{dataset} {split}, images {min(s.stop, count)} of {count}"
        record = {"generator": weights, "codes": fingerprint((z[s], y[s]))}
        work = functools.partial(_drawn, generator, z[s], y[s], label)
        blocks.append(pieces.get("images", record, work)["x"])
    return generated.labelled(generator, np.concatenate(blocks), y, z, dataset)


def _drawn(generator: Generator, z: np.ndarray, y: np.ndarray, label: str) -> dict[str, np.ndarray]:
    """A block of images."""
    return {"x": generated.images(generator, z, y, label=label)}
