"""The two searches over lambda in  min_z  D + lambda loss,  for one example.

`look` gives, at a code, the distance term D, the loss term, the distance itself and the margin; positive is a success.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from irob.attacks.search.walk import nearer

FAR = 1e10  # the published "infinity" of the bracket


def adaptive(
    look: Callable, z: jax.Array, *, steps: int, learning_rate: jax.Array | float, penalty: jax.Array | float
) -> jax.Array:
    """One run in which lambda follows the classification; returns the nearest misclassified iterate, or z.

    Args:
        look: z -> (distance term, loss term, distance, margin).
        z: f[d], the start.
        steps: of Adam.  learning_rate: its first rate, in latent standard deviations; it falls to a tenth as a cosine.
        penalty: the first lambda.
    """
    rule = optax.scale_by_adam(b2=0.99)

    def step(carry, t):
        z_t, state, log_penalty, best = carry

        def objective(v):
            term, loss, distance, m = look(v)
            # A convex combination has the same minimisers as term + lambda loss, and gradients of one size for Adam.
            share = jax.nn.sigmoid(log_penalty)
            return (1 - share) * term + share * loss, (distance, m)

        (_, (distance, m)), gradient = jax.value_and_grad(objective, has_aux=True)(z_t)
        best = nearer(best, z_t, distance, m > 0)
        log_penalty = log_penalty + jnp.where(m > 0, -0.1, 0.1)
        updates, state = rule.update(gradient, state)
        rate = learning_rate * (0.1 + 0.9 * 0.5 * (1 + jnp.cos(jnp.pi * t / steps)))
        return (z_t - rate * updates, state, log_penalty, best), None

    start = (z, rule.init(z), jnp.log(penalty), (z, jnp.asarray(jnp.inf, z.dtype)))
    (z_t, _, _, best), _ = jax.lax.scan(step, start, jnp.arange(steps))
    _, _, distance, m = look(z_t)
    return nearer(best, z_t, distance, m > 0)[0]


def binary(
    look: Callable,
    z: jax.Array,
    *,
    steps: int,
    search_steps: int,
    learning_rate: jax.Array | float,
    penalty: jax.Array | float,
    carry: bool,
    abort: bool,
) -> jax.Array:
    """A run of Adam for each lambda of a bisection; returns the nearest misclassified iterate, or z.

    Args:
        look: z -> (distance term, loss term, distance, margin).
        z: f[d], the start.
        steps: of Adam, for each of `search_steps` values of lambda, of which `penalty` is the first.
        learning_rate: in latent standard deviations.
        carry: go on from the last z at the next lambda, instead of from the start.
        abort: stop an example whose objective fell by less than 0.01 % in a tenth of the steps.
    """
    rule = optax.scale_by_adam()
    every = max(1, steps // 10)

    def run(state, _):
        z_begin, low, high, weight, best = state

        def step(inner, t):
            z_t, state, previous, running, found, best = inner

            def objective(v):
                term, loss, distance, m = look(v)
                return term + weight * loss, (distance, m)

            (total, (distance, m)), gradient = jax.value_and_grad(objective, has_aux=True)(z_t)
            updates, state = rule.update(gradient, state)
            z_next = jnp.where(running, z_t - learning_rate * updates, z_t)
            if abort:
                looked_at = t % every == 0
                running = running & ~(looked_at & (total > 0.9999 * previous))
                previous = jnp.where(looked_at, total, previous)
            wrong = running & (m > 0)
            return (z_next, state, previous, running, found | wrong, nearer(best, z_t, distance, wrong)), None

        inner = (z_begin, rule.init(z), jnp.asarray(jnp.inf, z.dtype), jnp.asarray(True), jnp.asarray(False), best)
        (z_end, _, _, _, found, best), _ = jax.lax.scan(step, inner, jnp.arange(steps))
        high = jnp.where(found, jnp.minimum(high, weight), high)
        low = jnp.where(found, low, jnp.maximum(low, weight))
        weight = jnp.where(high < FAR, (low + high) / 2, weight * 10)
        return (z_end if carry else z, low, high, weight, best), None

    zero, far = jnp.zeros((), z.dtype), jnp.asarray(FAR, z.dtype)
    start = (z, zero, far, zero + penalty, (z, jnp.asarray(jnp.inf, z.dtype)))
    last, _ = jax.lax.scan(run, start, length=search_steps)
    return last[-1][0]
