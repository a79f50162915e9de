"""The attack on the manifold against the closed form of an affine generator and a linear classifier."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from irob import attacks
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.threat import LatentBall, LpBall
from irob.core.types import Classifier, Generator

SHAPE, D, N, K = (4, 5, 1), 6, 24, 4


def _affine(variables, z, y):
    return (0.5 + variables["a"] @ z).reshape(SHAPE)


def _linear(variables, x):
    return variables["w"] @ (x.ravel() - 0.5)


@functools.cache
def problem():
    """Generator, classifier, codes, images, predictions, and the distance of the nearest wrong image.

    With P the projection onto the range of A and logits w_k . (x - 1/2), class k begins on the manifold at the distance
    (f_y - f_k) / |P (w_k - w_y)|; the nearest class decides.
    """
    k1, k2, k3 = jax.random.split(jax.random.key(5), 3)
    a = 0.02 * jax.random.normal(k1, (20, D)) * jnp.linspace(0.1, 2, D)  # one direction is stretched 20 times more
    w = jax.random.normal(k2, (K, 20))
    generator = Generator({"a": a}, _affine, D, K, SHAPE)
    classifier = Classifier({"w": w}, _linear, K, SHAPE)
    z = np.asarray(jax.random.normal(k3, (N, D)))
    x = np.asarray(jax.vmap(lambda c: generator(c, 0))(z))
    q, _ = np.linalg.qr(np.asarray(a, np.float64))
    w, f = np.asarray(w, np.float64), (x.reshape(N, -1).astype(np.float64) - 0.5) @ np.asarray(w, np.float64).T
    y = f.argmax(1)
    slopes = np.linalg.norm((w[None] - w[y][:, None]) @ q, axis=2)
    each = (f[np.arange(N), y][:, None] - f) / np.where(slopes > 0, slopes, 1)
    truth = np.where(np.arange(K) == y[:, None], np.inf, each).min(1)
    return generator, classifier, z, x, y.astype(np.int32), truth


def run(key, epsilon=1.0, name="manifold", chunk=None, z=..., **options):
    generator, classifier, codes, x, y, _ = problem()
    attack = attacks.build(name, LpBall("l2", epsilon), generator=generator, **options)
    return attacks.run(attack, key, classifier, x, y, codes if z is ... else z, work=Work(chunk))


def test_closed_form(key):
    """Within 2 % of the exact distance, and never below it, with a start for every class."""
    truth, result = problem()[-1], run(key, restarts=K)
    assert result.success.all()
    assert np.all(result.distance >= truth * (1 - 1e-4) - 1e-5)
    assert np.all(result.distance <= 1.02 * truth + 1e-4)


def test_one_run_gives_every_epsilon(key):
    truth = problem()[-1]
    epsilon = float(np.median(truth)) * 1.05
    wide, narrow = run(key), run(key, epsilon)
    np.testing.assert_array_equal(wide.success & (wide.distance <= epsilon), narrow.success)
    assert 0.3 < narrow.success.mean() < 0.7
    assert attacks.build("manifold", generator=problem()[0]).minimum_norm


def test_image_is_on_the_manifold_in_ball_and_box(key):
    """A success here is one of the unconstrained adversary too, at that very point."""
    generator, classifier, _, x, y, _ = problem()
    result = run(key, 0.1)
    np.testing.assert_allclose(result.x_adv, jax.vmap(generator)(result.z_adv, y), atol=1e-5)
    assert np.all(np.linalg.norm((result.x_adv - x).reshape(N, -1), axis=1) <= 0.1 + 1e-5)
    assert result.x_adv.min() >= 0
    assert result.x_adv.max() <= 1
    predicted = jnp.argmax(jax.vmap(classifier)(jnp.asarray(result.x_adv)), 1)
    np.testing.assert_array_equal(result.success, predicted != y)
    free = attacks.run(attacks.build("pgd", LpBall("l2", 0.1), steps=20), key, classifier, x, y)
    assert np.all(free.success >= result.success)
    assert result.success.any()


@pytest.mark.parametrize("effort", ["restarts", "walks"])
def test_effort_only_helps(key, effort):
    """A longer run begins as the shorter one."""
    truth = problem()[-1]
    once = {"steps": 12, "restarts": 1, "walks": 1}
    few, many = run(key, **once), run(key, **once | {effort: 3})
    assert np.all(many.success >= few.success)
    both = few.success & many.success
    assert np.all(many.distance[both] <= few.distance[both] + 1e-5)
    assert np.mean(many.distance / truth) < np.mean(few.distance / truth)


def test_chunks_do_not_matter(key):
    whole, parts = run(key, restarts=2), run(key, restarts=2, chunk=7)
    np.testing.assert_array_equal(whole.success, parts.success)
    np.testing.assert_allclose(whole.distance, parts.distance, atol=1e-3)


def test_latent_radius_is_kept(key):
    """Against a convex solver:  min |A (z' - z)|  subject to |z'| <= R and f_k >= f_y, over k."""
    generator, classifier, z, _, y, free = problem()
    a, w = (np.asarray(v, np.float64) for v in (generator.variables["a"], classifier.variables["w"]))
    z = z.astype(np.float64)
    radius, inside = 2.2, np.flatnonzero(np.linalg.norm(z, axis=1) <= 2.2)
    metric = a.T @ a

    def nearest(i):
        reached = []
        for k in set(range(K)) - {int(y[i])}:
            slope = (w[k] - w[y[i]]) @ a
            found = optimize.minimize(
                lambda v: 1e3 * (v - z[i]) @ metric @ (v - z[i]), z[i], jac=lambda v: 2e3 * metric @ (v - z[i]),
                constraints=[{"type": "ineq", "fun": lambda v, s=slope: s @ v, "jac": lambda v, s=slope: s},
                             {"type": "ineq", "fun": lambda v: radius**2 - v @ v, "jac": lambda v: -2 * v}],
                method="SLSQP", options={"maxiter": 500, "ftol": 1e-12})
            reached += [np.linalg.norm(a @ (found.x - z[i]))] if found.success else []
        return min(reached, default=np.inf)

    truth = np.array([nearest(i) for i in inside])
    result = run(key, latent_radius=radius, restarts=K)
    assert np.linalg.norm(result.z_adv[inside], axis=1).max() <= radius + 1e-5
    assert np.sum(truth > 1.05 * free[inside]) >= 2  # the bound matters
    np.testing.assert_array_equal(result.success[inside], truth < 1)
    ratio = result.distance[inside] / truth
    assert ratio.min() >= 1 - 1e-3
    assert np.mean(ratio) < 1.03  # a walk along the edge of the latent ball is not exact


def test_inversion_in_place_of_the_code(key):
    truth, result = problem()[-1], run(key, z=None, initialisation="inversion", inversion_steps=8, restarts=K)
    assert result.success.all()
    assert np.all(result.distance >= truth * (1 - 1e-4) - 1e-4)  # the inverted code draws x itself
    assert np.all(result.distance <= 1.02 * truth + 1e-3)


def test_latent_ball_against_its_closed_form(key):
    """On the affine manifold the worst margin in |zeta|_inf <= eta is m - eta |A' (w_y - w_k)|_1, the box inactive."""
    generator, classifier, z, x, y, _ = problem()
    a, w = (np.asarray(v, np.float64) for v in (generator.variables["a"], classifier.variables["w"]))
    f = (x.reshape(N, -1) - 0.5) @ w.T
    gap = f[np.arange(N), y][:, None] - f
    slope = (w[y][:, None] - w[None]) @ a
    reach = {"linf": np.abs(slope).sum(2), "l2": np.linalg.norm(slope, axis=2)}
    other = np.arange(K) != y[:, None]
    for norm, eta in (("linf", 0.3), ("l2", 0.8)):
        worst = np.where(other, gap - eta * reach[norm], np.inf).min(1)
        result = run(key, 4.0, "on_manifold", eta=eta, latent_norm=norm, learning_rate=0.05, steps=60)
        sure = np.abs(worst) > 0.03
        np.testing.assert_array_equal(result.success[sure], worst[sure] < 0)
        assert 0.2 < result.success.mean() < 0.9
        assert np.all(result.success <= (worst < 1e-4))
        moved = np.linalg.norm(result.z_adv - z, axis=1, ord=np.inf if norm == "linf" else 2)
        assert moved.max() <= eta + 1e-5


def test_the_latent_ball_as_the_threat_itself(key):
    """Judged by codes alone it is what an image ball that holds every image leaves; distances are of codes."""
    generator, classifier, z, x, y, _ = problem()
    options = {"learning_rate": 0.05, "steps": 20}
    attack = attacks.build("on_manifold", LatentBall(generator, 0.3), **options)
    found = attacks.run(attack, key, classifier, x, y, z)
    wide = run(key, 9.0, "on_manifold", eta=0.3, **options)
    np.testing.assert_array_equal(found.success, wide.success)
    np.testing.assert_allclose(found.distance, np.abs(found.z_adv - z).max(1), atol=1e-6)
    assert 0.05 < found.distance.max() <= 0.3 + 1e-5
    nothing = attacks.run(attack.at(0.0), key, classifier, x, y, z)
    assert not nothing.success.any() and found.success.any()
    with pytest.raises(InputError, match="has its own"):
        attacks.build("on_manifold", LatentBall(generator, 0.3), eta=0.2)
    with pytest.raises(InputError, match="about the code"):
        attacks.build("on_manifold", LatentBall(generator, 0.3), initialisation="inversion")
    with pytest.raises(InputError, match="got the threat latent linf 0.3, wanted LpBall"):
        attacks.build("pgd", LatentBall(generator, 0.3))


def test_latent_ball_is_judged_in_the_image_threat(key):
    """What leaves the image ball counts for nothing, and keeping the nearest finds more within it."""
    options = {"name": "on_manifold", "eta": 1.0, "learning_rate": 0.05}
    first, nearest = run(key, 0.1, **options), run(key, 0.1, keep="nearest", **options)
    assert first.distance.max() <= 0.1 + 1e-5
    assert run(key, 9.0, **options).success.sum() > first.success.sum()
    assert np.all(nearest.success >= first.success)
    assert not np.any(nearest.success & (problem()[-1] > 0.1))


def test_bad_input(key):
    generator, classifier, z, x, y, _ = problem()
    for name in ("manifold", "on_manifold"):
        with pytest.raises(InputError, match="generator: got none"):
            attacks.build(name)
        with pytest.raises(InputError, match="did you mean 'inversion'"):
            attacks.build(name, generator=generator, initialisation="inverse")
        with pytest.raises(InputError, match="steps"):
            attacks.build(name, generator=generator, steps=0)
        attack = attacks.build(name, generator=generator)
        with pytest.raises(InputError, match='initialisation="inversion"'):
            attacks.run(attack, key, classifier, x, y)
        with pytest.raises(InputError, match="codes z"):
            attacks.run(attack, key, classifier, x, y, z[:, :2])
        with pytest.raises(InputError, match="the generator draws"):
            attacks.run(attack, key, Classifier({}, _linear, 2), x[:, :2], y % 2, z)
    with pytest.raises(InputError, match="damping"):
        attacks.build("manifold", generator=generator, damping=0.0)
    with pytest.raises(InputError, match="latent_radius"):
        attacks.build("manifold", generator=generator, latent_radius=-1.0)
    with pytest.raises(InputError, match="did you mean 'linf'"):
        attacks.build("on_manifold", generator=generator, latent_norm="inf")
    with pytest.raises(InputError, match="eta"):
        attacks.build("on_manifold", generator=generator, eta=-0.1)
