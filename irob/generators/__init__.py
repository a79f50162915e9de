"""Generators: build one by name, load weights, or wrap a function of your own.

    g = load("acgan_mnist")            # shipped
    x = g(z, y)                        # z: f[d], y: i[] -> f[H,W,C] in [0,1]; vmap it over a batch
    g = from_layers(layers, ...)       # your own, layer by layer: its constants can be certified
    g = wrap(model, latent_dim=64, num_classes=10)     # your own: Flax, Equinox, PyTorch, a function
    g = load("my.py:gen")              # what such a function of a file returns

Adding one is adding a file with `build(variables=None, *, key=None) -> Generator`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from irob.core import latents, registry, weights
from irob.core import layers as explicit
from irob.core.check import InputError, integer
from irob.core.latents import Law, Normal, Truncated, Uniform
from irob.core.types import Generator
from irob.generators import wrapping
from irob.generators.wrapping import wrap

__all__ = ["Normal", "Truncated", "Uniform", "build", "from_function", "from_layers", "load", "names", "save", "wrap"]


def names() -> tuple[str, ...]:
    """The architectures there are.

    >>> "acgan" in names()
    True
    """
    return registry.names("irob.generators")


def build(name: str, variables=None, *, key: jax.Array | None = None, **options) -> Generator:
    """The architecture `name` with the given variables, or with fresh ones drawn with `key`."""
    return registry.module("irob.generators", name, kind="generator").build(variables, key=key, **options)


def load(name_or_path) -> Generator:
    """A shipped generator by name, a folder that `save` wrote, or package.module:name, path/to/file.py:name.

    What stands outside irob is a `Generator`, or a function that is called without arguments and returns one.

    Raises:
        InputError: unknown name; a function that fails or draws no images in [0,1];
            a file that is missing, damaged or of another architecture.

    >>> load("acgan_mnist").latent_dim
    100
    """
    if registry.is_outside(str(name_or_path)):
        return wrapping.own(str(name_or_path), registry.outside(str(name_or_path), kind="generator"))
    folder = weights.resolve(name_or_path)
    variables, config = weights.load(folder)
    name = config.get("architecture")
    if config.get("kind") != "generator" or name not in names():
        raise InputError(f"{folder}: got {config.get('kind')} {name!r}, wanted a generator of {', '.join(names())}")
    options = config.get("options", {})
    wanted = jax.eval_shape(lambda: build(name, key=jax.random.key(0), **options).variables)
    weights.match(weights.flatten(variables), weights.flatten(wanted), source=str(folder))
    made = build(name, jax.device_put(variables), **options)
    made = dataclasses.replace(made, latent=latents.law(config.get("latent", made.latent)))
    finer = tuple(config.get("label_of", ()))
    return dataclasses.replace(made, label_of=finer, num_classes=max(finer) + 1) if finer else made


def save(folder, generator: Generator, *, half: bool = False, options: dict | None = None, **recipe):
    """Writes weights and description; `recipe` says how they came about (epochs, seconds, device, figures).

    Raises:
        InputError: a generator of no architecture of irob's: no file says how to build it again.

    options: what `build` needs besides the variables; default: what the architecture's own `options(generator)` says.
    """
    if generator.name not in names():
        raise InputError(f"generator {generator.name!r}: only the architectures {', '.join(names())} can be saved; "
                         "name your own as FILE.py:FUNCTION, a function that returns it")
    if options is None:
        room = registry.module("irob.generators", generator.name, kind="generator")
        options = room.options(generator) if generator.name in registry.names("irob.generators", "options") else {}
    config: dict[str, Any] = {
        "kind": "generator", "architecture": generator.name, "options": options or {}, "recipe": recipe}
    if not generator.latent.standard:
        config["latent"] = generator.latent.record()
    if generator.label_of:
        config["label_of"] = list(generator.label_of)
    return weights.save(folder, generator.variables, config, half=half)


def from_function(
    apply: Callable, variables, latent_dim: int, num_classes: int, image_shape: tuple[int, ...], *,
    bounds: tuple[float, float] | None = (0.0, 1.0), latent: Law | str = latents.STANDARD,
) -> Generator:
    """A generator of the user's own: apply(variables, z: f[d], y: i[]) -> f[H,W,C] in [0,1], one example.

    Args:
        latent: the law of the codes that the function takes.
        bounds: the box of its images, which a few codes are tried against; None tries nothing.  Epsilons and constants
            are in units of [0,1] everywhere, so a generator in [-1,1] or 0..255 is refused; a map without any box,
            such as an affine one, is let pass.

    Raises:
        InputError: the function does not give one image of `image_shape`, or images of another box (what to do is
            said), or NaN.

    >>> g = from_function(lambda v, z, y: v * z.reshape(1, 1, 2), jnp.float32(0.5), 2, 1, (1, 1, 2))
    >>> g(jnp.ones(2), 0).tolist()
    [[[0.5, 0.5]]]
    """
    integer("latent_dim", latent_dim, low=1)
    made = Generator(variables, apply, latent_dim, num_classes, tuple(image_shape), latent=latents.law(latent))
    return wrapping.checked(made, bounds, boxless=True)


def from_layers(layers, *, latent_dim: int, num_classes: int, image_shape: tuple[int, ...],
                latent: Law | str = latents.STANDARD) -> Generator:
    """A generator of the user's own from explicit layers (irob.core.layers), from the code to the image.

    What `irob.lipschitz.certified` and `certified_radius` bound: a generator whose layers are known.

    Args:
        layers: one tuple of layers for all classes, or a list with such a tuple for each class.  The tuples of a list
            have the same layers with arrays of the same shapes; a class may be given by a bias of its own.
        latent_dim: d.  num_classes: K.  image_shape: (H, W, C), of images in [0, 1].
        latent: the law of the codes that the first layer takes; its map from normal ones is bounded with the layers.

    Raises:
        InputError: layers that do not fit each other, another number of tuples than classes, another image shape.

    >>> from irob.core.layers import Clip, Dense, Reshape
    >>> layers = (Dense(0.1 * jnp.eye(4), jnp.full(4, 0.5)), Reshape((2, 2, 1)), Clip(0.0, 1.0))
    >>> g = from_layers(layers, latent_dim=4, num_classes=1, image_shape=(2, 2, 1))
    >>> g(jnp.ones(4), 0).ravel().round(3).tolist()
    [0.6000000238418579, 0.6000000238418579, 0.6000000238418579, 0.6000000238418579]
    """
    integer("latent_dim", latent_dim, low=1)
    integer("num_classes", num_classes, low=1)
    each = isinstance(layers, list)
    tuples = [jax.tree.map(jnp.asarray, tuple(one)) for one in (layers if each else [layers])]
    if each and len(tuples) != num_classes:
        raise InputError(f"layers: got a list of {len(tuples)} tuples, wanted one for each of {num_classes} classes, "
                         "or one tuple for all")
    for one in tuples:
        got = (explicit.shapes(one, (latent_dim,)) or ((latent_dim,),))[-1]
        if got != tuple(image_shape):
            raise InputError(f"layers: got an image of shape {got}, wanted {tuple(image_shape)}; add a Reshape")
        if _form(one) != _form(tuples[0]):
            raise InputError("layers: got classes with different layers, wanted the same kinds, settings and shapes")
    variables = jax.tree.map(lambda *a: jnp.stack(a), *tuples) if each else tuples[0]
    module = explicit.BY_CLASS if each else explicit.SHARED
    return Generator(variables, module, latent_dim, num_classes, tuple(image_shape), latent=latents.law(latent))


def _form(layers) -> tuple:
    """Kinds, settings, shapes and types of layers."""
    leaves, structure = jax.tree.flatten(layers)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]
