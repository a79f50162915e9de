"""A user's own model by name: package.module:factory, or path/to/file.py:factory.

The factory is called without arguments and returns a `Classifier` or anything that `classifiers.wrap` recognises.
Whatever goes wrong on the way becomes one line.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob import classifiers
from irob.core.check import InputError, unknown
from irob.core.types import Classifier

PROBES = 8


def is_factory(spec: str) -> bool:
    """Whether a classifier's name is that of a user's factory, not of shipped or saved weights.

    >>> is_factory("my_models.cnn:make"), is_factory("models/cnn.py:make"), is_factory("mnist_gen_adv@4")
    (True, True, False)
    """
    return bool(re.search(r"[^:/\\]:[A-Za-z_][\w.]*$", spec)) and not pathlib.Path(spec).is_dir()


def make(spec: str) -> Any:
    """What the factory returns.

    Raises:
        InputError: a module that is not there or fails, a missing or uncallable factory, one that fails.
    """
    where, _, name = spec.rpartition(":")
    found = _module(where, spec)
    for part in name.split("."):
        if not hasattr(found, part):
            raise unknown(f"factory of {where}", name, [k for k, v in vars(found).items() if callable(v)])
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"classifier {spec!r}: got {type(found).__name__}, wanted a function without arguments")
    with _said(f"classifier {spec!r}: the factory fails"):
        return found()


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
        with _said("the model fails"):
            logits = np.asarray(jax.vmap(f)(jnp.asarray(x)))
    except InputError as e:
        raise InputError(f"classifier {spec!r}: {e}") from None
    if logits.shape != (PROBES, f.num_classes):
        raise InputError(f"classifier {spec!r}: got logits of shape {logits.shape[1:]} for one image, "
                         f"wanted ({f.num_classes},)")
    digest = hashlib.sha256(logits.tobytes()).hexdigest()[:16]
    return Classifier(f.variables, f.module, f.num_classes, tuple(image_shape), f.layers, f"{spec} {digest}")


def _module(where: str, spec: str):
    """The module of a dotted name, the current directory included, or of a file, its own folder included."""
    if where.endswith(".py") or "/" in where or os.sep in where:
        path = pathlib.Path(where)
        if not path.is_file():
            raise InputError(f"classifier {spec!r}: there is no file {where!r}")
        name = f"_irob_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
        description = importlib.util.spec_from_file_location(name, path)
        if description is None or description.loader is None:
            raise InputError(f"classifier {spec!r}: {where!r} is no Python file")
        module = importlib.util.module_from_spec(description)
        _importable(str(path.resolve().parent))
        with _said(f"classifier {spec!r}: {where} fails"):
            sys.modules[name] = module  # dataclasses and pickles look their module up
            description.loader.exec_module(module)
        return module
    _importable(os.getcwd())
    with _said(f"classifier {spec!r}: module {where} cannot be imported"):
        return importlib.import_module(where)


def _importable(folder: str) -> None:
    """The folder comes first, and stays: a factory may import more when it is called."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    """Any error of the user's code as one line."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as e:
        lines = str(e).strip().splitlines()
        raise InputError(f"{what}: {type(e).__name__}{': ' + lines[0] if lines else ''}") from e
