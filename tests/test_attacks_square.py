"""Square attack: never below the exact distance, forward passes alone, the windows and budgets of the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks
from irob.attacks.square import _moved, _pattern, _sizes, _square, _stripes, _tiles
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.core.types import Classifier
from irob.math.norms import DUAL, NORMS

SHAPE = (8, 10, 2)
PIXELS = 160


def linear(seed=0, classes=5):
    w = jax.random.normal(jax.random.key(seed), (classes, PIXELS))
    b = -w @ jnp.full(PIXELS, 0.5)
    return Classifier({"w": w, "b": b}, lambda v, x: v["w"] @ x.ravel() + v["b"], classes, SHAPE)


def images(n, spread):
    return np.asarray(jnp.clip(0.5 + spread * jax.random.normal(jax.random.key(7), (n, *SHAPE)), 0, 1))


def predict(classifier, x):
    return np.asarray(jax.vmap(lambda v: jnp.argmax(classifier(v)))(jnp.asarray(x)), np.int32)


def exact(classifier, x, y, norm_name):
    w, b = (np.asarray(classifier.variables[k], np.float64) for k in "wb")
    logits = x.reshape(len(x), -1) @ w.T + b
    order = {"l1": 1, "l2": 2, "linf": np.inf}[DUAL[norm_name]]
    slopes = np.linalg.norm(w[y][:, None] - w[None], ord=order, axis=2)
    margins = logits[np.arange(len(y)), y][:, None] - logits
    return np.where(np.arange(len(w)) == y[:, None], np.inf, margins / np.where(slopes == 0, 1, slopes)).min(1)


@pytest.mark.parametrize("norm_name", NORMS)
def test_never_below_the_exact_distance_and_finds_what_is_easy(norm_name, key):
    classifier, x = linear(), images(60, 0.02)
    y = predict(classifier, x)
    shortest = exact(classifier, x, y, norm_name)
    epsilon = float(np.quantile(shortest, 0.8))
    result = attacks.run(attacks.build("square", LpBall(norm_name, epsilon), steps=300), key, classifier, x, y)
    assert not np.any(result.success & (shortest > epsilon + 1e-5))
    assert np.all(result.distance[result.success] >= shortest[result.success] - 1e-5)
    assert result.success.mean() > (0.1 if norm_name == "l1" else 0.3)


@pytest.mark.parametrize("norm_name", ["l2", "linf"])
def test_only_forward_passes(norm_name, key):
    """Quantised logits have no gradient at all: PGD stands still, the random search does not."""
    w = jax.random.normal(key, (3, PIXELS))

    def steps(v, x):
        return jnp.round(20 * (v @ (x.ravel() - 0.5))) / 20

    classifier, x = Classifier(w, steps, 3, SHAPE), images(30, 0.02)
    y = predict(classifier, x)
    threat = LpBall(norm_name, 0.3 if norm_name == "l2" else 0.02)
    square = attacks.run(attacks.build("square", threat, steps=200), key, classifier, x, y)
    pgd = attacks.run(attacks.build("pgd", threat, steps=20), key, classifier, x, y)
    assert square.success.sum() > pgd.success.sum()


@pytest.mark.parametrize("norm_name", NORMS)
def test_every_query_is_in_the_ball_and_the_box(norm_name, key):
    """Proposals of all window sizes, from all over the box."""
    threat = LpBall(norm_name, 0.7)
    x = jax.random.uniform(key, SHAPE)
    begin, propose = (_stripes, _square) if norm_name == "linf" else (_tiles, _moved)
    x_adv = begin(key, threat, x)
    assert threat.contains(x, x_adv)
    moved = 0
    for i, size in enumerate(_sizes(0.8, SHAPE, norm_name)):
        patterns = np.zeros((2, *SHAPE[:2]), np.float32)
        p = _pattern(size, norm_name)
        patterns[:, :size, :size] = p, p.T
        candidate = propose(jax.random.fold_in(key, i), threat, x, x_adv, jnp.asarray(size), jnp.asarray(patterns))
        assert threat.contains(x, candidate)
        moved += np.any(candidate != x_adv)
        x_adv = candidate
    assert moved >= 8  # of 10; a square may repeat the signs that are there


def test_l2_keeps_its_length_and_leaves_the_rest_in_proportion(key):
    """In a wide box the step has length epsilon, and outside both windows it is the old one up to a factor."""
    threat, x = LpBall("l2", 0.7, (-9.0, 9.0)), jnp.zeros((12, 12, 1))
    x_adv = _tiles(key, threat, x)
    np.testing.assert_allclose(jnp.linalg.norm(x_adv), 0.7, rtol=1e-5)
    p = _pattern(3, "l2")
    np.testing.assert_allclose(np.linalg.norm(p), 1.0, rtol=1e-6)
    patterns = np.zeros((2, 12, 12), np.float32)
    patterns[:, :3, :3] = p, p.T
    after = _moved(key, threat, x, x_adv, jnp.asarray(3), jnp.asarray(patterns))
    np.testing.assert_allclose(jnp.linalg.norm(after), 0.7, rtol=1e-5)
    ratio = np.asarray(after / jnp.where(x_adv == 0, 1.0, x_adv))[np.asarray(x_adv != 0)]
    usual = np.median(ratio)
    assert np.sum(np.abs(ratio - usual) > 1e-4) <= 2 * 9
    assert np.sum(np.abs(after) < 1e-9) > np.sum(np.abs(x_adv) < 1e-9)  # the second window was emptied


def test_schedule_on_28_pixels():
    """sqrt(p h w) for p = 0.8, 0.4, ...: of 784 pixels sides 25, 18, 13, ... down to 1; odd and at least 3 for l2."""
    assert _sizes(0.8, (28, 28, 1), "linf") == [25, 18, 13, 9, 6, 4, 3, 2, 2, 1]
    assert _sizes(0.8, (28, 28, 1), "l2") == [25, 19, 13, 9, 7, 5, 3, 3, 3, 3]


def test_linf_starts_with_stripes(key):
    x = jnp.full(SHAPE, 0.5)
    moved = np.asarray(_stripes(key, LpBall("linf", 0.1), x) - x)
    np.testing.assert_allclose(np.abs(moved), 0.1, atol=1e-6)
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:1], SHAPE))
    assert len(np.unique(moved.round(3))) == 2


def test_an_example_rests_after_success_and_does_not_depend_on_its_chunk(key):
    """Alone, or beside one that is never broken: the same image, so that what is done stays done."""
    classifier, x = linear(), images(12, 0.02)
    y = predict(classifier, x)
    attack = attacks.build("square", LpBall("linf", 0.02), steps=100)
    whole, parts = (attacks.run(attack, key, classifier, x, y, work=Work(c)) for c in (12, 5))
    np.testing.assert_array_equal(whole.success, parts.success)
    np.testing.assert_allclose(whole.x_adv, parts.x_adv, atol=1e-6)
    longer = attacks.run(attacks.build("square", LpBall("linf", 0.02), steps=200), key, classifier, x, y)
    assert np.all(longer.success >= whole.success)
    assert whole.success.any()
    np.testing.assert_allclose(longer.x_adv[whole.success], whole.x_adv[whole.success], atol=1e-6)


@pytest.mark.parametrize("options", [{"steps": 0}, {"restarts": 0}, {"p_init": 0.0}, {"p_init": 1.5}])
def test_bad_input(options):
    with pytest.raises(InputError, match=next(iter(options))):
        attacks.build("square", LpBall("l2", 1.0), **options)
