"""Samples a generator: images with labels and codes, a grid with classes as columns, and a measure of quality."""

import dataclasses
import json
import pathlib

from irob.core.check import InputError, integer, unknown, writable_folder, write_atomically
from irob.core.config import option

LABELS = ("turns", "uniform")
ROWS = 10


@dataclasses.dataclass(frozen=True)
class Config:
    """Writes generated images as .npz (x, y, z), which --dataset npz --data-dir FILE.npz reads, and as a PNG grid."""

    generator: str = option("acgan_mnist", "shipped name or folder of the generator, or my.py:name of your own")
    out: str = option("out/sample", "FILE.npz, with FILE.png beside it, or a folder for samples.npz and samples.png")
    samples: int = option(100, "images in all")
    labels: str = option("turns", "turns: 0, 1, 2, ... in turn; uniform: drawn at random, as mnist_gen has them")
    split: str = option("test", "stream of random numbers: train or test; with uniform labels these are mnist_gen's")
    seed: int = option(0, "seed of labels and codes")
    narrow: str = option("", "to a data set's classes: imagenet10_gen makes BigGAN one of ten classes at 32x32")
    resize: str = option("", "to 32x32 (BigGAN): area (default), nearest (as published) or bilinear")
    memory: str = option("", "what may be filled, such as 8GiB; sets the chunks; default: what the device has")
    quality: bool = option(False, "also write quality.json: intended labels and diversity, judged by --classifier")
    quality_samples: int = option(10_000, "images generated for --quality")
    classifier: str = option("mnist_standard", "classifier trained on real images, for --quality")
    dataset: str = option("mnist", "real images to compare with, for --quality and if --data-dir is given")
    data_dir: str = option("", "folder of the real images; without it --quality leaves out the diversity")


def main(config: Config) -> None:
    """Checks, samples, writes; prints the files and the quality."""
    import numpy as np

    from irob import classifiers, data, generators
    from irob.core import memory
    from irob.core.provenance import provenance
    from irob.core.store import fingerprint
    from irob.data import generated, npz
    from irob.evaluation.quality import quality, summary
    from irob.report import figures

    if config.labels not in LABELS:
        raise unknown("labels", config.labels, LABELS)
    count, judged = integer("samples", config.samples, low=1), integer("quality_samples", config.quality_samples, low=1)
    key = generated.stream(config.seed, config.split)
    memory.parse(config.memory or "1")
    generator = generators.load(config.generator)
    if config.narrow or config.resize:
        generator = data.narrowed(config.narrow or data.drawn_by(generator), generator, config.resize)
    if config.quality:
        classifier = classifiers.load(config.classifier)
        real = data.load(config.dataset, "test", data_dir=config.data_dir) if config.data_dir else None
    out = pathlib.Path(config.out)
    path = out if out.suffix == ".npz" else out / "samples.npz"
    folder = writable_folder(path.parent)
    if path.is_dir():
        raise InputError(f"output file {str(path)!r}: it is a folder; choose another name with --out")

    weights = {config.generator: fingerprint(generator.variables)}
    record = provenance(seed=config.seed, settings=dataclasses.asdict(config), weights=weights)
    z, y = generated.codes(key, count, generator.latent_dim, generator.components)
    if config.labels == "turns":
        y = (np.arange(count) % generator.components).astype(np.int32)
    with memory.limited(config.memory):
        x = generated.images(generator, z, y, label="sample")
        measured = quality(key, generator, classifier, real, judged) if config.quality else None

    drawn = {"x": x, "y": generator.labels(y), "z": z, **({"component": y} if generator.label_of else {})}
    print(npz.save(path, **drawn, provenance=np.array(json.dumps(record))))
    tiles = generated.by_class(x, y, generator.components, ROWS)
    if len(tiles):
        picture = figures.samples(tiles, [str(c) for c in generator.labels(np.arange(generator.components))])
        write_atomically(path.with_suffix(".png"), figures.png(picture))
        print(path.with_suffix(".png"))
    if measured is not None:
        write_atomically(folder / "quality.json", json.dumps({**measured, "provenance": record}, indent=2) + "\n")
        print(folder / "quality.json", *summary(measured), sep="\n")
