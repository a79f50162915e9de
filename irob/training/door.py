"""The common flags and the common work of `python -m train.{standard,adv,trades}`."""

import dataclasses
import pathlib
from typing import Any

from irob.core.check import integer, number, writable_folder
from irob.core.config import option
from irob.core.progress import say


@dataclasses.dataclass(frozen=True)
class Common:
    """Flags that every method of training a classifier has."""

    dataset: str = option("mnist_gen", "data set to train on")
    data_dir: str = option("", "folder of the data set's files, where it needs files")
    generator: str = option("", "generator of a generated data set; default: the shipped one")
    classifier: str = option("small_cnn", "architecture")
    init: str = option("", "weights to start from, a shipped name or a folder; default: fresh ones")
    count: int | None = option(None, "only the first so many training images")
    epochs: int = option(100, "passes over the data")
    batch_size: int = option(128, "images in a step")
    learning_rate: float = option(0.05, "largest step of gradient descent")
    momentum: float = option(0.9, "momentum")
    weight_decay: float = option(0.0, "weight decay")
    schedule: str = option("trades", "decay of the learning rate: trades (x0.1, 0.01, 0.001 from 55, 75, 90 %% of the "
                           "epochs), published (decays multiply, as in the paper's code), cosine, one_cycle, constant")
    norm: str = option("l2", "norm of the ball: l2, linf or l1")
    epsilon: float = option(3.0, "radius of the ball", unit="image units, pixels in [0,1]")
    evaluate_count: int = option(1000, "test images that are attacked after every epoch")
    final_count: int = option(1000, "test images that are attacked with PGD-100 at the end; 0 for none")
    checkpoint_every: int = option(5, "epochs between checkpoints")
    export_every: int = option(0, "epochs between weights kept as small folders in WORKDIR/exports; 0 keeps none")
    workdir: str = option("", "folder for checkpoints and log; default: out/train/METHOD")
    resume: bool = option(False, "go on from the last checkpoint in --workdir")
    seed: int = option(0, "seed of weights, order, noise and dropout")
    out: str = option("", "folder for the trained weights; default: WORKDIR/classifier")


@dataclasses.dataclass(frozen=True)
class Inner(Common):
    """Flags of the inner maximisation."""

    steps: int = option(40, "steps of the inner maximisation")
    step_size: float = option(0.5, "length of such a step", unit="image units")
    epsilon_warmup: float = option(0.0, "passes over which radius and step grow from 0 to full", unit="epochs")
    start: str = option("noise", "where it starts: noise (x + 0.001 N(0,1)) or random (uniform in the ball)")


FOLDERS = ("workdir", "resume", "out", "data_dir", "checkpoint_every", "final_count")  # what does not change the result


def work(name: str, config: Common, **options: Any) -> None:
    """Builds the method, trains, measures, and writes the weights with their recipe."""
    from irob import classifiers, data
    from irob.core import keys, provenance, registry
    from irob.core.threat import LpBall
    from irob.training import classifier as training

    workdir = writable_folder(config.workdir or f"out/train/{name}")
    out = writable_folder(config.out or workdir / "classifier")
    threat = LpBall(config.norm, number("epsilon", config.epsilon, low=0))
    key = keys.from_seed(config.seed)
    if "steps" in options:
        options = {"threat": threat, **options}
    method = registry.module("irob.training", name, kind="method").build(**options)
    number("learning rate", config.learning_rate, low=0)  # before the data, which may take a while to generate
    for what, least in (("epochs", 1), ("batch_size", 1), ("checkpoint_every", 1), ("export_every", 0),
                        ("evaluate_count", 1), ("final_count", 0)):
        integer(what.replace("_", " "), getattr(config, what), low=least)
    init = classifiers.load(config.init) if config.init else None
    given = {"data_dir": config.data_dir, "generator": config.generator}
    train = data.load(config.dataset, "train", count=config.count, **given)
    test = data.load(config.dataset, "test", **given)
    start = init or classifiers.build(
        config.classifier, train.num_classes, train.image_shape, key=keys.named(key, "weights"))
    per_epoch = len(train) // config.batch_size
    tx = training.optimiser(
        config.schedule, learning_rate=config.learning_rate, momentum=config.momentum,
        weight_decay=config.weight_decay, epochs=config.epochs, steps_per_epoch=max(1, per_epoch))
    recipe = {k: v for k, v in dataclasses.asdict(config).items() if k not in FOLDERS}
    if config.init:
        recipe["init"] = pathlib.Path(config.init).name
    trained = training.train(
        keys.named(key, "training"), start, method, train, test, threat=threat, workdir=workdir, tx=tx,
        epochs=config.epochs, batch_size=config.batch_size, resume=config.resume,
        checkpoint_every=config.checkpoint_every, export_every=config.export_every,
        epsilon_warmup=getattr(config, "epsilon_warmup", 0.0), evaluate_count=config.evaluate_count, label=name,
        config={"method": name, **recipe})
    figures = training.figures(keys.named(key, "figures"), trained, test, threat, count=config.final_count)
    figures["seconds"] = round(training.seconds(workdir))
    classifiers.save(out, trained, {"recipe": {"method": name, **recipe, **figures},
                                    "provenance": provenance.provenance(seed=config.seed)})
    say(f"wrote {out}: natural accuracy {figures['natural']:.4f} on {len(test)} test images")
