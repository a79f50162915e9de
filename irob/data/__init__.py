"""Data sets by name: images f[n,H,W,C] in [0,1], labels, and latent codes where they are known.

    load("mnist", "test", data_dir="...")            real MNIST from IDX files, or as tfds has prepared it
    load("mnist_gen", "train", generator=g, seed=0)  generated, with codes
    load("my.npz", "test")                           your own file of x, y and optionally z
    load("my.py:build", "test")                      your own build(split, **options), which no file here knows

A data set is one file of this folder with `build(split, **options) -> Dataset`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from irob.core import check, registry
from irob.core.check import InputError, unknown
from irob.core.types import Dataset, Generator

SPLITS = ("train", "test")


def names() -> tuple[str, ...]:
    """The data sets that `load` knows."""
    return registry.names(__name__)


def takes(name: str) -> tuple[str, ...]:
    """The options of a data set, for doors that offer the options of them all.

    >>> takes("mnist")
    ('data_dir', 'count')
    """
    build = _build(name)
    return tuple(p for p in inspect.signature(build).parameters if p != "split")


def _build(name: str) -> Callable[..., Dataset]:
    """What makes a data set of this name; one that ends in .npz is a file, one with a colon a user's own function."""
    if registry.is_outside(name):
        return _own(name, registry.outside(name, kind="data set"))
    if name.endswith(".npz"):
        return functools.partial(registry.module(__name__, "npz", kind="data set").build, data_dir=name)
    return registry.module(__name__, name, kind="data set").build


def _own(name: str, build: Callable) -> Callable[..., Dataset]:
    """A user's function, whose errors are one line and whose data set is checked."""

    @functools.wraps(build)
    def checked(split: str, **options: Any) -> Dataset:
        with registry.failing(name, kind="data set"):
            found = build(split, **options)
        if not isinstance(found, Dataset):
            raise InputError(f"data set {name!r}: got {type(found).__name__}, wanted an irob.core.types.Dataset")
        check.images(found.x, found.y, num_classes=found.num_classes)
        return found if found.name else dataclasses.replace(found, name=name)

    return checked


def load(name: str, split: str, **options: Any) -> Dataset:
    """One split of a data set, checked.

    Args:
      name: one of `names()`, path/to/file.npz, or package.module:build of your own.
      split: "train" or "test".
      options: the data set's own (data_dir, generator, seed, count); None and "" mean its default.

    Raises:
      InputError: for an unknown name, split or option, and for files that are missing or broken.

    >>> load("synthetic", "test", count=20, size=8).x.shape
    (20, 8, 8, 1)
    """
    build = _build(name)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    given = {k: v for k, v in options.items() if v is not None and not (isinstance(v, str) and v == "")}
    for option in given:
        if option not in takes(name):
            flag, known = option.replace("_", "-"), ", ".join(takes(name))
            raise InputError(f"data set {name!r} takes no {option}: it takes {known}; leave out --{flag}")
    return build(split, **given)


def drawn_by(generator: Generator) -> str:
    """The data set that a generator draws, as far as its kind tells; own_gen of a user's, mnist_gen of others.

    >>> drawn_by(Generator((), None, 100, 10, (28, 28, 1)))
    'mnist_gen'
    """
    for name in ("imagenet10_gen", "cifar10_gen", "own_gen"):
        if registry.module(__name__, name, kind="data set").draws(generator):
            return name
    return "mnist_gen"


def narrowed(name: str, generator: Generator, resize: str | None = None) -> Generator:
    """The generator as a data set takes it: BigGAN of all classes becomes one of ImageNet10's, at 32x32.

    Raises:
      InputError: an unknown name; --resize where nothing is brought to another size.
    """
    name = "npz" if name.endswith(".npz") else name
    if not registry.is_outside(name):
        room = registry.module(__name__, name, kind="data set")
        if name in registry.names(__name__, "narrowed"):
            return room.narrowed(generator, resize or None)
    if resize:
        raise InputError(f"data set {name!r} takes no resize: its images are as the generator draws them")
    return generator


def drawer(name: str, generator: Generator | str = "", resize: str = "") -> Generator:
    """The generator that draws a data set, as it takes it; by default the one that is shipped for it.

    Raises:
      InputError: a data set whose images are not drawn; no generator where none is shipped.
    """
    if "generator" not in takes(name):
        raise InputError(f"fresh: data set {name!r} has images of its own, wanted one that a generator draws, such as "
                         "mnist_gen")
    given = generator or inspect.signature(_build(name)).parameters["generator"].default
    if given is None:
        raise InputError(f"data set {name!r}: got no generator, and none is shipped; give one with --generator")
    found = given if isinstance(given, Generator) else registry.room("generators").load(given)
    return narrowed(name, found, resize)


def count(name: str) -> int:
    """How many training images a drawn data set has by default.

    >>> count("mnist_gen")
    60000
    """
    return registry.module(__name__, name, kind="data set").COUNT["train"]


def from_bytes(x: np.ndarray, y: np.ndarray, *, num_classes: int, name: str, count: int | None = None) -> Dataset:
    """8-bit images u8[n,H,W] or u8[n,H,W,C] and their labels as a `Dataset` with pixels in [0,1]."""
    if len(x) != len(y):
        raise InputError(f"data set {name!r}: got {len(x)} images and {len(y)} labels, wanted equal numbers")
    if count is not None:
        count = check.integer("count", count, low=1)
        x, y = x[:count], y[:count]
    x = x[..., None] if x.ndim == 3 else x
    labels = y.astype(np.int32)
    if labels.size and labels.max() >= num_classes:
        raise InputError(f"data set {name!r}: got label {labels.max()}, wanted 0 to {num_classes - 1}")
    images = np.divide(x, 255, dtype=np.float32)
    return Dataset(images, labels, None, num_classes, images.shape[1:], name)
