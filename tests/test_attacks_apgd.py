"""Auto-PGD: the published procedure written again in NumPy, linear models in closed form, PGD with ten restarts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks, classifiers, data
from irob.attacks.search import apgd
from irob.attacks.search.ascent import odds
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.threat import LpBall
from irob.core.types import Classifier
from irob.math.norms import DUAL, norm
from tests.twins import apgd as twin

NORMS = ["l1", "l2", "linf"]
SHAPE = (4, 4, 1)


def _linear(w, x):
    return x.ravel() @ w["w"] + w["b"]


def linear(classes=5, seed=1, shape=SHAPE):
    a, b = jax.random.split(jax.random.key(seed))
    w = jax.random.normal(a, (int(np.prod(shape)), classes))
    return Classifier({"w": w, "b": 0.1 * jax.random.normal(b, (classes,))}, _linear, classes, shape)


def _net(w, x):
    return jnp.tanh(x.ravel() @ w[0]) @ w[1]


def net(classes=5, seed=3):
    a, b = jax.random.split(jax.random.key(seed))
    return Classifier((2 * jax.random.normal(a, (16, 24)), jax.random.normal(b, (24, classes))), _net, classes, SHAPE)


def images(n, spread=0.1):
    return np.array(0.5 + spread * jax.random.uniform(jax.random.key(7), (n, *SHAPE), minval=-1.0))


def predict(classifier, x):
    return np.array(jax.vmap(lambda v: jnp.argmax(classifier(v)))(jnp.asarray(x)), np.int32)


def radii(classifier, x, y, order):
    """The distance to the nearest boundary of a linear model, min_k (f_y - f_k) / |w_y - w_k|_*."""
    f = np.asarray(jax.vmap(classifier)(x))
    w = np.asarray(classifier.variables["w"])
    out = np.full((len(x), f.shape[1]), np.inf)
    for i, label in enumerate(y):
        for k in range(f.shape[1]):
            if k != label:
                out[i, k] = (f[i, label] - f[i, k]) / float(norm(w[:, label] - w[:, k], DUAL[order]))
    return out.min(axis=1)


@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted"])
@pytest.mark.parametrize("order", NORMS)
def test_the_ascent_is_the_published_one(order, loss, key):
    """Same start, same losses: the same iterate of largest margin, to rounding, along the whole schedule."""
    with jax.enable_x64(True):
        f, y = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), net()), 2
        x = jnp.asarray(images(1, 0.5)[0], jnp.float64)
        threat = LpBall(order, {"l1": 1.5, "l2": 0.5, "linf": 0.15}[order])

        def pair(x):
            logits = f(x)
            goal = {"ce": odds, "dlr": apgd.dlr, "targeted": lambda z, y: apgd.targeted(z, y, 4)}[loss](logits, y)
            return goal, apgd.margin(logits, y)

        def evaluate(x):
            return apgd.averaged(pair, x, 1)

        x_start = apgd.start(key, x, apgd.first_ball(threat, 100))
        quirk = -jnp.inf if loss == "ce" else 0.0
        kept = jit(lambda x: apgd.ascend(evaluate, x, x_start, threat, 100, loss_before=quirk))(x)
        run = jit(evaluate)

        def flat(v):
            a, b, g = run(jnp.asarray(v).reshape(SHAPE))
            return float(a), float(b), np.asarray(g).ravel()

        flat_x = np.asarray(x).ravel()
        wanted, _ = twin.apgd(flat, flat_x, np.asarray(x_start).ravel(), threat.epsilon, order, 100, float(quirk))
    np.testing.assert_allclose(np.asarray(kept).ravel(), wanted, atol=1e-6)


@pytest.mark.parametrize("order", NORMS)
def test_linear_model_closed_form(order, key):
    """K = 5, box inactive: robust at epsilon if and only if no boundary is nearer, but for 1 % about it."""
    f, x = linear(), images(100)
    y = predict(f, x)
    exact = radii(f, x, y, order)
    epsilon = float(np.quantile(exact, 0.5))
    clear = np.abs(exact - epsilon) > 0.01 * epsilon
    broken = np.zeros(100, bool)
    for name in ("apgd_ce", "apgd_t"):
        # The standard ensemble gives l1 five restarts.
        restarts = 5 if order == "l1" else 1
        result = attacks.run(attacks.build(name, LpBall(order, epsilon), restarts=restarts), key, f, x, y)
        assert not np.any(result.success & (exact > epsilon * 1.0001))
        assert np.all(result.distance <= epsilon + 1e-5)
        assert np.mean(((exact <= epsilon) & ~result.success)[clear]) < 0.05
        broken |= result.success
    np.testing.assert_array_equal(broken[clear], (exact <= epsilon)[clear])


@pytest.mark.parametrize("model", ["mnist_gen_adv", "mnist_gen_trades"])
def test_never_worse_than_pgd_with_ten_restarts(model, key):
    f = classifiers.load(model)
    test = data.load("mnist_gen", "test", seed=3, count=16).take(16)
    threat = LpBall("l2", 2.0)
    ce = attacks.run(attacks.build("apgd_ce", threat), key, f, test.x, test.y, work=Work(16))
    t = attacks.run(attacks.build("apgd_t", threat, targets=3), key, f, test.x, test.y, work=Work(16))
    pgd = attacks.run(attacks.build("pgd", threat, restarts=10), key, f, test.x, test.y, work=Work(16))
    assert 0 < pgd.success.mean() < 1
    assert (ce.success | t.success).sum() >= pgd.success.sum()


def test_gradients_are_averaged_over_evaluations(key):
    """A classifier that adds noise of its own: the average of 64 gradients is nearer to the clean one than one is."""
    rng = np.random.default_rng(0)

    def noisy(x):
        return jax.pure_callback(lambda v: rng.normal(size=v.shape).astype(np.float32), jax.ShapeDtypeStruct(
            x.shape, x.dtype), jax.lax.stop_gradient(x), vmap_method="sequential")

    def pair(x):
        loss = jnp.sum(x * (1 + noisy(x)))
        return loss, loss

    def spread(times):
        return float(jnp.linalg.norm(jit(lambda x: apgd.averaged(pair, x, times)[2])(jnp.ones(50)) - 1))

    once, often = spread(1), spread(64)
    assert 4 < once < 10
    assert often < once / 4


def test_restarts_and_targets_only_add(key):
    """Ascent j has the key fold_in(key, j): the first of many are the few, and parts together are the whole."""
    f, x = net(), images(20, 0.4)
    y = predict(f, x)
    attack = attacks.build("apgd_t", LpBall("l2", 0.25), steps=20, restarts=2, targets=2)
    whole = attacks.run(attack, key, f, x, y)
    parts = [attacks.run(part, key, f, x, y) for part in attack.parts(5)]
    assert len(parts) == 4
    np.testing.assert_array_equal(whole.success, np.any([p.success for p in parts], axis=0))
    assert 0 < parts[0].success.sum() < whole.success.sum() < 20


def test_parts_restarts_and_chunks_share_a_program(key):
    f, x = net(), images(12, 0.4)
    y = predict(f, x)
    seen = []

    def counted(w, x):
        seen.append(None)
        return _net(w, x)

    f = dataclasses.replace(f, module=counted)
    attack = attacks.build("apgd_t", LpBall("l2", 0.25), steps=5, targets=3)
    parts = attack.parts(5)
    attacks.run(parts[0], key, f, x, y, work=Work(4))
    seen.clear()
    attacks.run(parts[2], key, f, x, y, work=Work(4))
    attacks.run(dataclasses.replace(parts[1], threat=LpBall("l2", 1)), key, f, x[:8], y[:8], work=Work(4))
    assert seen == []


@pytest.mark.parametrize("order", NORMS)
def test_result_does_not_depend_on_chunk(order, key):
    f, x = net(), images(13, 0.4)
    y = predict(f, x)
    attack = attacks.build("apgd_ce", LpBall(order, 0.2), steps=8, restarts=2)
    whole, parts = (attacks.run(attack, key, f, x, y, work=Work(c)) for c in (13, 5))
    np.testing.assert_array_equal(whole.success, parts.success)
    if order == "l2":  # the other steps leap with a sign or a rank, so that rounding shows in single pixels
        np.testing.assert_allclose(whole.x_adv, parts.x_adv, atol=1e-5)


def test_few_classes(key):
    x = images(6)
    y = np.zeros(6, np.int32)
    attacks.run(attacks.build("apgd_ce", steps=3), key, linear(2), x, y)
    attacks.run(attacks.build("apgd_dlr", steps=3), key, linear(3), x, y)
    for name, classes in (("apgd_dlr", 2), ("apgd_t", 3)):
        with pytest.raises(InputError, match=f"classes: got {classes}"):
            attacks.run(attacks.build(name, steps=3), key, linear(classes), x, y)


@pytest.mark.parametrize("order", NORMS)
def test_flat_and_broken_gradients_break_nothing(order, key):
    """A constant classifier gives nothing to climb; one whose gradient is NaN keeps its images finite."""
    y = np.array([0, 1], np.int32)
    flat = Classifier(jnp.array([1.0, 0.0, 0.0]), lambda v, x: v + 0 * x.sum(), 3, SHAPE)
    nan = Classifier(jnp.array([1.0, 0.0, 0.0]), lambda v, x: v + jnp.sqrt(0 * x.sum()), 3, SHAPE)
    for f in (flat, nan):
        for name in ("apgd_ce", "apgd_dlr"):
            result = attacks.run(attacks.build(name, LpBall(order, 0.1), steps=5), key, f, images(2), y)
            np.testing.assert_array_equal(result.success, y == 1)
            assert np.isfinite(result.x_adv).all()


@pytest.mark.parametrize(("name", "options", "message"), [
    ("apgd_ce", {"steps": 0}, "steps: got 0"),
    ("apgd_ce", {"targets": 2}, "unknown option"),
    ("apgd_t", {"targets": 0}, "targets: got 0"),
    ("apgd_dlr", {"eot": 1.5}, "eot: got 1.5"),
])  # fmt: skip
def test_bad_options(name, options, message):
    with pytest.raises(InputError, match=message):
        attacks.build(name, **options)
