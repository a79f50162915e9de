"""What a generator draws: its images, whether codes belong to images, whether its images are in [0, 1].

A scale is silent: a generator in [-1, 1] doubles every Lipschitz constant, and an attack that starts from codes of
other images finds nothing near and calls the classifier robust.  So both are asked for at the edge, by forward passes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import batch, check, memory
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.types import Generator

SLACK = 1e-4  # a pixel beyond the box by no more is float noise
NEAR = 0.02  # root mean square of a pixel: 8-bit images are within 0.004, half precision within 0.01, others far beyond
PROBES = 4
FAR = 1e6  # times a code: what has a box stays in it, an affine map does not


@jit
def _images(generator: Generator, z: jax.Array, y: jax.Array) -> jax.Array:
    return jax.vmap(generator)(z, y)


def images(generator: Generator, z, y, *, chunk: int | None = None, label: str = "") -> np.ndarray:
    """Images f[n,H,W,C] of codes f[n,d] and labels i[n], in float32 products everywhere, as they come.

    chunk: images at a time; default 1000, or what the memory holds.
    """
    chunk = memory.fitting(generator, min(1000, len(z))) if chunk is None else chunk
    with jax.default_matmul_precision("float32"):
        return batch.stream(lambda _, z, y: _images(generator, z, y), z, y, chunk=chunk, label=label)


def belong(generator: Generator, x, y, z, *, chunk: int | None = None) -> None:
    """Raises `InputError` unless x are the images that the codes z draw with the labels y, up to rounding.

    Args:
        x: f[n,H,W,C] in [0,1].  y: i[n].  z: f[n,d].
        chunk: images at a time, as for `images`.

    They may have been stored with 8 bits or in half precision: a root mean square of 0.02 a pixel is let pass.
    """
    x, z, shape = np.asarray(x), np.asarray(z, np.float32), tuple(generator.image_shape)
    if x.shape[1:] != shape:
        raise InputError(f"images: got {x.shape[1:]}, the generator draws {shape}")
    if z.shape != (len(x), generator.latent_dim):
        raise InputError(f"codes z: got shape {z.shape}, wanted ({len(x)}, {generator.latent_dim})")
    check.finite("codes z", z)
    apart = images(generator, z, np.asarray(y, np.int32), chunk=chunk) - x
    distance = np.sqrt(np.sum(apart.reshape(len(x), -1).astype(np.float64) ** 2, axis=1))
    foreign = ~(distance <= NEAR * np.sqrt(x[0].size))  # NaN is no image of these
    if foreign.any():
        raise InputError(
            f"codes z: got {int(foreign.sum())} of {len(x)} whose images are not those given (up to l2 "
            f"{np.max(distance):.3g} away, first image {int(np.argmax(foreign))}), wanted the codes that drew these "
            "images with these labels; check generator, labels and order, or leave z out and have the images inverted")


def scaled(generator: Generator, bounds: tuple[float, float] = (0.0, 1.0), *, boxless: bool = True) -> None:
    """Raises `InputError` if the images have another box than this one, such as [-1, 1] or [0, 255], or hold NaN.

    A few codes tell.  A map whose images have no box at all, such as an affine one, is let pass if `boxless`: its scale
    is whatever it is.  If not, since its images are to be attacked within the box, half of its pixels must lie there.

    >>> def wide(_, z, y):
    ...     return jax.numpy.tanh(z).reshape(1, 1, 2)
    >>> scaled(Generator((), wide, 2, 1, (1, 1, 2)))
    Traceback (most recent call last):
    ...
    irob.core.check.InputError: generator: got pixels in [-1, 1], wanted [0, 1]; take (x + 1) / 2
    """
    if any(isinstance(a, jax.core.Tracer) for a in (*jax.tree.leaves(generator.variables), jnp.zeros(()))):
        return  # inside a transformation there is nothing to look at
    z = np.random.default_rng(0).normal(size=(PROBES, generator.latent_dim)).astype(np.float32)
    count = generator.components

    def drawn(scale: float) -> np.ndarray:
        return np.asarray([generator(jnp.asarray(scale * c), jnp.int32(i % count)) for i, c in enumerate(z)])

    near = drawn(1.0)
    if not np.isfinite(near).all():
        raise InputError("generator: got NaN or infinity in its images, wanted finite pixels; check its weights")
    inside = (near >= bounds[0] - SLACK) & (near <= bounds[1] + SLACK)
    if inside.all():
        return
    both = np.stack([near, drawn(FAR)])
    other = any(a - SLACK <= both.min() and both.max() <= b + SLACK for a, b in check.BOXES)
    if other or (not boxless and inside.mean() < 0.5):
        shown = both if other else near
        raise InputError(check.pixels("generator", float(shown.min()), float(shown.max()), bounds))
