"""Dense networks that never stretch distances: orthogonal matrices and sorted pairs, and a constant that is verified.

    h(x) = W_m s(... s(W_1 x + b_1) ...) + b_m,    s = group_sort,    |W_i| <= 1    =>    |h(x) - h(x')| <= |x - x'|

Two uses.  `build` gives a classifier, whose margin of m between two logits certifies an l2 radius of m / sqrt(2): for
the training doors its matrices are made orthogonal in every forward pass; one that `train.one_lipschitz` trained has
orthogonal matrices already.  The plain functions below serve that training, and witnesses of intrinsic robustness
(irob.evaluation.limits.regions), whose error region is {h >= t}: there training keeps the matrices orthogonal, `export`
takes exact polar factors and rounds them, and `constants` measures the numbers that are shipped.

Layers: a dict "0", "1", ... of {"kernel": f[in,out], "bias": f[out]}.  Every output of the last layer is a score of its
own, with a unit column; only jointly may they stretch.

Reference: Anil, Lucas, Grosse, "Sorting out Lipschitz function approximation", ICML 2019,
https://arxiv.org/abs/1811.05381
"""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irob.classifiers.net import Architecture
from irob.core.check import InputError
from irob.core.layers import Dense, Flatten, GroupSort
from irob.core.types import Classifier
from irob.math.operator_norm import operator_norm
from irob.math.orthogonal import group_sort, orthogonal

WIDTHS = (128, 64)
Layers = dict[str, dict[str, jax.Array]]


class OneLipschitz(Architecture):
    """x f[n,H,W,C] -> logits f[n,K], 1-Lipschitz from l2 to l2 but for rounding.

    project: make the matrices orthogonal in every forward pass; otherwise they are taken as they are.
    """

    num_classes: int
    widths: tuple[int, ...] = WIDTHS
    project: bool = True

    def options(self) -> dict:
        """What `build` was given, for the description of saved weights."""
        return {"widths": list(self.widths), "project": self.project}

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = x.reshape(len(x), -1)
        for i, width in enumerate((*self.widths, self.num_classes)):
            kernel = self.param(f"kernel_{i}", nn.initializers.orthogonal(), (x.shape[-1], width))
            kernel = orthogonal(kernel) if self.project else kernel
            x = x @ kernel + self.param(f"bias_{i}", nn.initializers.zeros, (width,))
            x = group_sort(x) if i < len(self.widths) else x
        return x

    def to_layers(self, variables) -> tuple:
        """The explicit layers, for `irob.core.layers.of`."""
        p, count = variables["params"], len(self.widths) + 1
        made = orthogonal if self.project else jnp.asarray
        dense = [Dense(made(p[f"kernel_{i}"]), p[f"bias_{i}"]) for i in range(count)]
        return (Flatten(), *itertools.chain.from_iterable((d, GroupSort()) for d in dense[:-1]), dense[-1])

    def describe(self) -> tuple[str, ...]:
        """Kinds of the layers, in order."""
        return ("Flatten", *("Dense", "GroupSort") * len(self.widths), "Dense")


def build(
    num_classes: int, image_shape: tuple[int, ...], *, widths: tuple[int, ...] = WIDTHS, project: bool = True
) -> OneLipschitz:
    """The module for images of any shape.

    >>> build(10, (28, 28, 1)).widths
    (128, 64)
    """
    widths = tuple(int(w) for w in widths)
    even(widths)
    return OneLipschitz(num_classes, widths, bool(project))


def classifier(layers: Layers, image_shape: tuple[int, ...]) -> Classifier:
    """The classifier of layers that are orthogonal already, as `export` gives them."""
    count = len(layers)
    widths = tuple(layers[str(i)]["bias"].shape[0] for i in range(count))
    module = build(widths[-1], image_shape, widths=widths[:-1], project=False)
    params = {f"{name}_{i}": layers[str(i)][name] for i in range(count) for name in ("kernel", "bias")}
    return Classifier({"params": params}, module, widths[-1], tuple(image_shape), module.describe(), "one_lipschitz")


def even(widths: tuple[int, ...]) -> None:
    """Raises `InputError` for widths that `group_sort` cannot pair."""
    if any(w < 2 or w % 2 for w in widths):
        raise InputError(f"widths: got {tuple(widths)}, wanted even numbers of units, two or more")


def init(key: jax.Array, size: int, widths: tuple[int, ...] = WIDTHS, heads: int = 1) -> Layers:
    """Random orthogonal layers from `size` pixels to `heads` scores; no widths give half-spaces.

    Raises:
        InputError: odd widths, which `group_sort` cannot pair.

    >>> {k: v["kernel"].shape for k, v in init(jax.random.key(0), 16, (8,)).items()}
    {'0': (16, 8), '1': (8, 1)}
    """
    even(widths)
    layers = {}
    sides = [size, *widths, heads]
    for i, (m, n) in enumerate(itertools.pairwise(sides)):
        draw = jax.random.normal(jax.random.fold_in(key, i), (m, n))
        last = i == len(widths)
        kernel = draw / jnp.linalg.norm(draw, axis=0) if last else orthogonal(draw, 40)
        layers[str(i)] = {"kernel": kernel, "bias": jnp.zeros(n)}
    return layers


def scores(layers: Layers, x: jax.Array) -> jax.Array:
    """x: f[..., size] -> f[..., heads].

    >>> layers = {"0": {"kernel": jnp.array([[0.6], [0.8]]), "bias": jnp.zeros(1)}}
    >>> round(float(scores(layers, jnp.array([1.0, 1.0]))[0]), 4)
    1.4
    """
    for i in range(len(layers)):
        x = x @ layers[str(i)]["kernel"] + layers[str(i)]["bias"]
        x = group_sort(x) if i + 1 < len(layers) else x
    return x


def export(layers: Layers, *, half: bool = True, joint: bool = False) -> Layers:
    """The layers with exactly orthogonal matrices: polar factors in float64, unit columns in the last layer.

    joint: orthonormal columns in the last layer too, so that all scores together do not stretch: for logits.
    half: rounded to what float16 can hold, so that storing them so changes nothing; `constants` measures the result.
    """
    out: Layers = {}
    for name, layer in layers.items():
        kernel = np.asarray(layer["kernel"], np.float64)
        if int(name) + 1 == len(layers) and not joint:
            kernel = kernel / np.linalg.norm(kernel, axis=0)
        else:
            u, _, v = np.linalg.svd(kernel, full_matrices=False)
            kernel = u @ v
        rounded = (np.asarray(a, np.float16 if half else np.float32) for a in (kernel, layer["bias"]))
        out[name] = {k: jnp.asarray(a, jnp.float32) for k, a in zip(("kernel", "bias"), rounded)}
    return out


def constants(layers: Layers) -> np.ndarray:
    """Upper bounds on the Lipschitz constant of every score, f[heads]: products of exact operator norms in float64.

    >>> constants({"0": {"kernel": np.array([[3.0, 0.0], [4.0, 1.0]]), "bias": np.zeros(2)}}).round(6).tolist()
    [5.0, 1.0]
    """
    kernels = [np.asarray(layers[str(i)]["kernel"], np.float64) for i in range(len(layers))]
    trunk = float(np.prod([operator_norm(k) for k in kernels[:-1]]))
    return np.asarray([trunk * operator_norm(column[:, None]) for column in kernels[-1].T])
