"""The steepest chord against known constants, dense search, and Algorithm 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import lipschitz
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.types import Generator
from irob.generators import affine, sphere
from irob.lipschitz import maximising


def test_general_affine_map_is_exact(key):
    """Where 2,000 random directions find 0.7 of it."""
    s = np.linspace(0.2, 1.0, 20)
    g = affine.build(key=jax.random.key(5), latent_dim=20, image_shape=(5, 5, 1), singular_values=s)
    found = lipschitz.maximised(key, g, jax.random.normal(key, (3, 20)), 0, radius=0.5, steps=80)
    np.testing.assert_allclose(found.value, 1.0, rtol=1e-3)
    assert np.all(found.value <= 1 + 1e-4) and found.side == "lower"


SPECTRA = {"isometric": (10, 1.0), "spread": (100, np.linspace(0.2, 1, 100)), "dense": (100, np.linspace(0.9, 1, 100))}


@pytest.mark.parametrize("name", SPECTRA)
def test_99_percent_of_every_affine_constant(key, name):
    """With the default settings, at every radius."""
    d, s = SPECTRA[name]
    g = affine.build(key=jax.random.key(5), latent_dim=d, image_shape=(10, 10, 1), singular_values=s)
    z = jax.random.normal(key, (4, d))
    for radius in (0.01, 0.5, 3.0):
        found = lipschitz.maximised(key, g, z, 0, radius=radius).value
        assert np.all(found >= 0.99) and np.all(found <= 1 + 1e-4)


def test_99_percent_of_every_sphere_constant(key):
    """With the default settings, at radii up to nearly |z|, where the map is singular at the origin."""
    g = sphere.build(key=jax.random.key(5), latent_dim=6, image_shape=(3, 3, 1))
    z = 2 * jax.random.normal(jax.random.key(1), (12, 6))
    for radius in (0.01, 0.1, 0.5, 1.0, 2.0):
        exact = sphere.local_lipschitz(z, radius)
        found = lipschitz.maximised(key, g, z, 0, radius=radius).value
        assert np.all(found >= 0.99 * exact) and np.all(found <= 1.001 * exact)


@pytest.fixture(scope="module")
def curved():
    g = sphere.build(key=jax.random.key(5), latent_dim=6, image_shape=(3, 3, 1))
    z = 2 * jax.random.normal(jax.random.key(1), (8, 6))
    return g, z, lipschitz.maximised(jax.random.key(0), g, z, 0, radius=0.5).value


def test_sphere_attains_its_constant(curved):
    """The maximiser lies on the boundary of the ball, 1 to 3 % above the Jacobian's singular value."""
    _, z, found = curved
    truth = sphere.local_lipschitz(z, 0.5)
    assert np.all(found <= truth * (1 + 1e-4)) and np.all(found >= truth * (1 - 3e-3))


def test_result_does_not_depend_on_chunks(curved):
    g, z, found = curved
    parts = lipschitz.maximised(jax.random.key(0), g, z, 0, radius=0.5, work=Work(3)).value
    np.testing.assert_allclose(parts, found, rtol=1e-4)


def wavy(weights, z, y):
    """The steepest chord is neither at the code nor at the rim."""
    h = jnp.tanh(weights[0] @ z) * 3
    return jnp.sin(weights[1] @ h).reshape(3, 3, 1)


def test_against_a_dense_search_in_two_dimensions(key):
    """A grid of 200 radii x 720 angles: the ascent finds 98 % of its best chord at least, most often more."""
    weights = (jax.random.normal(jax.random.key(3), (5, 2)), jax.random.normal(jax.random.key(4), (9, 5)) / 2)
    g = Generator(weights, wavy, 2, 1, (3, 3, 1))
    z = jax.random.normal(jax.random.key(1), (12, 2))
    found = lipschitz.maximised(key, g, z, 0, radius=0.5, restarts=8).value
    angle, r = np.meshgrid(np.linspace(0, 2 * np.pi, 720), np.linspace(2.5e-3, 0.5, 200))
    v = jnp.asarray(np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1).reshape(-1, 2), jnp.float32)

    @jax.jit
    def best(code):
        images = jax.vmap(g, (0, None))(code + v, 0)
        return jnp.sqrt(jnp.max(jnp.sum((images - g(code, 0)) ** 2, axis=(1, 2, 3)) / jnp.sum(v**2, axis=1)))

    dense = np.array([best(code) for code in z])
    at_code = lipschitz.maximised(key, g, z, 0, radius=0.5, restarts=0).value
    assert np.all(found >= 0.98 * dense) and np.all(found <= 1.01 * dense)
    assert np.all(found >= at_code * (1 - 1e-4)) and np.max(found / at_code) > 1.05
    drawn = lipschitz.sampled(key, g, z, 0, radius=0.5, neighbours=50).value
    assert np.all(drawn <= found * 1.01)


def test_more_steps_share_a_program_and_lose_nothing(key, curved):
    g, z, _ = curved
    values = [lipschitz.maximised(key, g, z, 0, radius=0.5, steps=n).value for n in (1, 3, 9)]
    before = maximising._chunk.compiled()._cache_size()
    values.append(lipschitz.maximised(key, g, z, 0, radius=0.5, steps=27).value)
    assert maximising._chunk.compiled()._cache_size() == before
    assert np.all(np.diff(values, axis=0) >= -2e-3)


def test_a_flat_generator(key):
    flat = Generator((), lambda _, z, y: jnp.zeros((1, 1, 2)) + 0 * z.sum(), 2, 1, (1, 1, 2))
    assert lipschitz.maximised(key, flat, np.ones((2, 2)), 0, radius=0.5).value.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [
    {"radius": 0.0}, {"radius": np.nan}, {"steps": 0}, {"restarts": -1}, {"z": np.zeros((2, 5))}, {"y": 1},
], ids=str)
def test_bad_input(key, curved, bad):
    given = {"z": np.ones((2, 6)), "y": 0, "radius": 0.5, **bad}
    with pytest.raises(InputError):
        lipschitz.maximised(key, curved[0], given.pop("z"), given.pop("y"), **given)
