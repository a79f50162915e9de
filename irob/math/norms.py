"""Norms that stay finite: at zero, at 1e-30 and at 1e+30, in value and in gradient.

Shapes: v is one example of any shape, taken as one long vector; v: f[...].
The l2 norm is computed as m |v / m| with m = max |v_i|, so that squares neither underflow nor overflow:
a gradient of size 1e-30, as a confident classifier has, keeps its direction.
"""

import jax
import jax.numpy as jnp

NORMS = ("l1", "l2", "linf")
DUAL = {"l1": "linf", "l2": "l2", "linf": "l1"}


def named(name: str) -> str:
    """The norm of that name, in whatever case people write it.

    >>> named("L2"), named("Linf")
    ('l2', 'linf')
    """
    return name.lower() if isinstance(name, str) else name


def norm(v: jax.Array, order: str = "l2") -> jax.Array:
    """|v| of one example, with gradient 0 at v = 0.

    Args:
        v: f[...], one example.
        order: "l1", "l2" or "linf".

    Returns:
        f[], at least 0.

    >>> float(norm(jnp.array([3.0, 4.0])))
    5.0
    >>> import jax
    >>> jax.grad(norm)(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """
    if order != "l2":
        # |v| = max_{|d|_dual <= 1} d . v, attained at the steepest direction, which is also the (sub)gradient.
        return jnp.sum(v * jax.lax.stop_gradient(steepest(v, DUAL[order])))
    scale = jax.lax.stop_gradient(_largest(v))
    zero = scale == 0
    # Both branches of a `where` are differentiated: the root must see 1 where v is 0.
    square = jnp.sum((v / jnp.where(zero, 1.0, scale)) ** 2)
    return jnp.where(zero, 0.0, scale * jnp.sqrt(jnp.where(zero, 1.0, square)))


def unit(v: jax.Array) -> jax.Array:
    """v / |v|_2, whatever the scale of v; 0 where v is 0.

    >>> unit(jnp.array([3e-30, 4e-30])).round(3).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    scaled = v / jnp.where(_largest(v) == 0, 1.0, _largest(v))
    length = jnp.sqrt(jnp.sum(scaled**2))
    return scaled / jnp.where(length == 0, 1.0, length)


def steepest(gradient: jax.Array, order: str = "l2") -> jax.Array:
    """The direction d with |d| <= 1 that maximises d . gradient; 0 where the gradient is 0.

    l2: gradient / |gradient|.  linf: its signs.  l1: all on the largest entries, shared equally among ties.

    >>> steepest(jnp.array([0.5, -2.0]), "linf").tolist()
    [1.0, -1.0]
    >>> steepest(jnp.array([0.5, -2.0]), "l1").tolist()
    [0.0, -1.0]
    """
    if order == "l2":
        return unit(gradient)
    if order == "linf":
        return jnp.sign(gradient)
    # Signs vanish where the gradient does, so a zero gradient gives 0 and not an even spread.
    top = jnp.where(jnp.abs(gradient) >= _largest(gradient), jnp.sign(gradient), 0.0)
    return top / jnp.maximum(jnp.sum(jnp.abs(top)), 1.0)


def _largest(v: jax.Array) -> jax.Array:
    return jnp.max(jnp.abs(v), initial=0.0)
