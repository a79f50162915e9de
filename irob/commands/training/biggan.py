"""Trains a class-conditional BigGAN at 32x32: `python -m train.biggan --dataset cifar10 --data-dir FOLDER`."""

import dataclasses

from irob.commands.training import workdir_of
from irob.core.check import integers, writable_folder
from irob.core.config import option


@dataclasses.dataclass(frozen=True)
class Config:
    """BigGAN (Brock et al., 2019) on 32x32 colour images; wants a GPU: a pass takes seconds there, hours on a CPU."""

    dataset: str = option("cifar10", "data set to train on: 32x32 images, three channels")
    data_dir: str = option("", "folder of the data set's files; default: as tfds has prepared it")
    count: int | None = option(None, "only the first so many training images")
    epochs: int = option(500, "passes over the data")
    batch_size: int = option(50, "images in a step of either network")
    discriminator_steps: int = option(4, "steps of the discriminator for each of the generator")
    generator_rate: float = option(2e-4, "step of the generator's Adam, betas (0, 0.999)")
    discriminator_rate: float = option(2e-4, "step of the discriminator's Adam, betas (0, 0.999)")
    width: int = option(64, "a quarter of the channels of both networks")
    average: float = option(0.9999, "share of the old in the running average of the weights")
    average_start: int = option(1000, "steps of the generator before the average begins")
    start: str = option("orthogonal", "weights to start from: orthogonal, or normal with deviation 0.02")
    dtype: str = option("float32", "of the convolutions: float32, or bfloat16 for accelerators")
    checkpoint_every: int = option(5, "epochs between checkpoints and sample grids")
    workdir: str = option("", "folder for checkpoints, log and sample grids; default: out/train/biggan-seedN")
    resume: bool = option(False, "go on from the last checkpoint in --workdir")
    seed: int = option(0, "seed of weights, order and codes")
    out: str = option("out/weights/biggan_cifar10", "folder for the generator's weights")
    half: bool = option(False, "store the weights as float16")


def main(config: Config) -> None:
    """Trains and saves."""
    from irob import data, generators
    from irob.core import keys, provenance
    from irob.core.progress import say
    from irob.training.models import biggan, gan

    integers(config, "epochs", "checkpoint_every", low=1)
    shared = {f.name for f in dataclasses.fields(biggan.Recipe)} & {f.name for f in dataclasses.fields(Config)}
    made = biggan.Recipe(**{name: vars(config)[name] for name in shared})
    key, workdir = keys.from_seed(config.seed), writable_folder(workdir_of("biggan", config))
    writable_folder(config.out)
    images = data.load(config.dataset, "train", data_dir=config.data_dir, count=config.count)
    made = dataclasses.replace(made, num_classes=images.num_classes)
    recipe = {"dataset": config.dataset, "count": config.count, "seed": config.seed, **dataclasses.asdict(made)}
    generator = biggan.train(
        key, images, made, epochs=config.epochs, workdir=workdir, resume=config.resume,
        checkpoint_every=config.checkpoint_every, config=recipe)
    generators.save(config.out, generator, half=config.half, **recipe, epochs=config.epochs, loss="hinge",
                    optimiser="Adam, betas (0, 0.999)", figures=gan.figures(workdir),
                    provenance=provenance.provenance(seed=config.seed))
    say(f"wrote {config.out}; samples of every checkpoint in {workdir}/samples")


