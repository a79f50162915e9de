"""Trains a model: `python -m irob train METHOD ...` is `python -m train.METHOD ...`."""

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from irob.commands.training import workdir_of
from irob.core import registry
from irob.core.check import InputError, unknown
from irob.core.config import option, run

DOORS = "irob.commands.training"  # generators and the like; classifiers' doors follow from irob/training/methods


@dataclasses.dataclass(frozen=True)
class Files:
    """Flags of every training of a classifier beside the method's own: data, folders, seed."""

    dataset: str = option("", "data set to train on, by name or as FILE.npz; default: mnist_gen, or what your own "
                          "--generator draws")
    data_dir: str = option("", "folder of the data set's files, where it needs files")
    generator: str = option("", "generator of a generated data set, or my.py:name of your own; default: the "
                            "shipped one")
    resize: str = option("", "to 32x32 (BigGAN): area (default), nearest (as published) or bilinear")
    count: int | None = option(None, "only the first so many training images")
    workdir: str = option("", "folder for checkpoints and log; default: out/train/METHOD-seedN")
    resume: bool = option(False, "go on from the last checkpoint in --workdir")
    memory: str = option("", "what generating may fill, such as 8GiB; default: what the device has")
    seed: int = option(0, "seed of weights, order, noise and dropout")
    out: str = option("", "folder for the trained weights; default: WORKDIR/classifier")


FILES = frozenset(f.name for f in dataclasses.fields(Files))


def names() -> tuple[str, ...]:
    """What can be trained: methods for classifiers, and the doors of generators and witnesses."""
    from irob.training import settings

    return tuple(sorted({*settings.names(), *registry.names(DOORS, "main")}))


def door(name: str) -> tuple[type[Any], Callable[[Any], None]]:
    """(Config, main) of a name of `names`, or of a method that is named package.module:build.

    Raises:
        InputError: an unknown name; the nearest is suggested.
    """
    from irob.training import settings

    if name in registry.names(DOORS, "main"):
        found = importlib.import_module(f"{DOORS}.{name}")
        return found.Config, found.main
    if ":" not in name and name not in settings.names():
        raise unknown("method", name, names())
    own = settings.of(name)
    made = dataclasses.make_dataclass("Config", [], bases=(own, Files), frozen=True)
    made.__doc__ = own.__doc__
    return made, functools.partial(work, name)


def work(name: str, config: Any) -> None:
    """Checks the settings, loads the data, trains, and writes the weights with their recipe."""
    from irob import training
    from irob.core import keys, memory
    from irob.training import settings
    from irob.training.named import Named

    given = vars(config)
    files, own = Files(**{k: given[k] for k in FILES}), {k: v for k, v in given.items() if k not in FILES}
    own_data = registry.is_outside(files.generator) and not files.dataset
    files = dataclasses.replace(files, dataset=files.dataset or ("own_gen" if own_data else "mnist_gen"))
    workdir = workdir_of(name.replace(":", ".").replace("/", "."), files)
    if "generator" in inspect.signature(settings.factory(name)).parameters:  # of an attack in the latent space
        own["generator"] = files.generator
    key = keys.from_seed(files.seed)
    options = {"data_dir": files.data_dir, "generator": files.generator, "resize": files.resize}
    about = {k: vars(files)[k] for k in ("dataset", "generator", "resize", "count", "seed")}
    if not files.resize:
        del about["resize"]
    with memory.limited(files.memory):
        training.train(name, Named(files.dataset, files.count, options), key=key, workdir=workdir,
                       out=files.out or workdir / "classifier", resume=files.resume, about=about, **own)


def main(argv: list[str]) -> None:
    """Finds the method's door and runs it."""
    method = argv[0] if argv else ""
    if method in ("-h", "--help"):
        print(f"usage: python -m irob train METHOD [options], METHOD one of {', '.join(names())}\n"
              "or package.module:build; python -m irob train METHOD --help says more")
        sys.exit(0)
    prog = f"python -m irob train {method}".strip()
    try:
        config, work = door(method)
    except InputError as e:
        print(f"python -m irob train: {e}", file=sys.stderr)
        sys.exit(2)
    run(work, config, prog=prog, argv=argv[1:])
