"""Spectral normalisation as a function of a tree of weights: every chosen kernel W becomes W / sigma(W).

sigma is estimated by power iteration from vectors that are carried along, one iteration a training step is enough
because weights move slowly.  Gradients go through sigma, not through the vectors.

Reference: Miyato, Kataoka, Koyama, Yoshida (2018), https://arxiv.org/abs/1802.05957
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from irob.core import keys

TINY = 1e-12


def start(key: jax.Array, params: Any, chosen: Callable[[str], bool]) -> dict[str, jax.Array]:
    """Unit vectors, one for each chosen leaf, by its path: f[out], out being the last axis."""
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    out = {}
    for path, leaf in flat:
        if chosen(path[-1].key):
            u = jax.random.normal(keys.named(key, jax.tree_util.keystr(path)), leaf.shape[-1:])
            out[jax.tree_util.keystr(path)] = u / jnp.linalg.norm(u)
    return out


def normalised(params: Any, vectors: dict[str, jax.Array], steps: int = 1) -> tuple[Any, dict[str, jax.Array]]:
    """(weights divided by their spectral norm, vectors after `steps` power iterations).

    >>> w = {"kernel": jnp.diag(jnp.array([4.0, 1.0]))}
    >>> start_at = start(jax.random.key(0), w, lambda name: True)
    >>> normalised(w, start_at, steps=20)[0]["kernel"].round(3).tolist()
    [[1.0, 0.0], [0.0, 0.25]]
    """
    new = {}

    def leaf(path, w):
        name = jax.tree_util.keystr(path)
        if name not in vectors:
            return w
        matrix = w.reshape(-1, w.shape[-1])
        still = jax.lax.stop_gradient(matrix)
        u = vectors[name]
        for _ in range(max(1, steps)):
            v = _unit(still @ u)
            u = _unit(v @ still)
        new[name] = u
        return w / (v @ matrix @ u)

    return jax.tree_util.tree_map_with_path(leaf, params), new


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), TINY)
