"""The in-distribution attack against the closed form of an affine generator and a linear classifier."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks
from irob.attacks.search.inversion import InversionPlan, invert
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.core.types import Classifier, Generator

SHAPE, D, N = (4, 5, 1), 6, 24


def _affine(variables, z, y):
    return (0.5 + variables["a"] @ z).reshape(SHAPE)


def _linear(variables, x):
    return variables["w"] @ (x.ravel() - 0.5) + variables["b"]


@functools.cache
def problem():
    """Generator, classifier, codes, images, predictions, and the distance of the nearest wrong image.

    For x = g(z) and logits' difference w . x + c with value m at x, moving within the range of A:
    min |A dz| subject to w . A dz = -m  is  |m| / |P w|, P the orthogonal projection onto that range.
    """
    k1, k2, k3 = jax.random.split(jax.random.key(3), 3)
    a = 0.02 * jax.random.normal(k1, (20, D)) * jnp.linspace(0.5, 2, D)  # not isometric
    w = jax.random.normal(k2, (2, 20))
    generator = Generator({"a": a}, _affine, D, 2, SHAPE)
    classifier = Classifier({"w": w, "b": jnp.zeros(2)}, _linear, 2, SHAPE)
    z = jax.random.normal(k3, (N, D))
    x = jax.vmap(lambda c: generator(c, 0))(z)
    logits = jax.vmap(classifier)(x)
    u = np.asarray(w[1] - w[0], np.float64)
    q, _ = np.linalg.qr(np.asarray(a, np.float64))
    distance = np.abs(np.asarray(logits[:, 1] - logits[:, 0], np.float64)) / np.linalg.norm(q.T @ u)
    return generator, classifier, np.asarray(z), np.asarray(x), np.asarray(jnp.argmax(logits, 1), np.int32), distance


def attack_with(key, epsilon=1.0, **options):
    generator, classifier, z, x, y, _ = problem()
    attack = attacks.build("in_distribution", LpBall("l2", epsilon), generator=generator, **options)
    return attacks.run(attack, key, classifier, x, y, None if options.get("initialisation") == "inversion" else z)


VARIANTS = {
    "metric": {},
    "metric, ce": {"loss": "ce"},
    "adaptive": {"search": "adaptive", "steps": 200},
    "adaptive, ce": {"search": "adaptive", "steps": 200, "loss": "ce"},
    "binary": {"search": "binary", "search_steps": 6, "steps": 60, "learning_rate": 0.03, "distance": "l2_squared"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_closed_form(key, name):
    """Never below the true minimum, and close to it."""
    truth = problem()[-1]
    result = attack_with(key, **VARIANTS[name])
    assert result.success.all()
    assert np.all(result.distance >= truth - 1e-4)
    assert np.median(result.distance / truth) < 1.12
    assert np.all(result.distance <= 1.5 * truth + 0.02)


def test_one_run_gives_every_epsilon(key):
    """The verdict at a smaller radius is read off the distance, and a direct run there agrees."""
    epsilon = float(np.median(problem()[-1])) * 1.2
    wide, narrow = attack_with(key), attack_with(key, epsilon=epsilon)
    read = wide.success & (wide.distance <= epsilon)
    np.testing.assert_array_equal(read, narrow.success)
    assert 0.3 < read.mean() < 0.9
    assert np.all(narrow.distance <= epsilon + 1e-5)


def test_result_is_on_the_manifold_and_in_the_ball(key):
    """x_adv = g(z_adv): a success here is one of the unconstrained adversary too, at that very point."""
    generator, classifier, _, x, y, _ = problem()
    result = attack_with(key, epsilon=0.1)
    drawn = jax.vmap(generator)(result.z_adv, y)
    np.testing.assert_allclose(result.x_adv, drawn, atol=1e-5)
    assert np.all(np.linalg.norm((result.x_adv - x).reshape(N, -1), axis=1) <= 0.1 + 1e-5)
    predicted = jnp.argmax(jax.vmap(classifier)(jnp.asarray(result.x_adv)), 1)
    np.testing.assert_array_equal(result.success, predicted != y)
    free = attacks.run(attacks.build("pgd", LpBall("l2", 0.1), steps=20), key, classifier, x, y)
    assert np.all(free.success >= result.success)


def test_inversion_finds_an_image_without_its_code(key):
    generator, _, _, x, _, truth = problem()
    z = jax.vmap(lambda v: invert(key, generator, v, 0, InversionPlan(steps=200)))(jnp.asarray(x[:8]))
    drawn = jax.vmap(lambda c: generator(c, 0))(z)
    assert np.linalg.norm((drawn - x[:8]).reshape(8, -1), axis=1).max() < 0.02
    result = attack_with(key, initialisation="inversion", inversion_restarts=1)
    assert result.success.all()
    assert np.median(result.distance / truth) < 1.15


def test_published_protocol_runs_and_claims_nothing_outside(key):
    result = attack_with(key, protocol="paper", initialisation="inversion", inversion_steps=60, epsilon=0.5)
    truth = problem()[-1]
    assert not np.any(result.success & (truth > 0.5))
    assert np.all(result.distance <= 0.5 + 1e-5)


def test_restarts_only_help_and_chunks_do_not_matter(key):
    generator, classifier, z, x, y, _ = problem()
    one, two = (
        attacks.build("in_distribution", LpBall("l2", 0.05), generator=generator, restarts=r) for r in (1, 2)
    )
    few = attacks.run(one, key, classifier, x, y, z)
    many = attacks.run(two, key, classifier, x, y, z)
    parts = attacks.run(two, key, classifier, x, y, z, work=Work(7))
    assert np.all(many.success >= few.success)
    both = many.success & few.success
    assert np.all(many.distance[both] <= few.distance[both] + 1e-6)
    np.testing.assert_array_equal(parts.success, many.success)
    np.testing.assert_allclose(parts.distance, many.distance, atol=2e-3)


def test_epsilon_zero(key):
    result = attack_with(key, epsilon=0.0)
    assert not result.success.any() and np.all(result.distance < 1e-6)


def test_latent_radius_is_kept(key):
    """No code beyond the bound, and no claim that would need one."""
    free, kept = attack_with(key), attack_with(key, latent_radius=2.5)
    inside = np.linalg.norm(problem()[2], axis=1) <= 2.5
    assert np.linalg.norm(kept.z_adv[inside], axis=1).max() <= 2.5 + 1e-5 < np.linalg.norm(free.z_adv, axis=1).max()
    assert np.all(kept.distance >= problem()[-1] - 1e-4)


def test_bad_input(key):
    generator, classifier, z, x, y, _ = problem()
    ball = LpBall("l2", 1.0)
    with pytest.raises(InputError, match="generator: got none"):
        attacks.build("in_distribution", ball)
    with pytest.raises(InputError, match="did you mean 'l2_squared'"):
        attacks.build("in_distribution", ball, generator=generator, distance="l2squared")
    with pytest.raises(InputError, match="learning_rate"):
        attacks.build("in_distribution", ball, generator=generator, learning_rate=0.0)
    attack = attacks.build("in_distribution", ball, generator=generator)
    with pytest.raises(InputError, match='initialisation="inversion"'):
        attacks.run(attack, key, classifier, x, y)
    with pytest.raises(InputError, match="codes z"):
        attacks.run(attack, key, classifier, x, y, z[:, :2])
    with pytest.raises(InputError, match="the generator draws"):
        attacks.run(attack, key, Classifier({}, _linear, 2), x[:, :2], y, z)
