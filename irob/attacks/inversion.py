"""Inversion of a generator: the code of an image whose code is not known."""

import jax
import jax.numpy as jnp
import optax

from irob.attacks.walk import nearer
from irob.core.types import Generator


def invert(
    key: jax.Array,
    generator: Generator,
    x: jax.Array,
    y: jax.Array,
    *,
    restarts: int,
    steps: int,
    learning_rate: jax.Array | float,
    adam: bool = True,
) -> jax.Array:
    """The code whose image is nearest to x:  argmin_z |g(z, y) - x|^2  over iterates and restarts, for one example.

    Args:
        x: f[H,W,C] in [0,1].  y: i[].
        restarts: random starts z ~ N(0, I).  steps, learning_rate: of Adam, or of plain gradient descent.

    Returns:
        z f[d].

    >>> import irob.core.types as t
    >>> line = t.Generator(jnp.array([[1.0], [0.0]]), lambda v, z, y: (v @ z).reshape(1, 2, 1), 1, 1, (1, 2, 1))
    >>> x = jnp.array([0.25, 0.0]).reshape(1, 2, 1)
    >>> z = invert(jax.random.key(0), line, x, 0, restarts=1, steps=200, learning_rate=0.1)
    >>> bool(abs(z[0] - 0.25) < 1e-2)
    True
    """
    rule = optax.scale_by_adam() if adam else optax.identity()

    def once(r):
        def step(carry, _):
            z, state, best = carry
            square, gradient = jax.value_and_grad(lambda v: jnp.sum((generator(v, y) - x) ** 2))(z)
            updates, state = rule.update(gradient, state)
            return (z - learning_rate * updates, state, nearer(best, z, square, square >= 0)), None

        z = jax.random.normal(jax.random.fold_in(key, r), (generator.latent_dim,))
        (_, _, best), _ = jax.lax.scan(step, (z, rule.init(z), (z, jnp.asarray(jnp.inf, z.dtype))), length=steps)
        return best

    codes, squares = jax.lax.map(once, jnp.arange(restarts))
    return codes[jnp.argmin(squares)]
