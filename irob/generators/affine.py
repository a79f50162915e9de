"""An affine toy whose every constant is known: g_y(z) = A_y z + b, A_y = U_y diag(s_y) V_y'.

The local Lipschitz constant is max s_y, at every code and every radius.  With all singular values equal to L the map
is an isometry scaled by L, and on half-spaces Theorem 4.3 is an equality.

Images are f[H,W,C] about the middle grey b = 1/2; they leave [0, 1] where |A z| > 1/2.
Shapes: d latent dimension, D = H W C >= d pixels, K classes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import layers
from irob.core.check import InputError, integer
from irob.core.types import Generator

GREY = 0.5


def apply(variables: dict, z: jax.Array, y: jax.Array) -> jax.Array:
    """A_y z + b as a vector of pixels; z: f[d], y: i[] -> f[H,W,C]."""
    matrix, offset = variables["matrix"], variables["offset"]
    return jnp.tensordot(matrix[y], z, axes=1, precision="float32") + offset


def to_layers(variables: dict, y: int) -> tuple:
    """The same as explicit layers."""
    matrix, offset = variables["matrix"][y], variables["offset"]
    kernel = matrix.reshape(-1, matrix.shape[-1]).T
    return layers.Dense(kernel, offset.ravel()), layers.Reshape(tuple(offset.shape))


apply.to_layers = to_layers  # type: ignore[attr-defined]


def build(
    variables=None,
    *,
    key: jax.Array | None = None,
    latent_dim: int = 10,
    num_classes: int = 1,
    image_shape: tuple[int, int, int] = (4, 4, 1),
    singular_values=0.05,
) -> Generator:
    """The toy with the given matrices, or with random singular vectors drawn with `key`.

    Args:
        variables: {"matrix": f[K,H,W,C,d], "offset": f[H,W,C]}, or None.
        latent_dim, num_classes, image_shape: d, K and (H, W, C) with H W C >= d.
        singular_values: positive, in image units per latent unit: one number (isometric), f[d] (the same in all
            classes) or f[K,d].

    Raises:
        InputError: more latent dimensions than pixels, or singular values of another shape or not positive.

    >>> g = build(key=jax.random.key(0), singular_values=2.0)
    >>> z = jnp.arange(10.0)
    >>> round(float(jnp.linalg.norm(g(z, 0) - g(0 * z, 0)) / jnp.linalg.norm(z)), 4)
    2.0
    """
    shape = tuple(integer("image_shape", s, low=1) for s in image_shape)
    d, count = integer("latent_dim", latent_dim, low=1), integer("num_classes", num_classes, low=1)
    if int(np.prod(shape)) < d:
        raise InputError(f"affine generator: got {d} latent dimensions, wanted at most the {np.prod(shape)} pixels")
    if variables is None:
        variables = {"matrix": _matrices(key, singular_values, d, count, shape), "offset": jnp.full(shape, GREY)}
    return Generator(variables, apply, d, count, shape, name="affine")


def orthonormal(key: jax.Array, rows: int, columns: int) -> jax.Array:
    """Random orthonormal columns."""
    return jnp.linalg.qr(jax.random.normal(key, (rows, columns)))[0]


def _matrices(key, singular_values, d: int, count: int, shape: tuple[int, ...]) -> jax.Array:
    if key is None:
        raise InputError("affine generator: got neither variables nor a key, wanted one; pass key=jax.random.key(0)")
    s = np.asarray(singular_values, np.float64)
    if s.shape not in ((), (d,), (count, d)) or not np.all((s > 0) & (s < np.inf)):
        raise InputError(f"singular_values: got shape {s.shape}, wanted positive numbers: one, {(d,)} or {(count, d)}")
    s = np.broadcast_to(s, (count, d))
    size = int(np.prod(shape))
    u_keys, v_keys = jax.random.split(key, (2, count))
    u = jax.vmap(lambda k: orthonormal(k, size, d))(u_keys)
    v = jax.vmap(lambda k: orthonormal(k, d, d))(v_keys)
    matrices = jnp.einsum("kps,ks,kzs->kpz", u, jnp.asarray(s, jnp.float32), v, precision="float32")
    return matrices.reshape(count, *shape, d)
