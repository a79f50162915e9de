"""The values that rooms exchange: frozen dataclasses registered as pytrees.

Arrays are leaves; everything else is static and compared by value, so a rebuilt model does not re-trace.

Shapes: n examples, d latent dimension, K classes, H W C an image.  Units: images in [0, 1].
"""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import latents
from irob.core.check import InputError
from irob.core.latents import Law

PyTree = Any


@typing.dataclass_transform(frozen_default=True, eq_default=False)
def value(*static: str):
    """Class decorator: a frozen dataclass that is a pytree, with the named fields static.

    Arrays have no one truth value, so values are equal only to themselves; that also lets `jax.jit(model)` hash one.

    Not `register_dataclass`: structures made by it are equal whenever their static fields are, whatever the classes
    (jaxlib 0.10), so that a program compiled for a network with ReLU may be run for the same network with tanh.
    """

    def decorate(cls):
        cls = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
        if cls.__repr__ is object.__repr__:
            cls.__repr__ = one_line
        data = tuple(f.name for f in dataclasses.fields(cls) if f.name not in static)

        def flatten(v):
            return tuple(vars(v)[n] for n in data), tuple(vars(v)[n] for n in static)

        def flatten_with_keys(v):
            leaves, rest = flatten(v)
            return tuple(zip(map(jax.tree_util.GetAttrKey, data), leaves)), rest

        def unflatten(rest, leaves):
            return cls(**dict(zip(data, leaves)), **dict(zip(static, rest)))

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
        return cls

    return decorate


LONGEST = 60  # of what a value holds beside arrays, in a line


def one_line(v: Any) -> str:
    """A dataclass in one line, arrays by type and shape; for `__repr__`.

    >>> Dataset(np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, np.int32), None, 10, (4, 4, 1), "mine")
    Dataset(x=float32[2,4,4,1], y=int32[2], z=None, num_classes=10, image_shape=(4, 4, 1), name='mine')
    """
    held = (f"{f.name}={_short(vars(v)[f.name])}" for f in dataclasses.fields(v) if f.repr)
    return f"{type(v).__name__}({', '.join(held)})"


def _short(a: Any) -> str:
    if isinstance(a, (jax.Array, np.ndarray)):
        known = a.ndim == 0 and not isinstance(a, jax.core.Tracer) and not jax.dtypes.issubdtype(
            a.dtype, jax.dtypes.extended)
        return str(a) if known else f"{a.dtype}[{','.join(map(str, a.shape))}]"
    arrays = [] if dataclasses.is_dataclass(a) else [
        leaf for leaf in jax.tree.leaves(a) if isinstance(leaf, (jax.Array, np.ndarray))]
    if arrays:
        return f"<{len(arrays)} arrays of {sum(leaf.size for leaf in arrays):,} numbers>"
    if isinstance(a, type(_short)):
        return a.__qualname__
    if hasattr(a, "apply"):  # a Linen module, whose own text is many lines
        return type(a).__name__
    text = " ".join(repr(a).split())
    return text if len(text) <= LONGEST or type(a).__repr__ is one_line else f"{text[: LONGEST - 3]}..."


def _apply(module: Any, variables: PyTree, *example) -> jax.Array:
    """A Linen module sees a batch of one; a plain function sees the example."""
    if hasattr(module, "apply"):
        return module.apply(variables, *(jax.numpy.asarray(e)[None] for e in example))[0]
    return module(variables, *example)


@value("module", "latent_dim", "num_classes", "image_shape", "stages", "latent", "name", "label_of")
class Generator:
    """A conditional generative model g(z, y), the map from its latent law and every stage (such as resizing) included.

    Codes z are standard normal, whatever the law: it turns them into those that the module takes (irob.core.latents).

    variables: the weights.  module: a Linen module, or a function apply(variables, u, y), u of the latent law.
    num_classes: labels.  stages: functions of an image, applied in order after the module (static, compared by value).
    latent: the law of u; a name other than "normal" stands for one that is not known, and is taken as it is.
    label_of: the label of each component, where a label has several of them, such as a letter in many fonts; y is the
        component then.  () where labels are the components.
    """

    variables: PyTree
    module: Any
    latent_dim: int
    num_classes: int
    image_shape: tuple[int, ...]
    stages: tuple[Callable[[jax.Array], jax.Array], ...] = ()
    latent: Law = latents.STANDARD
    name: str = ""
    label_of: tuple[int, ...] = ()

    def __post_init__(self):
        if isinstance(self.latent, str):
            object.__setattr__(self, "latent", latents.law(self.latent))

    @property
    def components(self) -> int:
        """How many maps g(., y) there are: the labels, unless `label_of` lists more; 1 without labels."""
        return len(self.label_of) or max(1, self.num_classes)

    def alike(self, what: str) -> None:
        """Raises `InputError` where labels have several components: what knows of an image its label alone."""
        if self.label_of:
            raise InputError(f"generator: got {self.components} components of {self.num_classes} labels; {what} knows "
                             "the label of an image, not its component, and wants as many components as labels")

    def labels(self, y):
        """The labels i[...] of components i[...]."""
        if not self.label_of:
            return y
        return (jnp if isinstance(y, jax.Array) else np).asarray(self.label_of, np.int32)[y]

    def __call__(self, z: jax.Array, y: jax.Array) -> jax.Array:
        """z: f[d] ~ N(0, I), y: i[] the component -> x: f[H,W,C] in [0,1]; one example, inference mode."""
        x = _apply(self.module, self.variables, self.latent(z), y)
        for stage in self.stages:
            x = stage(x)
        return x


@value("module", "num_classes", "image_shape", "layers", "name")
class Classifier:
    """A classifier as logits of one image.

    module: a Linen module, or a function apply(variables, x).  layers: the explicit layer list
    (irob.core.layers) as static descriptions for certifiers, or None.
    """

    variables: PyTree
    module: Any
    num_classes: int
    image_shape: tuple[int, ...] | None = None
    layers: Any = None
    name: str = ""

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f[H,W,C] in [0,1] -> logits: f[K]."""
        return _apply(self.module, self.variables, x)

    def batch(self, x: jax.Array, **options: Any) -> jax.Array:
        """x: f[n,H,W,C] -> logits: f[n,K], a Linen module in one call, which saves time in training.

        options: of the call, such as train=True; a plain function takes none of them.
        """
        if hasattr(self.module, "apply"):
            return self.module.apply(self.variables, x, **options)
        return jax.vmap(self)(x)


@value()
class Proposal:
    """What an attack proposes and a referee will judge.  With restarts: a leading axis [r, ...]."""

    x_adv: jax.Array
    z_adv: jax.Array | None = None


@value()
class AttackResult:
    """What the referee found.  success: misclassified within the threat set, naturally wrong points included.

    broken_by: of an ensemble, which of its `names` broke the example, -1 where none did; None of a single attack.
    """

    x_adv: jax.Array
    z_adv: jax.Array | None
    success: jax.Array
    distance: jax.Array
    broken_by: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images f[n,H,W,C] in [0,1], labels i[n], and the latent codes f[n,d] if they are known."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray | None
    num_classes: int
    image_shape: tuple[int, ...]
    name: str = ""

    __repr__ = one_line

    def __len__(self) -> int:
        return len(self.y)

    def take(self, count: int | slice) -> "Dataset":
        """The first `count` examples, or a slice of them."""
        s = slice(count) if isinstance(count, int) else count
        z = None if self.z is None else self.z[s]
        return dataclasses.replace(self, x=self.x[s], y=self.y[s], z=z)
