"""Classifiers: build one by name, load weights, wrap a function of your own, or list layers.

    f = load("mnist_gen_adv")          # shipped; "mnist_gen_adv@4" is a checkpoint along its training
    logits = f(x)                      # x: f[H,W,C] in [0,1] -> f[K]; vmap it over a batch
    f = wrap(model, image_shape=(28, 28, 1))          # Linen, NNX, Equinox, PyTorch, a function, a list of models

Adding one is adding a file with `build(num_classes, image_shape) -> Architecture`, a Linen module of
`irob.classifiers.net` that takes `train=False`.
"""

import inspect
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.classifiers.adapters import ensemble, from_callable, from_equinox, from_linen, from_nnx, wrap
from irob.classifiers.pytorch import from_torch
from irob.core import keys, layers, registry, weights
from irob.core.check import InputError, integer, unknown
from irob.core.types import Classifier

__all__ = ["build", "ensemble", "from_callable", "from_equinox", "from_function", "from_layers", "from_linen",
           "from_nnx", "from_torch", "load", "names", "save", "wrap"]


def names() -> tuple[str, ...]:
    """The architectures there are.

    >>> "small_cnn" in names()
    True
    """
    return registry.names("irob.classifiers")


def build(
    name: str, num_classes: int = 10, image_shape: tuple[int, ...] = (28, 28, 1), *, key=None, variables=None, **options
) -> Classifier:
    """The architecture `name` with the given variables, or with fresh ones drawn with `key`; options are its own.

    Raises:
        InputError: unknown name or option, images that the architecture cannot take, neither key nor variables.

    >>> import jax
    >>> build("small_cnn", key=jax.random.key(0))(jnp.zeros((28, 28, 1))).shape
    (10,)
    """
    integer("num_classes", num_classes, low=2)
    image_shape = tuple(int(side) for side in image_shape)
    make = registry.module("irob.classifiers", name, kind="classifier").build
    known = list(inspect.signature(make).parameters)[2:]
    for option in options:
        if option not in known:
            raise unknown(f"option of classifier {name!r}", option, known)
    module = make(num_classes, image_shape, **options)
    if variables is None:
        variables = module.init(keys.require(key), jnp.zeros((1, *image_shape)))
    return Classifier(variables, module, num_classes, image_shape, module.describe(), name)


def load(name_or_path) -> Classifier:
    """A shipped classifier by name, or a folder that `save` wrote; "NAME@EPOCH" is a checkpoint of its training.

    Raises:
        InputError: unknown name; a file that is missing, damaged or of another architecture.
    """
    folder = resolve(name_or_path)
    variables, config = weights.load(folder)
    name = config.get("architecture")
    if config.get("kind") != "classifier" or name not in names():
        raise InputError(f"{folder}: got {config.get('kind')} {name!r}, wanted a classifier of {', '.join(names())}")
    shape = tuple(config["image_shape"])
    options = config.get("options", {})
    wanted = jax.eval_shape(
        lambda: build(name, config["num_classes"], shape, key=jax.random.key(0), **options).variables)
    weights.match(weights.flatten(variables), weights.flatten(wanted), source=str(folder))
    return build(name, config["num_classes"], shape, variables=jax.device_put(variables), **options)


def resolve(name_or_path) -> pathlib.Path:
    """The folder of "NAME" or "NAME@EPOCH"; checkpoints lie in NAME/checkpoints/EPOCH."""
    base, at, epoch = str(name_or_path).rpartition("@")
    if not at or pathlib.Path(name_or_path).is_dir():
        return weights.resolve(name_or_path)
    folder = weights.resolve(base)
    there = checkpoints(folder)
    if epoch not in there:
        raise InputError(f"classifier {base!r}: no checkpoint {epoch!r}; it has {', '.join(there) or 'none'}")
    return folder / "checkpoints" / epoch


def checkpoints(name_or_path) -> tuple[str, ...]:
    """The epochs of the checkpoints that lie beside a classifier, in order, as `load` takes them after "@"."""
    folder = weights.resolve(name_or_path) / "checkpoints"
    found = [p.parent.name for p in folder.glob(f"*/{weights.CONFIG}")]
    return tuple(sorted(found, key=lambda e: (float(e) if e.replace(".", "", 1).isdigit() else np.inf, e)))


def save(folder, classifier: Classifier, config: dict[str, Any] | None = None, *, half: bool = False) -> pathlib.Path:
    """Writes weights and description; `config` adds to it, "recipe" say (epochs, seconds, device, figures)."""
    if classifier.name not in names():
        raise InputError(f"classifier {classifier.name!r}: only the architectures {', '.join(names())} can be saved")
    about = {"kind": "classifier", "architecture": classifier.name, "num_classes": classifier.num_classes,
             "image_shape": list(classifier.image_shape or ())}
    if options := classifier.module.options():
        about["options"] = options
    return weights.save(folder, classifier.variables, {**about, **(config or {})}, half=half)


def from_function(apply: Callable, variables, num_classes: int, image_shape=None) -> Classifier:
    """A classifier of the user's own: apply(variables, x: f[H,W,C]) -> logits f[num_classes], one example.

    Raises:
        InputError: with `image_shape`, if the function does not give one logit a class.

    >>> f = from_function(lambda w, x: x.ravel() @ w, jnp.eye(4), 4, (2, 2, 1))
    >>> f(jnp.ones((2, 2, 1))).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    integer("num_classes", num_classes, low=1)
    classifier = Classifier(variables, apply, num_classes, None if image_shape is None else tuple(image_shape))
    if image_shape is not None:
        got = jax.eval_shape(classifier, jnp.zeros(image_shape)).shape
        if got != (num_classes,):
            raise InputError(f"classifier: got logits of shape {got} for one image, wanted ({num_classes},)")
    return classifier


def from_layers(given, num_classes: int, image_shape=None) -> Classifier:
    """A classifier from explicit layers (irob.core.layers), called in order on one example.

    >>> net = (layers.Flatten(), layers.Dense(jnp.eye(4), jnp.zeros(4)), layers.ReLU())
    >>> from_layers(net, 4).layers
    ('Flatten', 'Dense', 'ReLU')
    """
    given = tuple(given)
    classifier = from_function(layers.run, given, num_classes, image_shape)
    return Classifier(given, layers.run, num_classes, classifier.image_shape, tuple(type(a).__name__ for a in given))
