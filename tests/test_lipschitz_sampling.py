"""Algorithm 1: against a plain loop, known constants, chunk invariance, memory, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import lipschitz
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.types import Generator
from irob.generators import affine, sphere
from irob.lipschitz import sampling


@pytest.fixture(scope="module")
def bent():
    """A nonlinear toy of two classes."""

    def apply(variables, z, y):
        return jnp.tanh(variables[y] @ z).reshape(4, 5, 1)

    return Generator(jax.random.normal(jax.random.key(7), (2, 20, 6)), apply, 6, 2, (4, 5, 1))


@pytest.mark.parametrize("directions", ["ball", "orthant"])
def test_against_a_plain_loop(key, bent, directions):
    """The same draws, one neighbour after the other, in float64 by NumPy."""
    z, y = np.asarray(jax.random.normal(jax.random.key(1), (3, 6))), np.array([0, 1, 1])
    got = lipschitz.sampled(key, bent, z, y, radius=0.5, neighbours=7, directions=directions)
    weights = np.asarray(bent.variables, np.float64)
    for i in range(3):
        best = 0.0
        for j in range(7):
            k = jax.random.fold_in(jax.random.fold_in(key, i), j)
            v = np.asarray(sampling.offset(k, 6, 0.5, directions), np.float64)
            gap = np.tanh(weights[y[i]] @ (z[i] + v)) - np.tanh(weights[y[i]] @ z[i])
            best = max(best, np.linalg.norm(gap) / np.linalg.norm(v))
        assert got.value[i] == pytest.approx(best, rel=1e-4)
    assert (got.side, got.radius) == ("lower", 0.5) and got.z.shape == (3, 6) and got.y.tolist() == y.tolist()


def test_neighbours_fill_the_ball():
    """|v|/r has the distribution u^(1/d), and directions are uniform; the orthant's are positive and close together."""
    keys = jax.random.split(jax.random.key(3), 4000)
    v = np.asarray(jax.vmap(lambda k: sampling.offset(k, 5, 2.0, "ball"))(keys))
    length = np.linalg.norm(v, axis=1)
    assert length.max() <= 2.0 * (1 + 1e-6)
    grid = np.linspace(0.1, 1, 10)
    np.testing.assert_allclose([np.mean(length <= 2 * g) for g in grid], grid**5, atol=0.03)
    assert abs(v.mean(axis=0)).max() < 0.1
    w = np.asarray(jax.vmap(lambda k: sampling.offset(k, 100, 2.0, "orthant"))(keys[:200]))
    assert w.min() >= 0
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    assert np.mean(unit @ unit.T) == pytest.approx(0.75, abs=0.02)  # as REFERENCE measured on the published code


def test_result_does_not_depend_on_chunks(key, bent):
    z = jax.random.normal(jax.random.key(1), (5, 6))
    whole = lipschitz.sampled(key, bent, z, 1, radius=0.5, neighbours=11, work=Work(1000)).value
    for chunk in (1, 5):
        got = lipschitz.sampled(key, bent, z, 1, radius=0.5, neighbours=11, work=Work(chunk)).value
        np.testing.assert_allclose(got, whole, rtol=1e-5)
    first = lipschitz.sampled(key, bent, z[:2], 1, radius=0.5, neighbours=11, work=Work(1)).value
    np.testing.assert_allclose(first, whole[:2], rtol=1e-5)  # nor on what else is estimated


def test_more_neighbours_never_lower_it(key, bent):
    z = jax.random.normal(jax.random.key(1), (4, 6))
    values = [lipschitz.sampled(key, bent, z, 0, radius=0.5, neighbours=n, work=Work(1)).value
              for n in (1, 10, 100)]
    assert np.all(np.diff(values, axis=0) >= -1e-6)
    top = np.array([np.linalg.norm(np.asarray(bent.variables[0]), 2)])  # tanh contracts: a global upper bound
    assert np.all(values[-1] <= top)


def test_random_directions_miss_the_top_of_a_general_affine_map(key):
    """Singular values spread over [.2, 1] in d = 100: 2,000 draws find 0.7 to 0.8 of the largest."""
    s = np.linspace(0.2, 1.0, 100)
    g = affine.build(key=jax.random.key(5), latent_dim=100, image_shape=(12, 10, 1), singular_values=s)
    found = lipschitz.sampled(key, g, jnp.zeros((2, 100)), 0, radius=0.5, neighbours=2000).value
    assert np.all((found > 0.65) & (found < 0.8))


def test_never_above_the_known_constant_of_the_sphere(key):
    """And close to it in two dimensions, where 2,000 draws leave no direction out."""
    g = sphere.build(key=jax.random.key(5), latent_dim=2, image_shape=(2, 2, 1))
    z = 2 * jax.random.normal(jax.random.key(1), (20, 2))
    truth = sphere.local_lipschitz(z, 0.2)
    found = lipschitz.sampled(key, g, z, 0, radius=0.2, neighbours=2000).value
    assert np.all(found <= truth * (1 + 1e-3)) and np.all(found[truth < 1] >= 0.95 * truth[truth < 1])


def test_one_compiled_program_serves_all(key, bent):
    """Any number of codes and neighbours, any radius: so its memory cannot depend on them."""
    z = jax.random.normal(jax.random.key(1), (4, 6))
    lipschitz.sampled(key, bent, z, 0, radius=0.5, neighbours=13, work=Work(5))
    compiled = sampling._chunk.compiled()
    before = compiled._cache_size()
    for r, n in ((0.1, 5), (3, 500)):
        lipschitz.sampled(jax.random.key(9), bent, z[:3], 1, radius=r, neighbours=n, work=Work(5))
    assert compiled._cache_size() == before


def nan(variables, z, y):
    return z.reshape(1, 1, 2) / 0.0


@pytest.mark.parametrize("bad", [
    {"z": np.zeros((2, 5))}, {"z": np.zeros(6)}, {"z": np.zeros((0, 6))}, {"z": np.full((2, 6), np.nan)},
    {"y": 2}, {"y": -1}, {"y": [0, 1, 0]}, {"y": 0.5}, {"radius": 0.0}, {"radius": -1.0}, {"radius": np.nan},
    {"neighbours": 0}, {"neighbours": 2.5}, {"directions": "sphere"}, {"key": 0},
], ids=str)
def test_bad_input(key, bent, bad):
    given = {"key": key, "z": np.zeros((2, 6)), "y": 0, "radius": 0.5, "neighbours": 3, **bad}
    with pytest.raises(InputError):
        lipschitz.sampled(given.pop("key"), bent, given.pop("z"), given.pop("y"), **given)


def test_a_generator_that_gives_nan(key):
    with pytest.raises(InputError, match="code 0"):
        lipschitz.sampled(key, Generator((), nan, 2, 1, (1, 1, 2)), np.ones((2, 2)), 0, radius=0.5, neighbours=3)
