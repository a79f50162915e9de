"""A user's own model by name: package.module:factory, path/to/file.py:factory, or robustbench:THREAT/NAME.

It returns a `Classifier` or anything that `classifiers.wrap` recognises.  Whatever goes wrong becomes one line.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob import classifiers
from irob.classifiers import robustbench
from irob.core import registry
from irob.core.check import InputError
from irob.core.progress import say
from irob.core.types import Classifier

PROBES = 8


def once(specs: Iterable[str]) -> list[str]:
    """The names in their order without repetitions; prints a line for each name that was given more than once."""
    given = list(specs)
    found = list(dict.fromkeys(given))
    for s in found:
        if given.count(s) > 1:
            say(f"classifier {s!r}: given {given.count(s)} times, measured once")
    return found


def make(spec: str, weights: str = "") -> Any:
    """What the factory returns, or the model of RobustBench with the weights of a file.

    Raises:
        InputError: a module that is not there or fails, a missing or uncallable factory, one that fails; see
            `robustbench.load`.
    """
    if spec.startswith(robustbench.PREFIX):
        return robustbench.load(spec, weights)
    return registry.made(spec, kind="classifier")


def load(spec: str, made: Any, image_shape: tuple[int, ...]) -> Classifier:
    """What a factory made as a classifier of these images.

    Its name carries a digest of its logits on fixed random images, so that pieces of unfinished work are found again
    for the same model only, also where weights are hidden in a function.

    Raises:
        InputError: a model that `wrap` does not recognise or that takes other images.
    """
    try:
        options = {} if isinstance(made, Classifier) else {"image_shape": image_shape}
        f = classifiers.wrap(made, **options)
        if f.image_shape is not None and tuple(f.image_shape) != tuple(image_shape):
            raise InputError(f"takes images {tuple(f.image_shape)}, got {tuple(image_shape)}")
        x = np.random.default_rng(0).uniform(size=(PROBES, *image_shape)).astype(np.float32)
        with registry.said("the model fails"):
            logits = np.asarray(jax.jit(jax.vmap(f))(jnp.asarray(x)))
    except InputError as e:
        raise InputError(f"classifier {spec!r}: {e}") from None
    if logits.shape != (PROBES, f.num_classes):
        raise InputError(f"classifier {spec!r}: got logits of shape {logits.shape[1:]} for one image, "
                         f"wanted ({f.num_classes},)")
    digest = hashlib.sha256(logits.tobytes()).hexdigest()[:16]
    return Classifier(f.variables, f.module, f.num_classes, tuple(image_shape), f.layers, f"{spec} {digest}")


def named(spec: str, image_shape: tuple[int, ...]) -> Classifier:
    """A classifier by any name: a shipped one, a folder, or a user's factory for images of this shape."""
    if not registry.is_outside(spec):
        return classifiers.load(spec)
    return load(spec, make(spec), image_shape)
