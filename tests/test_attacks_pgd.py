"""PGD against closed forms on linear models, and the laws of restarts, radii, chunks and traces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks
from irob.attacks.search.ascent import AscentPlan, ascend, odds
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.core.types import Classifier
from irob.math.norms import DUAL, NORMS, norm

SHAPE = (3, 4, 1)
TRACES = []


def _linear(variables, x):
    TRACES.append(1)
    return variables["w"] @ x.ravel() + variables["b"]


def _curved(variables, x):
    return variables["v"] @ jnp.tanh(3 * variables["w"] @ (x.ravel() - 0.5))


def linear(seed=0, classes=2, scale=1.0):
    w = scale * jax.random.normal(jax.random.key(seed), (classes, 12))
    return Classifier({"w": w, "b": -w @ jnp.full(12, 0.5)}, _linear, classes, SHAPE)


def curved(seed=0):
    k1, k2 = jax.random.split(jax.random.key(seed))
    variables = {"w": jax.random.normal(k1, (16, 12)), "v": jax.random.normal(k2, (4, 16))}
    return Classifier(variables, _curved, 4, SHAPE)


def images(n, spread=0.05):
    """Near the middle of the box, so that small balls do not touch its faces."""
    return np.asarray(0.5 + spread * jax.random.normal(jax.random.key(7), (n, *SHAPE)))


def predict(classifier, x):
    return np.asarray(jax.vmap(lambda v: jnp.argmax(classifier(v)))(jnp.asarray(x)), np.int32)


@pytest.mark.parametrize("norm_name", NORMS)
def test_linear_model_closed_form(key, norm_name):
    """Two classes: x is robust at epsilon if and only if its margin exceeds epsilon |w_0 - w_1|_*."""
    classifier = linear()
    x = images(60)
    y = predict(classifier, x)
    w = classifier.variables["w"][0] - classifier.variables["w"][1]
    radius = np.abs(x.reshape(60, -1) @ w + classifier.variables["b"][0] - classifier.variables["b"][1])
    radius = np.asarray(radius / norm(w, DUAL[norm_name]))
    for epsilon in np.quantile(radius, [0.2, 0.6]):
        attack = attacks.build("pgd", LpBall(norm_name, epsilon), steps=20 if norm_name == "l2" else 60)
        result = attacks.run(attack, key, classifier, x, y)
        clear = np.abs(radius - epsilon) > 0.02 * epsilon
        np.testing.assert_array_equal(result.success[clear], (radius <= epsilon)[clear])
        assert np.all(result.distance <= epsilon + 1e-5)


@pytest.mark.parametrize("norm_name", NORMS)
def test_ascend_reaches_the_linear_optimum_and_stays_inside(key, norm_name):
    """One step of size epsilon on a linear loss gains epsilon |w|_*."""
    w = jax.random.normal(key, SHAPE)
    ball = LpBall(norm_name, 0.1)
    x = jnp.full(SHAPE, 0.5)
    x_adv = ascend(key, lambda v: (jnp.sum(w * v), 0.0), x, ball, AscentPlan(0.1, steps=1))
    np.testing.assert_allclose(jnp.sum(w * (x_adv - x)), 0.1 * norm(w, DUAL[norm_name]), rtol=1e-4)


def test_best_is_never_below_last_and_counts_the_start(key):
    """Steps too long: iterates leap over the top, and the best is at least as good as the last and beats the start."""
    ball = LpBall("l2", 1.0)
    x = jnp.full(SHAPE, 0.5)

    def bump(v):
        return -jnp.sum((v - 0.65) ** 2)

    last, best = (bump(ascend(key, lambda v: (bump(v),) * 2, x, ball, AscentPlan(0.4, steps=8, best=b)))
                  for b in (False, True))
    assert best > last
    assert best > bump(x)


def test_restarts_and_radius_only_help(key):
    classifier, x = curved(), images(40, 0.2).clip(0, 1)
    y = predict(classifier, x)
    few = attacks.run(attacks.build("pgd", LpBall("l2", 0.4), steps=5, restarts=1), key, classifier, x, y)
    many = attacks.run(attacks.build("pgd", LpBall("l2", 0.4), steps=5, restarts=4), key, classifier, x, y)
    assert np.all(many.success >= few.success)
    # The first of four restarts is the only one of one, so the nearest success is at least as near.
    assert np.all(many.distance[few.success] <= few.distance[few.success] + 1e-6)
    results = [
        attacks.run(attacks.build("pgd", LpBall("l2", e), steps=5, restarts=4), key, classifier, x, y)
        for e in (0.0, 0.2, 0.5, 1.5)
    ]
    assert all(np.all(r.distance <= e + 1e-5) for r, e in zip(results, (0.0, 0.2, 0.5, 1.5)))
    # A success at one radius is one at every larger radius: the best over radii is monotone by construction,
    # and a single run at a larger radius finds at least as much here.
    rates = [r.success.mean() for r in results]
    assert rates == sorted(rates)
    assert rates[0] == 0 and 0.2 < rates[1] < rates[-1]


def test_result_does_not_depend_on_chunk(key):
    classifier, x = curved(), images(13, 0.2).clip(0, 1)
    y = predict(classifier, x)
    attack = attacks.build("pgd", LpBall("l2", 0.5), steps=6, restarts=2, loss="margin")
    whole, parts = (attacks.run(attack, key, classifier, x, y, work=Work(c)) for c in (13, 5))
    np.testing.assert_allclose(whole.x_adv, parts.x_adv, atol=1e-5)
    np.testing.assert_array_equal(whole.success, parts.success)


def test_one_trace_for_chunks_radii_and_weights(key):
    """New weights of the same structure, a new radius and more chunks reuse the compiled program."""
    x, y = images(20), np.zeros(20, np.int32)
    attacks.run(attacks.build("pgd", LpBall("l2", 0.1), steps=3), key, linear(0), x, y, work=Work(5))
    TRACES.clear()
    attacks.run(attacks.build("pgd", LpBall("l2", 0.2), steps=3), key, linear(1), x[:15], y[:15], work=Work(5))
    attacks.run(attacks.build("pgd", LpBall("l2", 1), steps=3, step_size=1), key, linear(2), x, y, work=Work(5))
    assert TRACES == []


def test_another_radius_is_another_leaf(key):
    """`at` gives what building gives, bit for bit, and compiles nothing; a step that was given is kept."""
    x, y = images(10), np.zeros(10, np.int32)
    first = attacks.build("pgd", LpBall("l2", 0.7), steps=3)
    attacks.run(first, key, linear(0), x, y, work=Work(10))
    TRACES.clear()
    for radius in (0.1, 0.3):
        moved = attacks.run(first.at(radius), key, linear(0), x, y, work=Work(10))
        again = attacks.run(attacks.build("pgd", LpBall("l2", radius), steps=3), key, linear(0), x, y, work=Work(10))
        np.testing.assert_array_equal(moved.x_adv, again.x_adv)
    assert TRACES == []
    assert attacks.build("pgd", LpBall("l2", 0.7), step_size=0.2).at(0.1).step_size == 0.2


def test_saturated_softmax_does_not_hide_the_gradient(key):
    """Logits of 1e4: in float32 the cross entropy is flat there, so the published direction is 0; `odds` is not."""
    classifier = linear(scale=1e4)
    x = images(20, 0.1).clip(0, 1)
    y = predict(classifier, x)
    x0 = jnp.asarray(x[0])
    flat = jax.grad(lambda v: -jax.nn.log_softmax(classifier(v))[y[0]])(x0)
    steep = jax.grad(lambda v: odds(classifier(v), y[0]))(x0)
    assert not jnp.any(flat) and jnp.any(steep)
    hidden = attacks.run(attacks.build("pgd", LpBall("l2", 2.0), protocol="paper"), key, classifier, x, y)
    found = attacks.run(attacks.build("pgd", LpBall("l2", 2.0), start="zero"), key, classifier, x, y)
    assert hidden.success.mean() < 0.5
    assert found.success.all()


def test_zero_gradient_gives_a_finite_result(key):
    """A constant classifier: nothing to climb, nothing breaks, and wrong labels count."""
    classifier = Classifier({"c": jnp.array([1.0, 0.0])}, lambda v, x: v["c"] + 0 * x.sum(), 2, SHAPE)
    y = np.array([0, 1, 0, 1], np.int32)
    result = attacks.run(attacks.build("pgd", LpBall("l2", 1.0), steps=3), key, classifier, images(4), y)
    np.testing.assert_array_equal(result.success, y == 1)
    np.testing.assert_array_equal(result.distance[y == 1], 0)
    assert np.isfinite(result.x_adv).all()


def test_epsilon_zero_is_the_natural_risk(key):
    classifier, x = curved(), images(40, 0.2).clip(0, 1)
    y = np.zeros(40, np.int32)
    result = attacks.run(attacks.build("pgd", LpBall("l2", 0.0), steps=5), key, classifier, x, y)
    np.testing.assert_array_equal(result.success, predict(classifier, x) != 0)
    np.testing.assert_array_equal(result.x_adv, x.astype(np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 3}, "did you mean 'steps'"),
        ({"steps": 0}, "steps: got 0"),
        ({"step_size": -1.0}, "step_size"),
        ({"loss": "hinge"}, "unknown loss"),
        ({"start": "nought"}, "unknown start"),
        ({"protocol": "papers"}, "did you mean 'paper'"),
        ({"protocol": "paper", "restarts": 2}, "restarts"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        attacks.build("pgd", LpBall("l2", 1.0), **options)


def test_bad_input(key):
    attack = attacks.build("pgd", LpBall("l2", 1.0), steps=1)
    x, y = images(3), np.zeros(3, np.int32)
    with pytest.raises(InputError, match="did you mean 'pgd'"):
        attacks.build("pdg")
    with pytest.raises(InputError, match="typed key"):
        attacks.run(attack, 0, linear(), x, y)
    with pytest.raises(InputError, match="wanted \\[0, 1\\]"):
        attacks.run(attack, key, linear(), x * 255, y)
    with pytest.raises(InputError, match="labels"):
        attacks.run(attack, key, linear(), x, y + 2)
    with pytest.raises(InputError, match="the classifier wants"):
        attacks.run(attack, key, linear(), x[:, :2], y)
    with pytest.raises(InputError, match="check num_classes"):
        attacks.run(attack, key, Classifier(linear().variables, _linear, 5, SHAPE), x, y)
    broken = linear()
    with pytest.raises(InputError, match="NaN"):
        attacks.run(attack, key, Classifier(jax.tree.map(lambda a: a * jnp.nan, broken.variables), _linear, 2), x, y)


def test_one_program_serves_every_number_of_steps():
    ball, c, x = LpBall("l2", 0.3), linear(seed=11), images(3)
    y = predict(c, x)
    TRACES.clear()
    several = [attacks.run(attacks.build("pgd", ball, steps=n), jax.random.key(0), c, x, y) for n in (3, 7)]
    traced = len(TRACES)
    attacks.run(attacks.build("pgd", ball, steps=12), jax.random.key(0), c, x, y)
    assert len(TRACES) == traced and not np.array_equal(several[0].x_adv, several[1].x_adv)
