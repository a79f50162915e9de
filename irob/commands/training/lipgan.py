"""Trains the generator whose Lipschitz constant is known: `python -m train.lipgan --data-dir FOLDER`."""

import dataclasses

from irob.commands.training import workdir_of
from irob.core.check import writable_folder
from irob.core.config import option


@dataclasses.dataclass(frozen=True)
class Config:
    """Conditional generator of orthogonal layers and sorted pairs: a Wasserstein auto-encoder."""

    dataset: str = option("mnist", "data set to train on: labelled images")
    data_dir: str = option("", "folder of the data set's files; default: as tfds has prepared it")
    count: int | None = option(None, "only the first so many training images")
    latent_dim: int = option(16, "dimension of the codes")
    width: int = option(256, "hidden units, an even number")
    depth: int = option(2, "hidden matrices")
    largest: float = option(4.0, "cap on the Lipschitz constant", unit="image units per latent unit")
    match: float = option(60.0, "weight of the codes' distance to the Gaussian")
    epochs: int = option(24, "passes over the data")
    batch_size: int = option(32, "rows in a step, each with one image of every class")
    learning_rate: float = option(1e-3, "first step of Adam; it falls by a cosine")
    checkpoint_every: int = option(1, "epochs between checkpoints")
    workdir: str = option("", "folder for checkpoints, log and sample grids; default: out/train/lipgan-seedN")
    resume: bool = option(False, "go on from the last checkpoint in --workdir")
    seed: int = option(0, "seed of weights, order and codes")
    out: str = option("out/weights/lipgan_mnist", "folder for the generator's weights")
    half: bool = option(False, "store the weights as float16")


def main(config: Config) -> None:
    """Trains and saves."""
    from irob import data, generators
    from irob.core import keys, provenance
    from irob.core.check import integer, integers, number, numbers
    from irob.core.progress import say
    from irob.generators import lipgan
    from irob.training.models import gan
    from irob.training.models import lipgan as training

    numbers(config, "learning_rate", "largest", low=0, open_low=True)
    number("match", config.match, low=0)
    integers(config, "epochs", "batch_size", "checkpoint_every", "latent_dim", low=1)
    integer("depth", config.depth, low=0)
    key, workdir = keys.from_seed(config.seed), writable_folder(workdir_of("lipgan", config))
    writable_folder(config.out)
    images = data.load(config.dataset, "train", data_dir=config.data_dir, count=config.count)
    names = {f.name for f in dataclasses.fields(training.Plan)}
    plan = training.Plan(**{k: v for k, v in dataclasses.asdict(config).items() if k in names})
    recipe = {"dataset": config.dataset, "count": config.count, **dataclasses.asdict(plan), "seed": config.seed}
    training.check(plan, images)
    generator = training.train(
        key, images, plan, workdir=workdir, resume=config.resume,
        checkpoint_every=config.checkpoint_every, half=config.half, config=recipe)
    constants = lipgan.class_constants(generator)
    sizes = {k: vars(plan)[k] for k in ("latent_dim", "width", "depth")}
    options = {**sizes, "num_classes": generator.num_classes, "image_shape": list(generator.image_shape)}
    generators.save(
        config.out, generator, half=config.half, options=options, **recipe,
        optimiser="Adam, betas (0.5, 0.99)",
        constant={"global": float(constants.max()), "per_class": [float(c) for c in constants],
                  "how": "product of operator norms, float64 SVD of the stored numbers"},
        figures=gan.figures(workdir), provenance=provenance.provenance(seed=config.seed))
    say(f"wrote {config.out}: Lipschitz constant at most {constants.max():.4f}; "
        f"samples of every epoch in {workdir}/samples")


