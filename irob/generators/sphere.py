"""A curved toy whose local Lipschitz constant is known: points on a sphere, g_y(z) = c_y + R Q_y z / |z|.

Two codes at an angle a are 2 R sin(a/2) apart as images, and at least |z| sin(a) apart as codes where a <= 90 degrees.
Within a ball of radius r < |z| the angle is at most arcsin(r / |z|), hence

    L(z, r) = R / (|z| cos(a/2)),  a = arcsin(r / |z|),

attained where the line to z' touches the cone; for r > |z| the supremum is 2 R / |z|, at z' -> -0 z.
At r -> 0 this is the largest singular value of the Jacobian, R / |z|.  The map is singular at z = 0.

With one centre a class it is the generator of the concentric and adversarial spheres of Gilmer et al. (2018).
"""

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.check import InputError, integer, number
from irob.core.types import Generator
from irob.generators.affine import GREY, orthonormal


def apply(variables: dict, z: jax.Array, y: jax.Array) -> jax.Array:
    """c + R_y Q z / |z|; z: f[d], y: i[] -> f[H,W,C]."""
    direction = z * jax.lax.rsqrt(jnp.sum(z * z))
    frame = jnp.tensordot(variables["frame"], direction, axes=1, precision="float32")
    return variables["offset"] + variables["radius"][y] * frame


def build(
    variables=None,
    *,
    key: jax.Array | None = None,
    latent_dim: int = 10,
    num_classes: int = 1,
    image_shape: tuple[int, int, int] = (4, 4, 1),
    radius=0.4,
) -> Generator:
    """Concentric spheres, one radius for each class, in a random subspace drawn with `key`.

    Args:
        variables: {"frame": f[H,W,C,d] orthonormal, "offset": f[H,W,C], "radius": f[K]}, or None.
        latent_dim, num_classes, image_shape: d, K and (H, W, C) with H W C >= d.
        radius: positive, in image units: one number or f[K]; images stay in [0, 1] up to 1/2.

    Raises:
        InputError: more latent dimensions than pixels, radii not positive.

    >>> g = build(key=jax.random.key(0))
    >>> round(float(jnp.linalg.norm(g(jnp.arange(10.0), 0) - 0.5)), 4)
    0.4
    """
    shape = tuple(integer("image_shape", s, low=1) for s in image_shape)
    d, count = integer("latent_dim", latent_dim, low=1), integer("num_classes", num_classes, low=1)
    size = int(np.prod(shape))
    if size < d:
        raise InputError(f"sphere generator: got {d} latent dimensions, wanted at most the {size} pixels")
    if variables is None:
        radii = np.asarray(radius, np.float32)
        if radii.shape not in ((), (count,)) or not np.all((radii > 0) & (radii < np.inf)):
            raise InputError(f"radius: got {radius!r}, wanted one positive number or one for each of {count} classes")
        if key is None:
            raise InputError("sphere generator: got neither variables nor a key; pass key=jax.random.key(0)")
        frame = orthonormal(key, size, d).reshape(*shape, d)
        variables = {"frame": frame, "offset": jnp.full(shape, GREY), "radius": jnp.broadcast_to(radii, (count,))}
    return Generator(variables, apply, d, count, shape, name="sphere")


def local_lipschitz(z, radius: float, sphere_radius: float = 0.4) -> np.ndarray:
    """The exact local constant at codes z: f[..., d] within the latent radius, as above.

    >>> round(float(local_lipschitz([3.0, 4.0], 0.5)), 5)
    0.0801
    """
    r = number("radius", radius, low=0.0)
    length = np.linalg.norm(np.asarray(z, np.float64), axis=-1)
    half_angle = np.arcsin(np.minimum(r / length, 1.0)) / 2
    return np.where(r > length, 2.0, 1 / np.cos(half_angle)) * sphere_radius / length
