"""The common flags and the common work of `python -m train.{standard,adv,trades,lp_certify}`."""

import dataclasses
import inspect
import pathlib
from collections.abc import Sequence
from typing import Any, TypeVar

from irob.core.check import integer, number, writable_folder
from irob.core.config import option
from irob.core.progress import say
from irob.core.types import Dataset

C = TypeVar("C", bound="Common")


@dataclasses.dataclass(frozen=True)
class Common:
    """Flags that every method of training a classifier has."""

    dataset: str = option("mnist_gen", "data set to train on")
    data_dir: str = option("", "folder of the data set's files, where it needs files")
    generator: str = option("", "generator of a generated data set; default: the shipped one")
    resize: str = option("", "to 32x32 (BigGAN): area (default), nearest (as published) or bilinear")
    classifier: str = option("", "architecture; default: the paper's, small_cnn, for 32x32 colour images big_cnn")
    init: str = option("", "weights to start from, a shipped name or a folder; default: fresh ones")
    count: int | None = option(None, "only the first so many training images")
    epochs: int = option(100, "passes over the data")
    batch_size: int = option(128, "images in a step")
    learning_rate: float | None = option(None, "largest step of gradient descent; default: 0.05, with big_cnn 0.01")
    momentum: float = option(0.9, "momentum")
    weight_decay: float | None = option(None, "weight decay; default: 0, with big_cnn 2e-4")
    schedule: str = option("trades", "decay of the learning rate: trades (x0.1, 0.01, 0.001 from 55, 75, 90 %% of the "
                           "epochs), published (decays multiply, as in the paper's code), halving, cosine, one_cycle, "
                           "constant")
    norm: str = option("l2", "norm of the ball: l2, linf or l1")
    epsilon: float = option(3.0, "radius of the ball", unit="image units, pixels in [0,1]")
    evaluate_count: int = option(1000, "test images that are attacked after every epoch")
    final_count: int = option(1000, "test images that are attacked with PGD-100 at the end; 0 for none")
    checkpoint_every: int = option(5, "epochs between checkpoints")
    export_every: int = option(0, "epochs between weights kept as small folders in WORKDIR/exports; 0 keeps none")
    workdir: str = option("", "folder for checkpoints and log; default: out/train/METHOD")
    resume: bool = option(False, "go on from the last checkpoint in --workdir")
    memory: str = option("", "what generating may fill, such as 8GiB; default: what the device has")
    seed: int = option(0, "seed of weights, order, noise and dropout")
    out: str = option("", "folder for the trained weights; default: WORKDIR/classifier")


@dataclasses.dataclass(frozen=True)
class Inner(Common):
    """Flags of the inner maximisation."""

    steps: int | None = option(None, "steps of the inner maximisation; default: 40, with big_cnn 10")
    step_size: float = option(0.5, "length of such a step", unit="image units")
    epsilon_warmup: float = option(0.0, "passes over which radius and step grow from 0 to full", unit="epochs")
    start: str = option("noise", "where it starts: noise (x + 0.001 N(0,1)) or random (uniform in the ball)")


# The published settings where they differ: generated MNIST, and 32x32 colour images (ImageNet10, and so CIFAR-10).
SMALL: dict[str, Any] = {"classifier": "small_cnn", "learning_rate": 0.05, "weight_decay": 0.0, "steps": 40}
LARGE: dict[str, Any] = {"classifier": "big_cnn", "learning_rate": 0.01, "weight_decay": 2e-4, "steps": 10}
SETTINGS = {"imagenet10_gen": LARGE, "cifar10_gen": LARGE, "cifar10": LARGE}

# What does not change the result.
FOLDERS = ("workdir", "resume", "out", "data_dir", "checkpoint_every", "final_count", "final_radii", "memory")


def paper(config: C) -> C:
    """The config with the paper's settings for its data set in the place of those that were not given.

    >>> paper(Inner(dataset="imagenet10_gen", weight_decay=0.0)).learning_rate, paper(Inner()).steps
    (0.01, 40)
    """
    has = {f.name for f in dataclasses.fields(config)}
    wanted = {k: v for k, v in SETTINGS.get(config.dataset, SMALL).items() if k in has}
    return dataclasses.replace(config, **{k: v for k, v in wanted.items() if getattr(config, k) in (None, "")})


def work(name: str, config: Common, *, data: Sequence[Dataset] | None = None, **options: Any) -> None:
    """Builds the method, trains, measures, and writes the weights with their recipe.

    data: training and test set, if they are there already.
    """
    from irob import classifiers
    from irob.core import keys, memory, provenance, registry
    from irob.core.threat import LpBall
    from irob.training import classifier as training

    workdir = writable_folder(config.workdir or f"out/train/{name}")
    out = writable_folder(config.out or workdir / "classifier")
    config = paper(config)
    threat = LpBall(config.norm, number("epsilon", config.epsilon, low=0))
    key = keys.from_seed(config.seed)
    build = registry.module("irob.training", name, kind="method").build
    if "threat" in inspect.signature(build).parameters:
        options = {"threat": threat, **options}
    method = build(**options)
    # Before the data, which may take a while to generate.
    rate, decay = (number(name.replace("_", " "), getattr(config, name), low=0)
                   for name in ("learning_rate", "weight_decay"))
    for what, least in (("epochs", 1), ("batch_size", 1), ("checkpoint_every", 1), ("export_every", 0),
                        ("evaluate_count", 1), ("final_count", 0)):
        integer(what.replace("_", " "), getattr(config, what), low=least)
    init = classifiers.load(config.init) if config.init else None
    if data is None:
        with memory.limited(config.memory):
            data = loaded(config)
    train, test = data
    start = init or classifiers.build(
        config.classifier, train.num_classes, train.image_shape, key=keys.named(key, "weights"))
    per_epoch = len(train) // config.batch_size
    tx = training.optimiser(
        config.schedule, learning_rate=rate, momentum=config.momentum,
        weight_decay=decay, epochs=config.epochs, steps_per_epoch=max(1, per_epoch),
        rule=getattr(config, "rule", "sgd"))
    recipe = {k: v for k, v in dataclasses.asdict(config).items() if k not in FOLDERS and (k, v) != ("resize", "")}
    if config.init:
        recipe["init"] = pathlib.Path(config.init).name
    trained = training.train(
        keys.named(key, "training"), start, method, train, test, threat=threat, workdir=workdir, tx=tx,
        epochs=config.epochs, batch_size=config.batch_size, resume=config.resume,
        checkpoint_every=config.checkpoint_every, export_every=config.export_every,
        epsilon_warmup=getattr(config, "epsilon_warmup", 0.0), evaluate_count=config.evaluate_count, label=name,
        config={"method": name, **recipe})
    figures = training.figures(keys.named(key, "figures"), trained, test, threat, count=config.final_count,
                               radii=getattr(config, "final_radii", None), method=method)
    if config.final_count and hasattr(method, "figures"):  # what is too dear to measure after every epoch
        figures |= method.figures(keys.named(key, "own figures"), trained, test.take(config.final_count))
    figures["seconds"] = round(training.seconds(workdir))
    classifiers.save(out, trained, {"recipe": {"method": name, **recipe, **figures},
                                    "provenance": provenance.provenance(seed=config.seed)})
    say(f"wrote {out}: natural accuracy {figures['natural']:.4f} on {len(test)} test images")


def loaded(config: Common) -> list[Dataset]:
    """Training and test set of the config."""
    from irob import data

    given = {"data_dir": config.data_dir, "generator": config.generator, "resize": config.resize}
    return [data.load(config.dataset, "train", count=config.count, **given), data.load(config.dataset, "test", **given)]
