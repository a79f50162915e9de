"""The shortest way out against closed forms, dense search, and the laws."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import bounds, lipschitz
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.laws import EvidenceError
from irob.core.types import Generator
from irob.generators import affine, sphere
from irob.lipschitz import EscapePlan, escape


def has_left(g, found) -> np.ndarray:
    """Whether the points have left and lie at the distance that is said; infinite ones do."""
    image = jax.vmap(g)
    with jax.default_matmul_precision("float32"):
        gap = np.asarray(image(found.point, found.y) - image(found.z, found.y), np.float64)
    far = np.linalg.norm(found.point.astype(np.float64) - found.z, axis=1)
    left = np.sqrt((gap.reshape(len(gap), -1) ** 2).sum(1)) > found.epsilon
    return np.isinf(found.upper) | (left & (np.abs(far - found.upper) <= 1e-5 * found.upper))


@pytest.mark.parametrize("epsilon", [0.01, 0.7, 5.0])
def test_affine_is_epsilon_over_sigma(key, epsilon):
    s = np.linspace(0.2, 1.0, 20)
    g = affine.build(key=jax.random.key(5), latent_dim=20, image_shape=(5, 5, 1), singular_values=s)
    z = jax.random.normal(key, (3, 20))
    found = lipschitz.escape_radius(key, g, z, 0, epsilon=epsilon, plan=EscapePlan(steps=60))
    np.testing.assert_allclose(found.upper, epsilon, rtol=2e-3)
    assert np.all(found.upper >= epsilon * (1 - 1e-6)) and has_left(g, found).all()


def test_the_bound_from_radii_is_the_affine_closed_form(key):
    """Isometric classes: half-spaces grow by epsilon / L_i, and Theorem 4.4 is an equality."""
    s = np.array([[0.5], [2.0]]) * np.ones((2, 6))
    g = affine.build(key=jax.random.key(5), latent_dim=6, num_classes=2, singular_values=s)
    y = np.arange(4) % 2
    found = lipschitz.escape_radius(key, g, jax.random.normal(key, (4, 6)), y, epsilon=1.0)
    radii = [found.upper[y == c].min() for c in (0, 1)]
    np.testing.assert_allclose(radii, [2.0, 0.5], rtol=1e-3)
    for family in ("overall", "per_class"):
        by_radius = bounds.intrinsic_robustness_upper_from_radius(0.05, radii, family=family)
        exact = bounds.intrinsic_robustness_upper(0.05, 1.0, [0.5, 2.0], family=family)
        assert by_radius == pytest.approx(exact, abs=1e-4)


@pytest.fixture(scope="module")
def curved():
    return sphere.build(key=jax.random.key(5), latent_dim=6, image_shape=(3, 3, 1))


@pytest.mark.parametrize("epsilon", [0.05, 0.3, 0.5])
def test_sphere_is_closed_form(key, curved, epsilon):
    """|D| = 2 R sin(a/2) at an angle a, and the cone of angle a < 90 degrees is |z| sin(a) away."""
    z = 2 * jax.random.normal(jax.random.key(1), (8, 6))
    found = lipschitz.escape_radius(key, curved, z, 0, epsilon=epsilon)
    truth = np.linalg.norm(z, axis=1) * np.sin(2 * np.arcsin(epsilon / 0.8))
    assert np.all(found.upper >= truth * (1 - 1e-5)) and np.all(found.upper <= truth * (1 + 1e-3))
    assert has_left(curved, found).all()
    # At least epsilon / L(r) wherever r L(r) >= epsilon, and more on a curved map.
    worst = epsilon / sphere.local_lipschitz(z, truth.max())
    assert np.all(found.upper >= worst * (1 - 1e-4))


def test_nothing_leaves(key, curved):
    z = 2 * jax.random.normal(jax.random.key(1), (3, 6))
    never = lipschitz.escape_radius(key, curved, z, 0, epsilon=0.81)  # the diameter is 0.8
    assert np.isinf(never.upper).all() and np.isnan(never.point).all() and never.lower is None
    short = lipschitz.escape_radius(key, curved, z, 0, epsilon=0.3, plan=EscapePlan(reach=0.1))
    assert np.isinf(short.upper).all()
    flat = Generator((), lambda _, z, y: jnp.zeros((1, 1, 2)) + 0 * z.sum(), 2, 1, (1, 1, 2))
    assert np.isinf(lipschitz.escape_radius(key, flat, np.ones((2, 2)), 0, epsilon=0.1).upper).all()


def wavy(weights, z, y):
    """The way out is not the steepest way from the code."""
    h = jnp.tanh(weights[0] @ z) * 3
    return jnp.sin(weights[1] @ h).reshape(3, 3, 1)


@pytest.fixture(scope="module")
def waves():
    weights = (jax.random.normal(jax.random.key(3), (5, 2)), jax.random.normal(jax.random.key(4), (9, 5)) / 2)
    return Generator(weights, wavy, 2, 1, (3, 3, 1))


@pytest.mark.parametrize("epsilon", [0.5, 1.5])
def test_against_a_dense_search_in_two_dimensions(key, waves, epsilon):
    """A grid of 400 radii x 720 angles; the search is 2 % above the grid's nearest point at most."""
    z = jax.random.normal(jax.random.key(1), (12, 2))
    found = lipschitz.escape_radius(key, waves, z, 0, epsilon=epsilon, plan=EscapePlan(restarts=8))
    angle, r = np.meshgrid(np.linspace(0, 2 * np.pi, 720), np.linspace(2.5e-3, 1.0, 400))
    v = jnp.asarray(np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1).reshape(-1, 2), jnp.float32)

    @jax.jit
    def nearest(code):
        gap = jnp.sum((jax.vmap(waves, (0, None))(code + v, 0) - waves(code, 0)) ** 2, axis=(1, 2, 3))
        return jnp.min(jnp.where(gap > epsilon**2, jnp.linalg.norm(v, axis=1), jnp.inf))

    dense = np.array([nearest(code) for code in z])
    inside = np.isfinite(dense)
    assert inside.sum() >= 6 and has_left(waves, found).all()
    assert np.all(found.upper[inside] <= 1.02 * dense[inside])
    assert np.all(found.upper[inside] >= dense[inside] - 2.6e-3)


def test_laws_on_a_curved_map(key, waves):
    """Grows with epsilon, is at least epsilon / L for the maximised constant of the ball that it spans, and shares
    its program between all epsilons; chunks do not enter."""
    z = jax.random.normal(jax.random.key(1), (6, 2))
    plan = EscapePlan(restarts=8)
    radii = [lipschitz.escape_radius(key, waves, z, 0, epsilon=e, plan=plan).upper for e in (0.2, 0.4, 0.8)]
    before = escape._chunk.compiled()._cache_size()
    again = lipschitz.escape_radius(key, waves, z, 0, epsilon=0.8, plan=plan, work=Work(6)).upper
    assert escape._chunk.compiled()._cache_size() == before
    np.testing.assert_allclose(again, radii[-1], rtol=1e-5)
    assert np.all(np.diff(radii, axis=0) > 0)
    parts = lipschitz.escape_radius(key, waves, z, 0, epsilon=0.8, plan=plan, work=Work(4)).upper
    np.testing.assert_allclose(parts, radii[-1], rtol=1e-4)
    chords = lipschitz.maximised(key, waves, z, 0, radius=float(radii[-1].max()), restarts=8, steps=60).value
    assert np.all(radii[-1] >= 0.8 / chords * (1 - 0.01))


def test_certified_below_found(key, monkeypatch):
    """On an isometry both sides meet; a certificate above a point that has left is refused."""
    certified = importlib.import_module("irob.lipschitz.certifying")
    g = affine.build(key=jax.random.key(5), latent_dim=4, singular_values=0.5)
    found = lipschitz.escape_radius(key, g, jax.random.normal(key, (2, 4)), 0, epsilon=1.0, certify=True)
    assert np.all(found.lower <= found.upper)
    np.testing.assert_allclose(found.lower, 2.0, rtol=2e-2)
    monkeypatch.setattr(certified, "certified_radius", lambda *a, **k: np.array([1.9, 2.1]))
    with pytest.raises(EvidenceError, match="code 1"):
        lipschitz.escape_radius(key, g, np.zeros((2, 4)), 0, epsilon=1.0, certify=True)


@pytest.mark.parametrize("bad", [
    {"epsilon": 0.0}, {"epsilon": -1.0}, {"epsilon": np.nan}, {"plan": EscapePlan(reach=0.0)},
    {"plan": EscapePlan(steps=0)}, {"plan": EscapePlan(restarts=0)}, {"z": np.zeros((2, 5))}, {"y": 1},
], ids=str)
def test_bad_input(key, curved, bad):
    given = {"z": np.ones((2, 6)), "y": 0, "epsilon": 0.5, **bad}
    with pytest.raises(InputError):
        lipschitz.escape_radius(key, curved, given.pop("z"), given.pop("y"), **given)


def test_a_generator_that_gives_nan(key):
    broken = Generator((), lambda _, z, y: jnp.full((1, 1, 2), jnp.nan) + 0 * z.sum(), 2, 1, (1, 1, 2))
    with pytest.raises(InputError, match="NaN"):
        lipschitz.escape_radius(key, broken, np.ones((2, 2)), 0, epsilon=0.1)
