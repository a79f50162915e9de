"""What decides the result of training a classifier, beside method, data and key; a method's file may add to it.

The fields are the flags of `python -m irob train METHOD`, and the keywords of `irob.training.train`.
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from irob.core import registry
from irob.core.check import InputError, integer, number, unknown
from irob.core.config import option

METHODS = "irob.training.methods"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that every method has; None and "" stand for the paper's, which depend on the data set."""

    classifier: str = option("", "architecture; default: the paper's, small_cnn, for 32x32 colour images big_cnn")
    init: str = option("", "weights to start from, a shipped name or a folder; default: fresh ones")
    epochs: int = option(100, "passes over the data")
    batch_size: int = option(128, "images in a step")
    rule: str = option("sgd", "rule of descent: sgd or adam")
    learning_rate: float | None = option(None, "largest step of gradient descent; default: 0.05, with big_cnn 0.01")
    momentum: float = option(0.9, "momentum")
    weight_decay: float | None = option(None, "weight decay; default: 0, with big_cnn 2e-4")
    schedule: str = option("trades", "decay of the learning rate: trades (x0.1, 0.01, 0.001 from 55, 75, 90 %% of the "
                           "epochs), published (decays multiply, as in the paper's code), halving, cosine, one_cycle, "
                           "constant")
    norm: str = option("l2", "norm of the ball: l2, linf or l1")
    epsilon: float = option(3.0, "radius of the ball", unit="image units, pixels in [0,1]")
    epsilon_warmup: float = option(0.0, "passes over which radius and step grow from 0 to full", unit="epochs")
    average: float = option(0.0, "decay of a running average of the weights, such as 0.999, which is then what is "
                            "evaluated and kept; 0: the weights themselves")
    fresh: bool = option(False, "train on images that the generator of a generated data set draws anew in every epoch")
    evaluate_count: int = option(200, "test images for the log's figures after every epoch: natural accuracy, and PGD "
                                 "of 100 steps, each a sixth of the largest radius, as at the end")
    final_count: int = option(1000, "test images that are attacked with PGD-100 at the end; 0 for none")
    final_radii: list[float] = option([], "radii of these attacks; default: a third, two thirds and all of epsilon")
    checkpoint_every: int = option(5, "epochs between checkpoints")
    export_every: int = option(0, "epochs between weights kept as small folders in WORKDIR/exports; 0 keeps none")

    def checked(self) -> "Settings":
        """The settings; raises `InputError` for numbers out of range."""
        for what in ("learning_rate", "weight_decay", "epsilon", "epsilon_warmup"):
            number(what.replace("_", " "), vars(self)[what], low=0)
        if not number("average", self.average, low=0) < 1:
            raise InputError(f"average: got {self.average!r}, wanted a decay in [0, 1), such as 0.999")
        for radius in self.final_radii:
            number("final radii", radius, low=0, open_low=True)
        for what, least in (("epochs", 1), ("batch_size", 1), ("checkpoint_every", 1), ("export_every", 0),
                            ("evaluate_count", 1), ("final_count", 0)):
            integer(what.replace("_", " "), vars(self)[what], low=least)
        return self


@dataclasses.dataclass(frozen=True)
class Searching(Settings):
    """Settings of methods with an inner maximisation by projected ascent."""

    steps: int | None = option(None, "steps of the inner maximisation; default: 40, with big_cnn 10")
    step_size: float = option(0.5, "length of such a step", unit="image units")
    start: str = option("noise", "where it starts: noise (x + 0.001 N(0,1)) or random (uniform in the ball)")


S = TypeVar("S", bound=Settings)

# The published settings where they differ: generated MNIST, and 32x32 colour images (ImageNet10, and so CIFAR-10).
SMALL: dict[str, Any] = {"classifier": "small_cnn", "learning_rate": 0.05, "weight_decay": 0.0, "steps": 40}
LARGE: dict[str, Any] = {"classifier": "big_cnn", "learning_rate": 0.01, "weight_decay": 2e-4, "steps": 10}
PAPER = {"imagenet10_gen": LARGE, "cifar10_gen": LARGE, "cifar10": LARGE}

# What does not change the weights, and is not written into their recipe; nor is what is off.
ASIDE = ("checkpoint_every", "final_count", "final_radii")
OPTIONAL = ("average", "fresh")
# What may differ when a run is gone on with.
FREE = ("epochs", "evaluate_count", "extended")


def paper(given: S, dataset: str) -> S:
    """The settings, with the paper's for this data set in the place of those that were not given.

    >>> paper(Searching(weight_decay=0.0), "imagenet10_gen").learning_rate, paper(Searching(), "").steps
    (0.01, 40)
    """
    now = vars(given)
    wanted = {k: v for k, v in PAPER.get(dataset, SMALL).items() if k in now and now[k] in (None, "")}
    return dataclasses.replace(given, **wanted)


def names() -> tuple[str, ...]:
    """The registered methods of training a classifier.

    >>> "adv" in names()
    True
    """
    return registry.names(METHODS)


def factory(method: str) -> Callable:
    """The `build` of a registered method, or of one that is named package.module:build."""
    return registry.factory(METHODS, method, kind="method")


def of(method: str) -> type[Settings]:
    """The settings of a method: the class `Settings` of its file.

    A file without one has those that every method has and the plain keywords of its `build`.
    """
    build = factory(method)
    own = vars(sys.modules[build.__module__]).get("Settings")
    if own is not None and own.__module__ == build.__module__:  # its own, not imported to be a base
        return own
    text, common = inspect.getdoc(build) or "", {f.name for f in dataclasses.fields(Settings)}
    fields: list[Any] = []
    for name, parameter in inspect.signature(build).parameters.items():
        if name not in common and isinstance(parameter.default, (bool, int, float, str)):
            said = re.search(rf"^\s*{name}: (.*)$", text, re.MULTILINE)
            help = said[1] if said else f"option of {method}"
            fields.append((name, type(parameter.default), option(parameter.default, help.replace("%", "%%"))))
    made = dataclasses.make_dataclass("Settings", fields, bases=(Settings,), frozen=True)
    made.__doc__ = text.split("\n")[0] or f"Training by {method}."
    return made


def made(method: str, given: dict[str, Any]) -> Settings:
    """The settings of a method with these values.

    Raises:
        InputError: a name that it does not have; the nearest is suggested.
    """
    own = of(method) if method else Settings
    known = [f.name for f in dataclasses.fields(own)]
    for name in given:
        if name not in known:
            raise unknown("setting", name, known)
    return own(**given)
