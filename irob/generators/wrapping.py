"""Anybody's model as a `Generator`: Flax Linen or NNX, Equinox, PyTorch, a function; checked at the edge.

A file that --generator names as my.py:gen ends in one call:

    def gen():
        return generators.wrap(net, latent_dim=64, num_classes=10, latent=Uniform(-1.0, 1.0))
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import drawing, latents, models, pytorch, registry
from irob.core.check import InputError, integer, unknown
from irob.core.latents import Law
from irob.core.types import Generator

LAYOUTS = ("HWC", "CHW", "NHWC", "NCHW")
PROBES = 8


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """What is static of a wrapped model: call(variables, code, component) and the layout of its images.

    A layout that begins with N is of a model that takes batches: codes [n,d], components [n].
    """

    call: Callable[..., Any]
    layout: str

    def __call__(self, variables, z: jax.Array, y: jax.Array) -> jax.Array:
        """z: f[d], y: i[] -> x: f[H,W,C]."""
        if self.layout.startswith("N"):
            x = jnp.asarray(self.call(variables, z[None], jnp.asarray(y)[None]))[0]
        else:
            x = jnp.asarray(self.call(variables, z, jnp.asarray(y)))
        return jnp.moveaxis(x, 0, -1) if self.layout.endswith("CHW") else x


def wrap(model, *, latent_dim: int, num_classes: int, image_shape: Sequence[int] | None = None,
         latent: Law | str = latents.STANDARD, label_of: Sequence[int] | None = None, variables=None,
         layout: str = "") -> Generator:
    """Whatever draws images as a `Generator`, in inference mode.

    Args:
        model: a Linen module with `variables`, the pair (module, variables) or a bound module; an NNX, Equinox or
            PyTorch module; a function g(z, y), or g(variables, z, y) with `variables`.
        latent_dim: d, of its codes.  num_classes: K labels.
        image_shape: (H, W, C), found if not given.
        latent: the law of its codes: Normal(mean, deviation), Uniform(low, high) or Truncated(c).
        label_of: i[components], where y is finer than the label: the label of each component.
        variables: the weights.
        layout: of its images, which also says whether it takes batches: "NHWC" or "NCHW" with z: f[n,d] and y: i[n],
            "HWC" or "CHW" with one z: f[d] and y: i[].  Default: "NHWC" of Flax, "NCHW" of PyTorch, "CHW" of Equinox,
            "HWC" of a function.

    Raises:
        InputError: a model of another kind, or that fails on a code; images of another shape or outside [0,1].

    >>> g = wrap(lambda z, y: jax.nn.sigmoid(z + y).reshape(2, 2, 1), latent_dim=4, num_classes=3)
    >>> g.image_shape, g(jnp.zeros(4), 0).ravel().tolist()
    ((2, 2, 1), [0.5, 0.5, 0.5, 0.5])
    """
    if isinstance(model, tuple) and len(model) == 2 and models.is_a(model[0], "flax.linen"):
        model, variables = model
    if layout and layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    made = Generator((), None, integer("latent_dim", latent_dim, low=1), integer("num_classes", num_classes, low=1), (),
                     latent=latents.law(latent), label_of=() if label_of is None else tuple(int(v) for v in label_of))
    variables, module = _recognised(model, variables, layout, made)
    made = dataclasses.replace(made, variables=variables, module=module)
    found = shape(made)
    if len(found) != 3:
        raise InputError(f"generator: got an image of shape {found}, wanted (height, width, channels)")
    return checked(dataclasses.replace(made, image_shape=found if image_shape is None else tuple(image_shape)))


def _recognised(model, variables, layout: str, like: Generator) -> tuple[Any, Wrapped]:
    """(variables, module) of a model.  like: of the same codes and components, on which PyTorch is compared with."""
    if models.is_a(model, "torch.nn"):
        z, y = probes(like, 2)
        try:
            with registry.said("it fails on two codes"):
                found, traced = pytorch.as_function(model, like.latent(z), y, batched=layout[:1] in ("", "N"))
        except InputError as e:
            raise InputError(f"generator: the PyTorch module cannot be taken: {e}") from None
        return found, Wrapped(traced, layout.removeprefix("N") or "CHW")  # irob's own vmap is the batch
    made: tuple[Callable[..., Any], Any]
    if models.is_a(model, "flax.linen"):
        made, own = models.linen(model, variables, "generator"), "NHWC"
    elif models.is_a(model, "flax.nnx"):
        made, own = models.nnx(model), "NHWC"
    elif models.is_a(model, "equinox"):
        made, own = models.equinox(model), "CHW"
    elif callable(model) and not isinstance(model, type):
        made, own = models.plain(model, variables), "HWC"
    else:
        raise InputError(f"generator: got {type(model).__name__}, wanted a Linen, NNX, Equinox or PyTorch module, "
                         "or a function g(z, y)")
    return made[1], Wrapped(made[0], layout or own)


def probes(generator: Generator, count: int) -> tuple[jax.Array, jax.Array]:
    """Fixed codes f[count,d] and components i[count] in turn."""
    z = np.random.default_rng(0).normal(size=(count, generator.latent_dim)).astype(np.float32)
    return jnp.asarray(z), jnp.arange(count, dtype=jnp.int32) % generator.components


def shape(generator: Generator) -> tuple[int, ...]:
    """The shape of one image; whatever goes wrong inside the model becomes one line."""
    with registry.said("generator: the model fails on a code"):
        return tuple(jax.eval_shape(
            generator, jax.ShapeDtypeStruct((generator.latent_dim,), jnp.float32),
            jax.ShapeDtypeStruct((), jnp.int32)).shape)


def checked(
    generator: Generator, bounds: tuple[float, float] | None = (0.0, 1.0), *, boxless: bool = False
) -> Generator:
    """The generator, if a few codes draw images of its shape in the box.

    bounds: None looks at no image.  boxless: let a map without any box pass, such as an affine one.

    Raises:
        InputError: another shape or box, and what to do about it; labels that do not fit.
    """
    classes, wanted = integer("num_classes", generator.num_classes, low=1), tuple(generator.image_shape)
    if generator.label_of and set(generator.label_of) != set(range(classes)):
        raise InputError(f"label_of: got labels {sorted(set(generator.label_of))}, wanted each of 0 to {classes - 1}")
    found = shape(generator)
    if found != wanted:
        raise InputError(f"generator: got an image of shape {found}, wanted {wanted}")
    if bounds is not None:
        drawing.scaled(generator, bounds, boxless=boxless)
    return generator


@functools.cache
def own(spec: str, found: Callable) -> Generator:
    """The generator that a name outside irob stands for: it is one, or a function that returns one.

    Its name carries a digest of images at fixed codes, so that pieces of unfinished work are found again for the same
    model only, also where weights are hidden in a function.

    Raises:
        InputError: a function that fails or returns something else; a generator that `checked` refuses.
    """
    made = found
    if not isinstance(made, Generator):
        with registry.said(f"generator {spec!r}: the function fails"):
            made = found()
    if not isinstance(made, Generator):
        raise InputError(f"generator {spec!r}: got {type(made).__name__}, wanted a Generator; "
                         "return generators.wrap(model, latent_dim=..., num_classes=...)")
    try:
        checked(made)
    except InputError as e:
        raise InputError(f"generator {spec!r}: {e}") from None
    drawn = drawing.images(made, *probes(made, PROBES), chunk=PROBES)
    return dataclasses.replace(made, name=f"{spec} {hashlib.sha256(drawn.tobytes()).hexdigest()[:16]}")
