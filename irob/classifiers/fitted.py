"""A call and how it wants its images, as a `Classifier`: what every adapter ends in, whatever the model was.

`fitted` states layout and normalisation, and counts the classes on one image, so that a model that does not fit is
refused in one line.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.check import InputError, integer, one_line, unknown
from irob.core.types import Classifier

LAYOUTS = ("HWC", "CHW", "NHWC", "NCHW")


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What is static of a wrapped model, compared by value: how to call it, and how it wants its images.

    call: (variables, image or batch of one) -> logits.
    """

    call: Callable[[Any, jax.Array], jax.Array]
    layout: str = "HWC"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(self, variables: Any, x: jax.Array) -> jax.Array:
        """x: f[H,W,C] in [0,1] -> logits f[K]."""
        if self.mean:
            x = x - jnp.asarray(self.mean, x.dtype)
        if self.std:
            x = x / jnp.asarray(self.std, x.dtype)
        if self.layout.endswith("CHW"):
            x = jnp.moveaxis(x, -1, 0)
        return self.call(variables, x[None])[0] if self.layout.startswith("N") else self.call(variables, x)


def fitted(call, variables, *, num_classes, image_shape, layout="HWC", mean=None, std=None, name="") -> Classifier:
    """A `Classifier` of a call; the classes are counted where `image_shape` is known.

    Raises:
        InputError: an unknown layout; statistics that are not one for each channel; neither image_shape nor
            num_classes; a model that fails on an image or does not give one logit a class.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    shape = None if image_shape is None else tuple(integer("image_shape", side, low=1) for side in image_shape)
    if shape is not None and len(shape) != 3:
        raise InputError(f"image_shape: got {shape}, wanted (height, width, channels), also where layout is {layout}")
    channels = shape[-1] if shape else None
    model = Fitted(call, layout, _statistics("mean", mean, channels), _statistics("std", std, channels))
    if any(s <= 0 for s in model.std):
        raise InputError(f"std: got {model.std}, wanted positive numbers")
    if shape is None:
        if num_classes is None:
            raise InputError("classifier: got neither image_shape nor num_classes, wanted one; "
                             "give image_shape=(height, width, channels)")
        return Classifier(variables, model, integer("num_classes", num_classes, low=2), None, None, name)
    logits = shape_of(lambda v, x: model(v, x), variables, shape)
    if len(logits) != 1 or num_classes not in (None, *logits) or logits[0] < 2:
        wanted = "(num_classes,)" if num_classes is None else f"({num_classes},)"
        raise InputError(f"classifier: got logits of shape {logits} for one image {shape}, wanted {wanted}; a model "
                         "that takes batches needs layout='NHWC' or 'NCHW'")
    return Classifier(variables, model, logits[0], shape, None, name)


def shape_of(function: Callable, variables: Any, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the logits of one image; whatever goes wrong inside the model becomes one line."""
    try:
        out = jax.eval_shape(function, variables, jax.ShapeDtypeStruct(image_shape, jnp.float32))
    except InputError:
        raise
    except Exception as e:  # the model is the user's: any error may come out of it
        raise InputError(f"classifier: the model fails on an image {image_shape}: {one_line(e)}") from e
    if not hasattr(out, "shape"):
        raise InputError(f"classifier: got {type(out).__name__} for one image, wanted an array of logits")
    return tuple(out.shape)


def _statistics(name: str, values, channels: int | None) -> tuple[float, ...]:
    if values is None:
        return ()
    found = tuple(float(v) for v in np.atleast_1d(np.asarray(values, np.float64)))
    if not np.all(np.isfinite(found)) or (channels is not None and len(found) not in (1, channels)):
        raise InputError(f"{name}: got {found}, wanted one finite number or one for each of {channels} channels")
    return found
