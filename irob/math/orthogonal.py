"""Orthogonal matrices and sorted pairs: the parts of networks that never stretch distances.

A dense layer with orthonormal rows or columns has operator norm 1 and passes gradients on without loss; `group_sort`
is 1-Lipschitz and its derivative is a permutation almost everywhere.  Networks of both are dense among 1-Lipschitz
functions, where ReLU and spectral normalisation lose gradient norm in every layer.

Reference: Anil, Lucas, Grosse, "Sorting out Lipschitz function approximation", ICML 2019,
https://arxiv.org/abs/1811.05381; Bjorck and Bowie, SIAM J. Numer. Anal. 8 (1971).
"""

import jax
import jax.numpy as jnp


def orthogonal(matrix: jax.Array, steps: int = 15) -> jax.Array:
    """The nearest matrix with orthonormal rows or columns (whichever are fewer), by Bjorck's iteration.

        W <- W (3 I - W'W) / 2,    from W / sqrt(|W|_1 |W|_inf), whose singular values are at most 1.

    Differentiable.  Each singular value s in (0, 1] goes to s (3 - s^2) / 2, hence to 1; small ones grow by 1.5 in
    each step, so a matrix far from orthogonal wants more steps.  All stay at most 1 but for rounding: the result
    never stretches, even where the iteration has not converged.

    Args:
        matrix: f[m,n], not zero.
        steps: iterations.

    >>> w = orthogonal(jnp.array([[2.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    >>> bool(jnp.allclose(w.T @ w, jnp.eye(2), atol=1e-5))
    True
    """
    wide = matrix.shape[0] < matrix.shape[1]
    w = matrix.T if wide else matrix
    a = jnp.abs(w)
    w = w / jnp.sqrt(jnp.max(jnp.sum(a, 0)) * jnp.max(jnp.sum(a, 1)))
    for _ in range(steps):
        w = 1.5 * w - 0.5 * w @ (w.T @ w)
    return w.T if wide else w


def tangent(w: jax.Array, g: jax.Array) -> jax.Array:
    """The part of a gradient that keeps w'w (or ww') to first order: g - w sym(w'g)."""
    if w.shape[0] < w.shape[1]:
        return tangent(w.T, g.T).T
    s = w.T @ g
    return g - w @ (s + s.T) / 2


def polish(w: jax.Array, steps: int = 2) -> jax.Array:
    """Bjorck's iteration without scaling: back to orthogonal from nearby."""
    if w.shape[0] < w.shape[1]:
        return polish(w.T, steps).T
    for _ in range(steps):
        w = 1.5 * w - 0.5 * w @ (w.T @ w)
    return w


def cayley(matrix, xp=jnp):
    """The orthogonal matrix (I + A)^-1 (I - A) with A = (W - W') / 2; the identity at W = 0.

    Every orthogonal matrix without the eigenvalue -1 is one of these; the determinant is 1.  Differentiable.

    Args:
        matrix: f[n,n], any numbers.
        xp: jax.numpy, or numpy for float64.

    >>> import numpy as np
    >>> q = cayley(np.array([[0.0, 1.0], [-1.0, 0.0]]), np)
    >>> q.tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    a, identity = (matrix - matrix.T) / 2, xp.eye(len(matrix), dtype=matrix.dtype)
    return xp.linalg.solve(identity + a, identity - a)


def group_sort(x: jax.Array) -> jax.Array:
    """Neighbouring units, sorted in pairs: f[..., 2 n] -> f[..., 2 n]; also called MaxMin.

    >>> group_sort(jnp.array([3.0, 1.0, 2.0, 5.0])).tolist()
    [1.0, 3.0, 2.0, 5.0]
    """
    first, second = x[..., ::2], x[..., 1::2]
    pairs = jnp.stack([jnp.minimum(first, second), jnp.maximum(first, second)], axis=-1)
    return pairs.reshape(x.shape)
