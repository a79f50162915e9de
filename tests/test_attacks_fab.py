"""FAB against the exact distance on linear models, and the laws of minimum-norm attacks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks
from irob.attacks.fab import FAB
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.core.types import Classifier
from irob.math.norms import DUAL, NORMS

SHAPE = (4, 5, 2)
HIGH = {"l1": 40.0, "l2": 10.0, "linf": 1.0}  # every image of the box


def linear(seed=0, classes=5):
    w = jax.random.normal(jax.random.key(seed), (classes, 40))
    return Classifier({"w": w, "b": -w @ jnp.full(40, 0.5)}, lambda v, x: v["w"] @ x.ravel() + v["b"], classes, SHAPE)


def curved(seed=0, classes=4):
    k1, k2 = jax.random.split(jax.random.key(seed))
    variables = {"w": jax.random.normal(k1, (16, 40)), "v": jax.random.normal(k2, (classes, 16))}
    return Classifier(variables, lambda v, x: v["v"] @ jnp.tanh(v["w"] @ (x.ravel() - 0.5)), classes, SHAPE)


def images(n, spread):
    return np.asarray(jnp.clip(0.5 + spread * jax.random.normal(jax.random.key(7), (n, *SHAPE)), 0, 1))


def predict(classifier, x):
    return np.asarray(jax.vmap(lambda v: jnp.argmax(classifier(v)))(jnp.asarray(x)), np.int32)


def exact(classifier, x, y, norm_name):
    """min_k margin_k / |w_y - w_k|_*, right where the box is far."""
    w, b = (np.asarray(classifier.variables[k], np.float64) for k in "wb")
    logits = x.reshape(len(x), -1) @ w.T + b
    order = {"l1": 1, "l2": 2, "linf": np.inf}[DUAL[norm_name]]
    slopes = np.linalg.norm(w[y][:, None] - w[None], ord=order, axis=2)
    margins = logits[np.arange(len(y)), y][:, None] - logits
    return np.where(np.arange(len(w)) == y[:, None], np.inf, margins / np.where(slopes == 0, 1, slopes)).min(1)


@pytest.mark.parametrize("norm_name", NORMS)
@pytest.mark.parametrize("name", ["fab", "fab_t"])
def test_linear_model_exact_distance(name, norm_name, key):
    """Five classes near the middle of the box: within 2 % of the exact distance and never below it."""
    classifier, x = linear(), images(50, 0.02)
    y = predict(classifier, x)
    shortest = exact(classifier, x, y, norm_name)
    inside = shortest < 0.3  # l1 moves one pixel, which has half the box to go
    attack = attacks.build(name, LpBall(norm_name, HIGH[norm_name]), steps=30)
    result = attacks.run(attack, key, classifier, x, y)
    assert inside.sum() > 20
    assert result.success.all()
    assert np.all(result.distance >= shortest - 1e-5)
    np.testing.assert_allclose(result.distance[inside], shortest[inside], rtol=0.02)


@pytest.mark.parametrize("norm_name", NORMS)
def test_one_run_serves_every_epsilon(norm_name, key):
    """From the clean image the path does not know epsilon: a run at a smaller one finds the same points, cut off."""
    classifier, x = curved(), images(40, 0.2)
    y = predict(classifier, x)
    wide = attacks.run(attacks.build("fab_t", LpBall(norm_name, HIGH[norm_name]), steps=20), key, classifier, x, y)
    epsilon = float(np.median(wide.distance))
    narrow = attacks.run(attacks.build("fab_t", LpBall(norm_name, epsilon), steps=20), key, classifier, x, y)
    assert wide.success.all()
    assert FAB.minimum_norm
    # The referee also projects what lies farther out, which may add a success but loses none.
    assert np.all(narrow.success >= (wide.distance <= epsilon))
    assert 0.4 < narrow.success.mean() < 0.8
    assert np.all(narrow.distance <= epsilon + 1e-5)
    nearer = wide.distance <= epsilon
    np.testing.assert_allclose(narrow.distance[nearer], wide.distance[nearer], rtol=1e-4)


def test_beats_a_bisection_along_pgd_in_a_box_that_binds(key):
    """Images on the faces of the box: nearer than where the line to PGD's image crosses the boundary, on average."""
    classifier, x = curved(3), np.round(images(40, 0.5))
    y = predict(classifier, x)
    threat = LpBall("l2", 4.0)
    fab = attacks.run(attacks.build("fab_t", threat, steps=50), key, classifier, x, y)
    pgd = attacks.run(attacks.build("pgd", threat, steps=50), key, classifier, x, y)
    assert np.all((fab.x_adv >= 0) & (fab.x_adv <= 1))
    assert np.all(fab.success >= pgd.success)
    low, high = np.zeros(len(x)), np.ones(len(x))
    for _ in range(20):
        middle = (low + high) / 2
        wrong = predict(classifier, x + middle.reshape(-1, 1, 1, 1) * (pgd.x_adv - x)) != y
        low, high = np.where(wrong, low, middle), np.where(wrong, middle, high)
    both = pgd.success
    assert np.mean(fab.distance[both]) < np.mean((high * pgd.distance)[both])


def test_more_targets_and_restarts_only_help(key):
    classifier, x = curved(1, 6), images(30, 0.2)
    y = predict(classifier, x)

    def distance(**options):
        attack = attacks.build("fab_t", LpBall("l2", 10.0), steps=15, **options)
        return attacks.run(attack, key, classifier, x, y).distance

    one, all_of_them, again = distance(targets=1), distance(), distance(restarts=3)
    assert np.all(all_of_them <= one + 1e-5)
    assert np.all(again <= all_of_them + 1e-5)
    assert np.any(all_of_them < one - 1e-4)
    assert np.any(again < all_of_them - 1e-5)


def test_two_classes_and_chunks(key):
    classifier, x = linear(classes=2), images(11, 0.02)
    y = predict(classifier, x)
    attack = attacks.build("fab_t", LpBall("l2", 1.0), steps=10, restarts=2)
    whole, parts = (attacks.run(attack, key, classifier, x, y, work=Work(c)) for c in (11, 4))
    np.testing.assert_allclose(whole.distance, parts.distance, rtol=1e-4)
    np.testing.assert_allclose(whole.distance, exact(classifier, x, y, "l2"), rtol=0.02)


def test_a_dead_or_broken_gradient_gives_no_success(key):
    """Nothing to follow, or NaN to follow: the clean image comes back, at distance 0 and not misclassified."""
    x, y = images(4, 0.1), np.zeros(4, np.int32)
    flat = Classifier({}, lambda v, x: jnp.array([1.0, 0.0]) + 0 * x.sum(), 2, SHAPE)
    nan = Classifier({}, lambda v, x: jnp.array([1.0, 0.0]) + jnp.sqrt(jnp.maximum(-x.sum(), 0.0)), 2, SHAPE)
    for classifier in (flat, nan):
        for name in ("fab", "fab_t"):
            result = attacks.run(attacks.build(name, LpBall("l2", 1.0), steps=5), key, classifier, x, y)
            assert not result.success.any()
            np.testing.assert_allclose(result.distance, 0.0, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"targets": 0}, {"restarts": 0}, {"alpha_max": 2.0}, {"eta": 0.5}, {"beta": 0.0}]
)
def test_bad_input(options):
    with pytest.raises(InputError, match=next(iter(options))):
        attacks.build("fab_t", LpBall("l2", 1.0), **options)
