"""Orthogonal matrices against numpy's polar factor; sorting keeps norms; operator norms from above."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from irob.math.operator_norm import operator_norm
from irob.math.orthogonal import group_sort, orthogonal


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9)])
def test_orthogonal_is_the_polar_factor(shape):
    matrix = jax.random.normal(jax.random.key(0), shape)
    wanted = scipy.linalg.polar(np.asarray(matrix, np.float64))[0]
    np.testing.assert_allclose(orthogonal(matrix, 40), wanted, atol=1e-4)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_orthogonal_never_stretches_even_before_it_converged(steps):
    for seed in range(20):
        matrix = jax.random.normal(jax.random.key(seed), (7, 12)) * 10.0 ** (seed - 10)
        assert operator_norm(orthogonal(matrix, steps)) <= 1 + 1e-6


def test_group_sort_is_a_permutation_and_one_lipschitz():
    x, y = jax.random.normal(jax.random.key(1), (2, 1000, 8))
    np.testing.assert_array_equal(jnp.sort(group_sort(x)), jnp.sort(x))
    moved = jnp.linalg.norm(group_sort(x) - group_sort(y), axis=-1)
    assert jnp.all(moved <= jnp.linalg.norm(x - y, axis=-1) * (1 + 1e-6))


def test_operator_norm_is_from_above():
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix = rng.normal(size=(8, 5))
        v = np.linalg.svd(matrix)[2][0]
        assert operator_norm(matrix) >= np.linalg.norm(matrix @ v)
