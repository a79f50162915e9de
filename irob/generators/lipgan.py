"""A conditional generator of images whose Lipschitz constant is known: 28x28 images of ten classes, z ~ N(0, I_d).

    g_y(z) = clip(W_m s(... s(W_1 s(E_y z + b_0y) + b_1y) ...) + b_my, 0, 1),      s = group_sort

E_y, one matrix for each class, stretches its d axes by learned factors and turns them into the width of the network;
W_1 ... W_m have orthonormal columns, and the biases, a set for each class, do not matter for the constant.  So

    |g_y(z) - g_y(z')| <= |E_y| |W_1| ... |W_m| |z - z'|      for all z and z',

and before the clip it is attained: sorting permutes, so every Jacobian has the singular values of E_y exactly.  What
separates the constant from the true one is only the clip, and the steps between the pieces of the map.

`global_constant` takes the operator norms of the numbers at hand in float64, whatever they are: neither training nor
rounding needs to be trusted.

Reference: Anil, Lucas, Grosse, "Sorting out Lipschitz function approximation", ICML 2019,
https://arxiv.org/abs/1811.05381
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import layers
from irob.core.check import InputError, integer
from irob.core.types import Generator
from irob.math.operator_norm import operator_norm
from irob.math.orthogonal import group_sort, orthogonal

LATENT_DIM, WIDTH, DEPTH = 16, 256, 2
NUM_CLASSES, IMAGE_SHAPE = 10, (28, 28, 1)
START = 2.0  # the largest stretch of fresh variables


def after_embedding(variables: dict) -> tuple[str, ...]:
    """The names of the isometries, in order."""
    return (*(f"hidden_{i}" for i in range(len(variables) - 2)), "image")


def before_clip(variables: dict, z: jax.Array, y: jax.Array) -> jax.Array:
    """The image before the clip: z f[..., d], y i[...] (or one class for all) -> f[..., H W C]."""
    embed = variables["embed"]
    h = jnp.einsum("...d,...dw->...w", z, embed["kernel"][y]) + embed["bias"][y]
    for name in after_embedding(variables):
        h = group_sort(h) @ variables[name]["kernel"] + variables[name]["bias"][y]
    return h


@dataclasses.dataclass(frozen=True)
class Clipped:
    """apply(variables, z, y) for one example, and the same as explicit layers."""

    image_shape: tuple[int, ...] = IMAGE_SHAPE

    def __call__(self, variables: dict, z: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.clip(before_clip(variables, z, y), 0.0, 1.0).reshape(self.image_shape)

    def to_layers(self, variables: dict, y: int) -> tuple:
        """The layers of class y, from the code to the image."""
        parts: list = [layers.Dense(variables["embed"]["kernel"][y], variables["embed"]["bias"][y])]
        for name in after_embedding(variables):
            parts += [layers.GroupSort(), layers.Dense(variables[name]["kernel"], variables[name]["bias"][y])]
        return (*parts, layers.Reshape(self.image_shape), layers.Clip(0.0, 1.0))


def build(variables=None, *, key: jax.Array | None = None, latent_dim: int = LATENT_DIM, width: int = WIDTH,
          depth: int = DEPTH, num_classes: int = NUM_CLASSES, image_shape: tuple[int, ...] = IMAGE_SHAPE) -> Generator:
    """The generator with the given variables, whose shapes then count, or with fresh ones drawn with `key`.

    Args:
        latent_dim: d.  width: hidden units, an even number, at least d and at most the pixels.
        depth: hidden matrices between the embedding and the image.

    Raises:
        InputError: neither variables nor a key; sizes that admit no isometry.

    >>> g = build(key=jax.random.key(0))
    >>> g(jnp.zeros(16), 3).shape
    (28, 28, 1)
    >>> round(global_constant(g), 4)
    2.0
    """
    image_shape = tuple(image_shape)
    if variables is None:
        if key is None:
            raise InputError("lipgan generator: got neither variables nor a key; pass key=jax.random.key(0)")
        variables = init(key, latent_dim, width, depth, num_classes, math.prod(image_shape))
    num_classes, latent_dim, _ = variables["embed"]["kernel"].shape
    return Generator(variables, Clipped(image_shape), latent_dim, num_classes, image_shape, name="lipgan")


def sizes(latent_dim: int, width: int, depth: int, num_classes: int, pixels: int) -> None:
    """Raises `InputError` if they admit no isometry from codes to images."""
    integer("latent dim", latent_dim, low=1)
    integer("depth", depth, low=0)
    integer("classes", num_classes, low=1)
    integer("width", width, low=2)
    if width % 2 or not latent_dim <= width <= pixels:
        raise InputError(f"width: got {width}, wanted an even number from the {latent_dim} latent dimensions "
                         f"to the {pixels} pixels")


def init(key: jax.Array, latent_dim: int, width: int, depth: int, num_classes: int, pixels: int) -> dict:
    """Random variables: isometries, and an embedding whose stretch falls from 2 to 0.2 over the axes."""
    sizes(latent_dim, width, depth, num_classes, pixels)
    stretch = START * jnp.linspace(1.0, 0.1, latent_dim)[None, :, None]
    draws = jax.random.split(key, depth + 2)
    embed = jax.vmap(lambda m: orthogonal(m, 40))(jax.random.normal(draws[0], (num_classes, latent_dim, width)))
    variables = {"embed": {"kernel": stretch * embed, "bias": jnp.zeros((num_classes, width))}}
    names = [*(f"hidden_{i}" for i in range(depth)), "image"]
    for name, draw, size in zip(names, draws[1:], [width] * depth + [pixels], strict=True):
        # QR: a square Gaussian matrix has singular values too small for Bjorck's iteration.
        kernel = jnp.linalg.qr(jax.random.normal(draw, (size, width)))[0].T
        variables[name] = {"kernel": kernel, "bias": jnp.zeros((num_classes, size))}
    return variables


def class_constants(generator: Generator) -> np.ndarray:
    """An upper bound on the Lipschitz constant of each class over the whole latent space, f[K].

    |E_y| |W_1| ... |W_m|, exact operator norms in float64 of the stored numbers, rounded up.

    Raises:
        InputError: the generator is of another architecture.

    >>> class_constants(build(key=jax.random.key(0), num_classes=2)).round(4).tolist()
    [2.0, 2.0]
    """
    if not isinstance(generator.module, Clipped):
        raise InputError(f"global constant: got a generator {generator.name!r}, wanted a lipgan; "
                         "irob.lipschitz.certified bounds others")
    v = generator.variables
    trunk = math.prod(operator_norm(v[name]["kernel"]) for name in v if name != "embed")
    return np.asarray([operator_norm(kernel) * trunk for kernel in np.asarray(v["embed"]["kernel"])])


def global_constant(generator: Generator) -> float:
    """The largest of `class_constants`: |g(z, y) - g(z', y)| <= constant |z - z'| for all z, z' and y."""
    return float(class_constants(generator).max())


def export(variables: dict, *, half: bool = False) -> dict:
    """The variables with exactly orthogonal matrices: polar factors in float64, rounded to what will be stored.

    The embedding keeps its singular values: it is free.  half: rounded to what float16 can hold.
    """
    rounded: dict = {}
    for name, layer in variables.items():
        kernel = np.asarray(layer["kernel"], np.float64)
        if name != "embed":
            u, _, v = np.linalg.svd(kernel, full_matrices=False)
            kernel = u @ v
        pair = {"kernel": kernel, "bias": np.asarray(layer["bias"])}
        rounded[name] = {k: jnp.asarray(a.astype(np.float16 if half else np.float32), jnp.float32)
                         for k, a in pair.items()}
    return rounded
