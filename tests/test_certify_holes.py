"""Certificates without holes: each test is a case that was once certified and false, or a search for another."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from benchmarks import false_certificates as search
from irob import certify, classifiers
from irob.certify.proof import regions, roundoff
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.layers import Conv, Dense, Flatten, ReLU, Tanh, run
from irob.core.threat import LpBall
from irob.math.confidence import clopper_pearson
from irob.math.rounding import allowance, roundings, total

WALKS = ("interval", "crown", "zonotope", "dual")


def build(name):
    return certify.build(name, **({} if name in ("interval", "dual", "milp") else {"steps": 0}))


def claim(name, net, x, y, norm, epsilon):
    return float(jit(build(name).margin)(net, jnp.asarray(x, jnp.float32), y, LpBall(norm, jnp.float32(epsilon))))


@pytest.mark.parametrize("name", WALKS)
def test_a_long_sum_of_equal_signs_is_not_certified_where_it_is_wrong(name):
    """65,536 products of one sign: roundings go one way, 30 times further than sqrt(n) 2^-24."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        kernel = np.zeros((65536, 2), np.float32)
        kernel[:, 0] = (1 if seed % 2 else -1) * rng.random()
        x = np.full(65536, rng.random(), np.float32)
        real = float(np.sum(x.astype(np.float64) * kernel[:, 0].astype(np.float64)))
        bias = np.array([-real - abs(real) * 1e-6, 0], np.float32)
        least = real + float(bias[0])
        assert least < 0  # wrong at x itself
        assert claim(name, (Dense(jnp.asarray(kernel), jnp.asarray(bias)),), x, 0, "linf", 1e-9) <= least


@pytest.mark.parametrize("name", WALKS)
def test_long_sums_stay_useful(name):
    """Of an image of 256x256 the allowance is that of the evaluation's own sum: 0.4 % of the sum of sizes."""
    n, rng = 65536, np.random.default_rng(1)
    kernel, x = rng.normal(size=(n, 2)).astype(np.float32), rng.random(n).astype(np.float32)
    given = (Dense(jnp.asarray(kernel), jnp.array([1e3, 0])),)
    d = kernel[:, 0].astype(np.float64) - kernel[:, 1]
    low, high = np.maximum(x - 0.01, 0.0), np.minimum(x + 0.01, 1.0)
    real = np.sum(np.where(d > 0, low, high) * d) + 1e3
    size = np.sum(x * np.abs(kernel).sum(1))
    assert 0 < real - claim(name, given, x, 0, "linf", 0.01) < 0.005 * size


@pytest.mark.parametrize("name", WALKS)
def test_padding_between_two_convolutions_is_zero_and_not_an_output(name):
    """The functionals of padded places were pulled through the convolution below: claimed 7.9, true 5.7."""
    each = jax.random.split(jax.random.key(0), 5)
    net = (Conv(jax.random.normal(each[0], (3, 3, 1, 3)), jnp.full(3, 2.0), 1, 1),
           Conv(jax.random.normal(each[1], (3, 3, 3, 3)), jax.random.normal(each[2], (3,)), 1, 1), ReLU(), Flatten(),
           Dense(jax.random.normal(each[3], (48, 3)), jnp.zeros(3)))
    x = jax.random.uniform(each[4], (4, 4, 1))
    logits = np.asarray(run(net, x))
    real = logits - np.where(np.arange(3) == logits.argmax(), -np.inf, logits).max()
    assert real.max() - 1e-2 < claim(name, net, x, int(logits.argmax()), "l2", 1e-6) <= real.max()


@pytest.mark.parametrize("name", WALKS)
def test_overflow_proves_nothing(name):
    """Bounds of a hidden unit that are inf - inf were taken for a dead unit."""
    net = (Dense(jnp.full((4, 3), 1e25), jnp.zeros(3)), Dense(jnp.full((3, 3), 1e25), jnp.zeros(3)), ReLU(),
           Dense(jnp.array([[-1.0, 0.0]] * 3), jnp.array([1.0, 0.0])))
    assert float(run(net, jnp.full(4, 0.1))[0]) < 0
    assert claim(name, net, jnp.zeros(4), 0, "linf", 0.2) == -np.inf


@pytest.mark.parametrize("name", WALKS)
def test_squares_that_vanish_do_not_make_units_stable(name):
    """Weights of 1e-25: |a|_2 was 0, and a unit that the ball switches on counted as dead."""
    net = (Dense(jnp.full((4, 1), 1e-25), jnp.array([-2.1e-25])), ReLU(),
           Dense(jnp.array([[-1e25, 0.0]]), jnp.array([0.1, 0.0])))
    assert float(run(net, jnp.full(4, 0.7))[0]) < 0
    assert claim(name, net, jnp.full(4, 0.5), 0, "l2", 0.4) <= -0.5


@pytest.mark.parametrize("name", WALKS)
def test_products_have_the_highest_precision(name):
    """Without anybody asking for it: accelerators take fewer digits otherwise."""
    net = (Conv(jnp.ones((3, 3, 1, 2)), jnp.zeros(2), 1, 1), ReLU(), Flatten(), Dense(jnp.ones((32, 2)), jnp.zeros(2)))
    text = jax.jit(build(name).margin).lower(net, jnp.ones((4, 4, 1)), 0, LpBall("l2", jnp.float32(1))).as_text()
    products = [line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|convolution)", line)]
    assert len(products) > 3
    assert all("HIGHEST" in line for line in products)


def test_the_ball_is_rounded_outwards():
    x = np.random.default_rng(0).random(1000).astype(np.float32)
    for epsilon in (0.1, 0.3, 1e-7, 1e-30):
        for low, high in ((0.0, 1.0), (0.1, 0.9)):
            v = np.clip(x, np.float32(low), np.float32(high))
            found = regions.ball(LpBall("l2", epsilon, (low, high)), jnp.asarray(v))
            wide = v.astype(np.float64)
            assert (np.asarray(found.down, np.float64) >= np.minimum(epsilon, wide - low)).all()
            assert (np.asarray(found.up, np.float64) >= np.minimum(epsilon, high - wide)).all()
            assert float(found.epsilon) >= epsilon


def test_tanh_errs_by_less_than_is_allowed():
    x = np.concatenate([np.geomspace(1e-30, 30, 200_000), np.linspace(0, 10, 200_000)]).astype(np.float32)
    found, real = np.asarray(jit(Tanh())(x), np.float64), np.tanh(x.astype(np.float64))
    assert (np.abs(found - real) <= roundoff.TANH * 2.0**-26 * real).all()


def test_long_sums_meet_no_more_roundings_than_are_counted():
    for shape in ((65536,), (224, 224, 3), (100,)):
        terms = np.random.default_rng(0).random(shape).astype(np.float32)
        real = np.sum(terms, dtype=np.float64)
        assert abs(float(total(jnp.asarray(terms), shape)) - real) <= allowance(roundings(shape)) * real
    assert allowance(roundings((224, 224, 3))) < 3e-5


def test_a_sum_too_long_for_float32_is_refused():
    net = jax.eval_shape(lambda: (Dense(jnp.zeros((5_000_000, 2)), jnp.zeros(2)),))
    for name in WALKS:
        with pytest.raises(InputError, match="Dense at place 0, which sums 5000000"):
            jax.eval_shape(build(name).margin, net, jax.ShapeDtypeStruct((5_000_000,), jnp.float32), 0,
                           LpBall("l2", jnp.float32(1)))


def test_milp_certifies_nothing_where_logits_are_no_numbers():
    f = classifiers.from_layers((Flatten(), Dense(jnp.full((4, 2), jnp.nan), jnp.zeros(2))), 2, (2, 2, 1))
    with pytest.raises(InputError, match="NaN"):
        certify.run(certify.build("milp"), f, np.zeros((1, 2, 2, 1), np.float32), np.array([0]), LpBall("linf", 0.1))


def test_milp_keeps_small_numbers():
    """Outputs of 1e-9 and 1e9 alike: tolerances are those of the units, not of 1."""
    for scale in (1e-9, 1.0, 1e9):
        kernel, bias = scale * np.array([[1.0, 0.0], [-1.0, 0.0]]), scale * np.array([-0.05, 0.0])
        net = (Flatten(), Dense(jnp.asarray(np.eye(2), jnp.float32), jnp.zeros(2)), ReLU(),
               Dense(jnp.asarray(kernel, jnp.float32), jnp.asarray(bias, jnp.float32)))
        f = classifiers.from_layers(net, 2, (2, 1, 1))
        x = np.array([0.8, 0.4], np.float32).reshape(1, 2, 1, 1)
        found = certify.run(certify.build("milp"), f, x, np.array([0]), LpBall("linf", 0.1))
        assert 0.149 < found.margin[0] / scale <= 0.15 + 1e-7 and found.certified[0]
        assert not certify.run(certify.build("milp"), f, x, np.array([0]), LpBall("linf", 0.2)).certified[0]


def test_radii_of_smoothing_are_rounded_down():
    """0.7 is 0.69999999 in float32, in which the noise is drawn."""
    certifier = certify.build("smoothing", key=jax.random.key(0), sigma=0.7, samples=1000)
    exact = float(np.float32(0.7)) * stats.norm.ppf(0.001 ** (1 / 1000))
    assert exact * (1 - 1e-9) < certifier.largest < exact


def test_limits_of_clopper_and_pearson_are_rounded_outwards():
    n = np.repeat([1, 10, 1000, 100_000], 50)
    hits = np.floor(np.random.default_rng(0).random(200) * (n + 1)).astype(int)
    for confidence in (0.9, 0.95, 0.999):
        low, high = (clopper_pearson(hits, n, confidence, side) for side in ("lower", "upper"))
        assert (low <= stats.beta.ppf(1 - confidence, np.maximum(hits, 1), n - hits + 1) * (1 - 2e-13))[hits > 0].all()
        upper = stats.beta.ppf(confidence, hits + 1, np.maximum(n - hits, 1)) * (1 + 2e-13)
        assert (high >= np.minimum(upper, 1))[hits < n].all()
        assert ((low >= 0) & (high <= 1)).all()


@pytest.mark.parametrize(("name", "family", "norm"), [("interval", "padded pair", "linf"), ("crown", "relu", "l2"),
                                                      ("dual", "one hidden", "linf"), ("zonotope", "sorted", "l1")])
def test_a_short_search_finds_no_false_certificate(name, family, norm):
    """The long form is `python -m benchmarks.false_certificates`."""
    found = search.trial(family, name, norm).run(np.random.default_rng(0))
    assert found["cases"] >= 60 and found["claims"] > 5
    assert found["real"] == found["float32"] == 0
