"""The toys keep what they promise: their constants are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import generators
from irob.core.check import InputError
from irob.generators import affine, sphere


def test_affine_singular_values():
    s = np.array([[3.0, 2.0, 1.0], [0.5, 0.5, 0.1]])
    g = affine.build(key=jax.random.key(0), latent_dim=3, num_classes=2, image_shape=(2, 3, 2), singular_values=s)
    for y in range(2):
        jacobian = jax.jacobian(lambda z, y=y: g(z, y).ravel())(jnp.ones(3))
        np.testing.assert_allclose(np.linalg.svd(jacobian, compute_uv=False), s[y], rtol=1e-5)
    assert g(jnp.zeros(3), 1).shape == (2, 3, 2) and float(jnp.max(abs(g(jnp.zeros(3), 1) - 0.5))) == 0


def test_sphere_constant_by_search():
    """No pair in the ball is stretched more than the formula says, and a fine search attains it."""
    g = sphere.build(key=jax.random.key(0), latent_dim=2, image_shape=(2, 2, 1), radius=0.3)
    z = jnp.array([0.6, 0.8])
    angle, r = np.meshgrid(np.linspace(0, 2 * np.pi, 721), np.linspace(1e-3, 0.7, 200))
    v = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1).reshape(-1, 2)
    images = jax.vmap(g, (0, None))(z + v, 0).reshape(len(v), -1)
    stretch = np.linalg.norm(images - g(z, 0).ravel(), axis=1) / np.linalg.norm(v, axis=1)
    truth = float(sphere.local_lipschitz(z, 0.7, 0.3))
    assert stretch.max() <= truth * (1 + 1e-3) and stretch.max() >= truth * (1 - 1e-3)
    assert float(sphere.local_lipschitz(z, 1.5, 0.3)) == pytest.approx(0.6)
    assert float(sphere.local_lipschitz(z, 0.0, 0.3)) == pytest.approx(0.3)


def test_spheres_have_their_radii():
    g = sphere.build(key=jax.random.key(0), num_classes=2, radius=[0.2, 0.4])
    z = jax.random.normal(jax.random.key(1), (10,))
    assert [round(float(jnp.linalg.norm(g(z, y) - 0.5)), 5) for y in (0, 1)] == [0.2, 0.4]


@pytest.mark.parametrize("name", ["affine", "sphere"])
def test_by_name_and_on_disk(name, tmp_path):
    g = generators.build(name, key=jax.random.key(0))
    generators.save(tmp_path / name, g)
    z = jax.random.normal(jax.random.key(1), (g.latent_dim,))
    np.testing.assert_array_equal(generators.load(tmp_path / name)(z, 0), g(z, 0))


@pytest.mark.parametrize(("build", "bad"), [
    (affine.build, {"latent_dim": 17}), (affine.build, {"singular_values": 0.0}),
    (affine.build, {"singular_values": [1.0, 2.0]}), (affine.build, {"singular_values": np.nan}),
    (affine.build, {"key": None}), (affine.build, {"num_classes": 0}), (affine.build, {"image_shape": (0, 4, 1)}),
    (sphere.build, {"latent_dim": 17}), (sphere.build, {"radius": -1.0}), (sphere.build, {"key": None}),
    (sphere.build, {"radius": [1.0, 2.0]}),
], ids=lambda v: str(v) if isinstance(v, dict) else v.__module__.rpartition(".")[2])
def test_bad_input(build, bad):
    with pytest.raises(InputError):
        build(**{"key": jax.random.key(0), **bad})
