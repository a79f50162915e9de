"""Power iteration on the Jacobian of a function, which is never formed.

    v <- J'J v / |J'J v|,    |J v| -> sigma_max(J)

One linearisation serves all steps; each step costs a forward-mode and a reverse-mode product.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from irob.math.norms import unit


def top_singular(function: Callable, x: jax.Array, start: jax.Array, *, steps: int) -> tuple[jax.Array, jax.Array]:
    """(sigma, v): the largest singular value of the Jacobian at x from below, and its right singular vector.

    Args:
        function: f[d] -> f[...], differentiable at x.
        x: f[d].
        start: f[d], with a component along the wanted vector, as random ones have.
        steps: iterations; the error of sigma falls by (sigma_2 / sigma_1)^4 in each.

    >>> matrix = jnp.array([[3.0, 0.0], [0.0, 1.0]])
    >>> sigma, v = top_singular(lambda x: matrix @ x, jnp.zeros(2), jnp.ones(2), steps=10)
    >>> round(float(sigma), 5), v.round(4).tolist()
    (3.0, [1.0, 0.0])
    """
    _, push = jax.linearize(function, x)
    pull = jax.linear_transpose(push, x)

    def step(_, v):
        return unit(pull(push(v))[0])

    v = jax.lax.fori_loop(0, steps, step, unit(start))
    return jnp.sqrt(jnp.sum(push(v) ** 2)), v
