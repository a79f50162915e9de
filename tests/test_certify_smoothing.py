"""Smoothing on a linear classifier, whose smoothed classifier is itself: the exact radius is |w.x + b| / |w|."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irob import certify, classifiers
from irob.certify import smoothing
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.math import noise


def shifts_of(key, count):
    """The noise of a key, drawn in one go."""
    return np.asarray(jax.jit(jax.vmap(lambda j: noise.normal(noise.seed(key), j, (2, 2, 1))))(np.arange(count)))


W = np.array([[1.0, 2.0, -1.0, 0.5]]) / 2.5  # |w| = 1
RUNS = 2000


def logits(w, x):
    s = w @ (x.ravel() - 0.5)
    return jnp.concatenate([-s, s])


LINE = classifiers.from_function(logits, jnp.asarray(W, jnp.float32), 2)
THREE = classifiers.from_function(lambda w, x: w @ (x.ravel() - 0.5), jnp.asarray(
    [[1.0, 0.2, 0.0, 0.0], [-0.4, 0.9, 0.0, 0.3], [-0.5, -1.0, 0.0, 0.0]]), 3)


def at(distance, count=1):
    """Images at a signed distance from the boundary."""
    return np.repeat((0.5 + distance * W[0]).astype(np.float32).reshape(1, 2, 2, 1), count, axis=0)


def build(**options):
    return certify.build("smoothing", **{"key": jax.random.key(3), "sigma": 0.25, "samples": 1000, **options})


@pytest.mark.parametrize("distance", [0.1, 0.3])
def test_the_radius_exceeds_the_exact_one_no_more_often_than_its_level_allows(distance):
    certifier = build(confidence=0.95)
    predicted, radius = certifier.certify(LINE, at(distance, RUNS))
    assert set(predicted) <= {1, smoothing.ABSTAIN} and np.mean(predicted == 1) > 0.98
    level = 0.05
    assert np.mean(radius > distance) <= level + 2 * np.sqrt(level * (1 - level) / RUNS)
    assert np.mean(radius > distance) > 0.02  # the limit is nearly exact, not merely safe
    assert radius[predicted == 1].min() > distance - 0.25 * 0.35


def test_it_abstains_on_the_boundary():
    """There each class has probability 1/2.  One vote for both choosing and counting would claim one in 10 percent."""
    certifier = build(confidence=0.95, samples=400, selection=400)
    predicted, radius = certifier.certify(LINE, at(0.0, RUNS))
    claimed = predicted != smoothing.ABSTAIN
    assert np.mean(claimed) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / RUNS)
    assert (radius[~claimed] == 0).all()
    said = certifier.predict(LINE, at(0.0, RUNS))
    assert np.mean(said != smoothing.ABSTAIN) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / RUNS)


def test_selection_and_estimation_have_noise_of_their_own():
    certifier = build(samples=500, selection=500)
    first, second = certifier._votes(THREE, at(0.05, 20), (500, 500), Work())
    assert (first != second).any(axis=1).sum() > 15


def test_the_radius_saturates_at_381_sigma():
    certifier = build(samples=100_000, sigma=0.1)
    assert certifier.largest == pytest.approx(0.1 * stats.norm.ppf(0.001 ** (1 / 100_000)), rel=1e-9)
    _, radius = certifier.certify(LINE, at(0.6))
    assert radius[0] == pytest.approx(0.381, abs=5e-4)


def test_certify_is_clopper_and_pearsons_limit_on_the_second_vote():
    certifier = build(samples=300, confidence=0.99)
    x = np.concatenate([at(d) for d in (-0.4, -0.1, 0.05, 0.3)])
    selected, estimated = certifier._votes(LINE, x, (certifier.selection, 300), Work())
    predicted, radius = certifier.certify(LINE, x)
    for i, votes in enumerate(estimated):
        hits = votes[selected[i].argmax()]
        p = stats.beta.ppf(0.01, hits, 300 - hits + 1)
        assert radius[i] == pytest.approx(max(0.0, 0.25 * stats.norm.ppf(p)), abs=1e-9)
        assert predicted[i] == (selected[i].argmax() if p > 0.5 else smoothing.ABSTAIN)


def test_predict_is_the_binomial_test():
    certifier = build(samples=200, confidence=0.95)
    x = np.random.default_rng(0).uniform(size=(60, 2, 2, 1)).astype(np.float32)
    (votes,) = certifier._votes(THREE, x, (200,), Work())
    said = certifier.predict(THREE, x)
    for v, s in zip(votes, said):
        second, first = np.sort(v)[-2:]
        sure = stats.binomtest(int(first), int(first + second), 0.5).pvalue <= 0.05
        assert s == (v.argmax() if sure else smoothing.ABSTAIN)
    assert 5 < np.sum(said == smoothing.ABSTAIN) < 55


def test_votes_are_exact_and_do_not_depend_on_chunks():
    certifier, x = build(samples=333), np.random.default_rng(1).uniform(size=(5, 2, 2, 1)).astype(np.float32)
    whole = certifier._votes(THREE, x, (333, 50), Work(1000))
    assert (whole[0].sum(-1) == 333).all() and (whole[1].sum(-1) == 50).all()
    for chunk in (7, 64):
        for a, b in zip(whole, certifier._votes(THREE, x, (333, 50), Work(chunk))):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(whole, certifier._votes(THREE, x[:2], (333, 50), Work())):
        np.testing.assert_array_equal(a[:2], b)
    # by hand: the same noise, counted in numpy
    k = jax.random.fold_in(jax.random.fold_in(certifier.key, 0), 1)  # first vote, example 1
    shifts = shifts_of(k, 50)
    votes = np.argmax(jax.vmap(THREE)(x[1] + 0.25 * shifts), axis=1)
    np.testing.assert_array_equal(certifier._votes(THREE, x, (50,), Work(16))[0][1], np.bincount(votes, minlength=3))


def test_the_certificate_of_a_threat():
    certifier = build(samples=10_000)
    x, y = np.concatenate([at(0.3), at(0.3), at(-0.3), at(0.0)]), np.array([1, 0, 0, 1])
    found = certify.run(certifier, LINE, x, y, LpBall("l2", 0.2))
    assert found.certified.tolist() == [True, False, True, False]
    assert found.prediction.tolist() == [1, 1, 0, smoothing.ABSTAIN]
    np.testing.assert_array_equal(found.margin > 0, found.certified)
    # for a linear classifier the least margin in probability is 2 Phi((m - epsilon) / sigma) - 1
    assert 0 < 2 * stats.norm.cdf((0.3 - 0.2) / 0.25) - 1 - found.margin[0] < 0.05
    assert "0.999" in found.method
    far = certify.run(certifier, LINE, x, y, LpBall("l2", 0.31))
    assert not far.certified.any()


@pytest.mark.parametrize(("norm", "factor"), [("linf", 0.5), ("l1", 1.0)])
def test_another_norm_is_certified_through_the_l2_ball_on_demand_only(norm, factor):
    x, y = at(0.3), np.array([1])
    with pytest.raises(InputError, match=f"norm {norm}, wanted l2; convert=True"):
        certify.run(build(), LINE, x, y, LpBall(norm, 0.01))
    wanted = certify.run(build(), LINE, x, y, LpBall("l2", 0.1))
    found = certify.run(build(convert=True), LINE, x, y, LpBall(norm, 0.1 * factor))
    assert found.radius[0] == pytest.approx(factor * wanted.radius[0], rel=1e-6)
    assert found.margin[0] == pytest.approx(wanted.margin[0], rel=1e-5)


def test_the_surrogate_is_the_mean_of_softmax_over_fixed_noise(key):
    f = smoothing.smoothed(THREE, key, 0.3, 40, image_shape=(2, 2, 1))
    x = at(0.1)[0]
    shifts = shifts_of(key, 40)
    wanted = np.mean(jax.nn.softmax(jax.vmap(THREE)(x + 0.3 * shifts)), axis=0)
    np.testing.assert_allclose(np.exp(f(x)), wanted, rtol=1e-5)
    assert np.isfinite(jax.jit(jax.grad(lambda x: f(x)[0]))(x)).all()
    hard = dataclasses.replace(LINE, variables=1e4 * LINE.variables)  # softmax of a hard classifier is its vote
    sharp = smoothing.smoothed(hard, key, 0.25, 4000, image_shape=(2, 2, 1))
    np.testing.assert_allclose(np.exp(sharp(x))[1], stats.norm.cdf(0.1 / 0.25), atol=0.02)
    again = smoothing.smoothed(THREE, jax.random.key(9), 0.3, 40, image_shape=(2, 2, 1))
    assert jax.tree.structure(again) == jax.tree.structure(f)  # equal static parts: no new program


def test_bad_input_is_one_line():
    x, y = at(0.3), np.array([1])
    broken = classifiers.from_function(lambda w, x: w @ jnp.sqrt(x.ravel() - 0.6), THREE.variables, 3)
    named = dataclasses.replace(LINE, image_shape=(4, 4, 1))
    for make, says in [
        (lambda: build(sigma=0.0), "sigma"),
        (lambda: build(sigma=float("nan")), "sigma"),
        (lambda: build(samples=9), "too few for confidence 0.999; wanted at least 10"),
        (lambda: build(samples=0), "noisy copies: got 0"),
        (lambda: build(selection=0), "selection"),
        (lambda: build(confidence=1.0), "confidence"),
        (lambda: build(key=None).certify(LINE, x), "typed key"),
        (lambda: certify.run(build(), broken, x, y, LpBall("l2", 0.1)), "NaN or infinity on noisy copies of image 0"),
        (lambda: certify.run(build(), named, x, y, LpBall("l2", 0.1)), "the classifier wants"),
        (lambda: certify.run(build(), LINE, x + 1, y, LpBall("l2", 0.1)), "pixels"),
        (lambda: certify.run(build(), LINE, x, y + 1, LpBall("l2", 0.1)), "labels"),
        (lambda: smoothing.smoothed(LINE, jax.random.key(0), 0.3, 4), "image_shape"),
    ]:
        with pytest.raises(InputError, match=says):
            make()
    assert build(samples=10).largest > 0
