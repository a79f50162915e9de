"""Norms and steepest directions at every scale, against NumPy and duality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob.math import norms

ORD = {"l1": 1, "l2": 2, "linf": np.inf}


@pytest.mark.parametrize("order", norms.NORMS)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_norm_at_every_scale(order, scale):
    v = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float64) * scale
    wanted = np.linalg.norm(v.ravel(), ORD[order])
    np.testing.assert_allclose(norms.norm(jnp.asarray(v, jnp.float32), order), wanted, rtol=1e-5)


@pytest.mark.parametrize("order", norms.NORMS)
def test_gradient_at_zero_is_zero(order):
    assert norms.norm(jnp.zeros(3), order) == 0
    np.testing.assert_array_equal(jax.grad(norms.norm)(jnp.zeros(3), order), 0)
    np.testing.assert_array_equal(norms.steepest(jnp.zeros(3), order), 0)


def test_gradient_of_l2_is_the_unit_vector():
    v = jnp.array([3.0, -4.0, 0.0])
    np.testing.assert_allclose(jax.grad(norms.norm)(v), [0.6, -0.8, 0], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_unit_has_length_one(scale):
    """A gradient of 1e-30 is a direction too; adding a constant to its norm would lose it."""
    v = jax.random.normal(jax.random.key(0), (7,)) * scale
    np.testing.assert_allclose(np.linalg.norm(norms.unit(v)), 1, rtol=1e-6)


@pytest.mark.parametrize("order", norms.NORMS)
def test_steepest_attains_the_dual_norm(order):
    g = jax.random.normal(jax.random.key(1), (9,))
    d = norms.steepest(g, order)
    np.testing.assert_allclose(norms.norm(d, order), 1, rtol=1e-6)
    np.testing.assert_allclose(jnp.vdot(d, g), norms.norm(g, norms.DUAL[order]), rtol=1e-6)
