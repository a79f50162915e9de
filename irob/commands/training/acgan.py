"""Trains the auxiliary-classifier GAN of the paper on real images: `python -m train.acgan --data-dir FOLDER`."""

import dataclasses

from irob.commands.training import workdir_of
from irob.core.check import writable_folder
from irob.core.config import option


@dataclasses.dataclass(frozen=True)
class Config:
    """Auxiliary-classifier GAN (Odena et al., 2017) on real images; the published recipe by default."""

    dataset: str = option("mnist", "data set to train on: 28x28 images, one channel, ten classes")
    data_dir: str = option("", "folder of the data set's files; default: as tfds has prepared it")
    count: int | None = option(None, "only the first so many training images")
    epochs: int = option(25, "passes over the data")
    batch_size: int = option(64, "images in a step")
    learning_rate: float = option(2e-4, "step of Adam, betas (0.5, 0.999)")
    checkpoint_every: int = option(1, "epochs between checkpoints")
    workdir: str = option("", "folder for checkpoints, log and sample grids; default: out/train/acgan-seedN")
    resume: bool = option(False, "go on from the last checkpoint in --workdir")
    seed: int = option(0, "seed of weights, order and codes")
    out: str = option("out/weights/acgan_mnist", "folder for the generator's weights")
    half: bool = option(False, "store the weights as float16")


def main(config: Config) -> None:
    """Trains and saves."""
    work("acgan", config)


def work(name: str, config: Config) -> None:
    """The door's work, for both GANs."""
    from irob import data, generators
    from irob.core import keys, provenance
    from irob.core.check import integers, number
    from irob.core.progress import say
    from irob.training.models import gan

    number("learning rate", config.learning_rate, low=0, open_low=True)
    integers(config, "epochs", "batch_size", "checkpoint_every", low=1)
    key, workdir = keys.from_seed(config.seed), writable_folder(workdir_of(name, config))
    writable_folder(config.out)
    images = data.load(config.dataset, "train", data_dir=config.data_dir, count=config.count)
    recipe = {f.name: vars(config)[f.name] for f in dataclasses.fields(config)
              if f.name in ("dataset", "count", "batch_size", "learning_rate", "seed")}
    generator = gan.train(
        key, name, images, epochs=config.epochs, batch_size=config.batch_size,
        learning_rate=config.learning_rate, workdir=workdir, resume=config.resume,
        checkpoint_every=config.checkpoint_every, config=recipe)
    generators.save(config.out, generator, half=config.half, **recipe, epochs=config.epochs,
                    optimiser="Adam, betas (0.5, 0.999)", figures=gan.figures(workdir),
                    provenance=provenance.provenance(seed=config.seed))
    say(f"wrote {config.out}; samples of every epoch in {workdir}/samples")


