"""Trains a certified classifier: `python -m train.one_lipschitz --generator acgan_mnist --epsilon 2`."""

import dataclasses
import pathlib

from irob.core.config import option


@dataclasses.dataclass(frozen=True)
class Config:
    """A 1-Lipschitz classifier aimed at one epsilon: it keeps as many images certifiably as it can, and its accuracy
    on the others counts for nothing."""

    generator: str = option("acgan_mnist", "generator: a shipped name or a folder")
    epsilon: float = option(2.0, "radius of the l2 ball that is aimed at", unit="image units")
    widths: list[int] = option([512, 512, 256], "hidden units, even numbers, no fewer than there are classes")
    softness: float = option(1.0, "width tau of the relaxed indicator at the beginning", unit="image units")
    sharpness: float = option(0.15, "width tau at the end", unit="image units")
    boundedness: float = option(1.0, "power q of the loss at the end: 0 cross entropy, 1 the share of errors")
    rows: int = option(200_000, "images in the bank")
    epochs: int = option(8, "passes over the bank")
    batch_size: int = option(256, "images in a step")
    learning_rate: float = option(7e-3, "largest step of Adam")
    samples: int = option(20_000, "fresh images on which the result is certified")
    workdir: str = option("", "folder for bank, checkpoints and log; default: out/train/one_lipschitz_EPSILON-seedN")
    resume: bool = option(False, "go on from the last checkpoint in --workdir")
    seed: int = option(0, "seed of bank, weights, order and fresh images")
    out: str = option("", "folder for the weights; default: WORKDIR/classifier")


FOLDERS = ("workdir", "resume", "out")


def main(config: Config) -> None:
    """Trains, certifies and saves."""
    from irob import classifiers, generators
    from irob.classifiers import one_lipschitz as networks
    from irob.commands.training import workdir_of
    from irob.core import check, keys, provenance, store
    from irob.core.progress import say
    from irob.evaluation.limits import label_lower
    from irob.training import classifier as training
    from irob.training.models import one_lipschitz

    plan = one_lipschitz.Plan(
        config.epsilon, tuple(config.widths), config.softness, config.sharpness, config.boundedness, config.rows,
        config.epochs, config.batch_size, config.learning_rate)
    samples = check.integer("samples", config.samples, low=1)
    key, generator = keys.from_seed(config.seed), generators.load(config.generator)
    workdir = check.writable_folder(workdir_of(f"one_lipschitz_{config.epsilon:g}", config))
    out = check.writable_folder(config.out or workdir / "classifier")
    layers = one_lipschitz.train(
        keys.named(key, "training"), generator, plan, workdir=workdir, resume=config.resume,
        label=f"one_lipschitz {config.epsilon:g}")
    trained = networks.classifier(networks.export(layers, joint=True), generator.image_shape)
    figures = label_lower.figures(keys.named(key, "figures"), generator, trained, samples=samples, label="certify",
                                  epsilons=sorted({1.0, 2.0, 3.0, config.epsilon}))
    recipe = {k: v for k, v in dataclasses.asdict(config).items() if k not in FOLDERS}
    recipe["generator"] = pathlib.Path(config.generator).name
    about = {
        "generator_fingerprint": store.fingerprint(generator.variables),
        "recipe": {"method": "one_lipschitz", **recipe, **figures, "seconds": round(training.seconds(workdir))},
        "provenance": provenance.provenance(seed=config.seed)}
    classifiers.save(out, trained, about, half=True)
    say(f"wrote {out}: {figures['certified'][f'{config.epsilon:g}']:.4f} certified at epsilon {config.epsilon:g}, "
        f"natural accuracy {figures['natural']:.4f} on {samples} fresh images")
