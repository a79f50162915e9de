"""Learning orthogonal couplings: a matrix T so that the images g(z, i) and g(T z, j) are within 2 epsilon often.

Maximised is the mean over codes of sigmoid((2 epsilon - |g(z, i) - g(T z, j)|) / softness), T = cayley(W), by Adam
with a cosine to 0, from W = 0, the identity, where images of one code already look alike.  Whatever is learned, T is
orthogonal, so what is proved with it holds; only how sharp it is depends on the training.  Measure on other codes.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob.core import check, keys, latents
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.progress import progress
from irob.core.types import Generator
from irob.math.orthogonal import cayley


@dataclasses.dataclass(frozen=True)
class Plan:
    """epsilon and softness in image units; batch_size: fresh codes in a step; learning_rate: largest of Adam."""

    epsilon: float = 3.0
    softness: float = 1.0
    steps: int = 300
    batch_size: int = 256
    learning_rate: float = 3e-3

    def __post_init__(self):
        check.numbers(self, "epsilon", "softness", "learning_rate", low=0, open_low=True)
        check.integers(self, "steps", "batch_size", low=1)


def train(
    key: jax.Array, generator: Generator, leader: int, follower: int, plan: Plan, *, label: str = ""
) -> jax.Array:
    """W f[d,d], skew-symmetric: class `follower` has the code cayley(W) z where class `leader` has z.

    Raises:
        InputError: classes that do not exist or are the same, a generator whose latent law is not known.
    """
    keys.require(key)
    classes = range(generator.components)
    if leader == follower or leader not in classes or follower not in classes:
        raise InputError(f"pair: got {leader}-{follower}, wanted two different classes from 0 to {classes[-1]}")
    latents.require(generator.latent)
    tx = optax.adam(optax.cosine_decay_schedule(plan.learning_rate, plan.steps))
    w = jnp.zeros((generator.latent_dim, generator.latent_dim))
    state = w, tx.init(w)
    pair = jnp.asarray([leader, follower])
    for i in progress(range(plan.steps), total=plan.steps, label=label):
        state = _step(generator, jax.random.fold_in(key, i), state, pair, plan, tx)
    return (state[0] - state[0].T) / 2


def share(
    key: jax.Array, generator: Generator, leader: int, follower: int, w, epsilons, count: int = 2000
) -> np.ndarray:
    """For each epsilon the share of `count` fresh codes whose two images are within 2 epsilon: figures, not a proof."""
    pair = jnp.asarray([leader, follower])
    with jax.default_matmul_precision("float32"):
        found = [_distances(generator, jax.random.fold_in(key, i), w, pair, 100) for i in range(-(-count // 100))]
    return np.mean(np.concatenate(found)[:count, None] <= 2 * np.asarray(epsilons), axis=0)


def _apart(generator: Generator, key, w, pair, count: int) -> jax.Array:
    """Distances f[count] of the two images of fresh codes."""
    z = jax.random.normal(key, (count, generator.latent_dim))

    def one(z, u):
        return jnp.sqrt(jnp.sum((generator(z, pair[0]) - generator(u, pair[1])) ** 2) + 1e-12)

    return jax.vmap(one)(z, z @ cayley(w).T)


@jit(static_argnames="count")
def _distances(generator, key, w, pair, count):
    return _apart(generator, key, w, pair, count)


@jit(static_argnames=("plan", "tx"))
def _step(generator, key, state, pair, plan: Plan, tx):
    def loss(w):
        apart = _apart(generator, key, w, pair, plan.batch_size)
        return -jnp.mean(jax.nn.sigmoid((2 * plan.epsilon - apart) / plan.softness))

    w, opt = state
    updates, opt = tx.update(jax.grad(loss)(w), opt)
    return optax.apply_updates(w, updates), opt
