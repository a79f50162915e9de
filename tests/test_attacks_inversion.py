"""Inversion: exact on an affine generator, and nearer than gradient descent on a trained one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import generators
from irob.attacks.search import inversion
from irob.core.batch import Work
from irob.core.check import InputError


def test_affine_codes_are_found_exactly(key):
    """Singular values from 0.001 to 0.1: gradient descent would need thousands of steps."""
    g = generators.build("affine", key=key, latent_dim=6, num_classes=2, singular_values=np.geomspace(1e-3, 0.1, 6))
    z, y = jax.random.normal(key, (9, 6)) / 2, np.arange(9) % 2
    x = np.asarray(jax.vmap(g)(z, y))
    found = inversion.run(jax.random.key(1), g, x, y, inversion.InversionPlan(steps=10))
    np.testing.assert_allclose(found.z, z, atol=2e-2)
    assert found.distance.max() < 1e-4


def test_an_image_off_the_manifold_is_projected(key):
    """The least squares solution, whose residual is orthogonal to the manifold."""
    g = generators.build("affine", key=key, latent_dim=6)
    x = np.asarray(jax.random.uniform(key, (5, 4, 4, 1)))
    a = np.asarray(g.variables["matrix"][0]).reshape(16, 6)
    residual = x.reshape(5, -1) - 0.5
    q, _ = np.linalg.qr(a)
    truth = np.linalg.norm(residual - residual @ q @ q.T, axis=1)
    found = inversion.run(key, g, x, np.zeros(5, int), work=Work(2))
    np.testing.assert_allclose(found.distance, truth, rtol=1e-3)


def test_nearer_than_the_published_descent(key):
    """On drawn images of the shipped generator."""
    g = generators.load("acgan_mnist")
    z, y = jax.random.normal(key, (3, 100)), np.arange(3)
    x = np.asarray(jax.vmap(g)(z, y))
    newton = inversion.run(key, g, x, y, inversion.InversionPlan(steps=4))
    published = inversion.run(key, g, x, y, inversion.InversionPlan(1, 100, "gradient", 1e-3))
    assert np.all(newton.distance < 0.3 * published.distance)


@pytest.mark.parametrize("method", inversion.METHODS)
def test_every_method_descends_and_chunks_do_not_matter(key, method):
    g = generators.build("affine", key=key, latent_dim=4, singular_values=0.2)
    x = np.asarray(jax.vmap(g)(jax.random.normal(key, (5, 4)), jnp.zeros(5, int)))
    rate = 0.1 if method == "adam" else 5.0
    plan = inversion.InversionPlan(2, 60, method, rate)
    whole = inversion.run(key, g, x, np.zeros(5, int), plan)
    parts = inversion.run(key, g, x, np.zeros(5, int), plan, work=Work(2))
    assert whole.distance.max() < 0.02
    np.testing.assert_allclose(whole.z, parts.z, atol=1e-2)


def test_bad_input(key):
    g = generators.build("affine", key=key)
    x, y = np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, int)
    with pytest.raises(InputError, match="did you mean 'gauss_newton'"):
        inversion.run(key, g, x, y, inversion.InversionPlan(method="newton"))
    with pytest.raises(InputError, match="steps"):
        inversion.run(key, g, x, y, inversion.InversionPlan(steps=0))
    with pytest.raises(InputError, match="the generator draws"):
        inversion.run(key, g, x[:, :3], y)
    with pytest.raises(InputError, match="labels"):
        inversion.run(key, g, x, y + 1)
    with pytest.raises(InputError, match="typed key"):
        inversion.run(0, g, x, y)
