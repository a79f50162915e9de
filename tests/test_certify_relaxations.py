"""Interval, zonotope, CROWN and MILP against closed forms, sampling, the triangle programme and each other."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from irob import certify, classifiers
from irob.certify import crown, zonotope
from irob.certify.proof import backward, envelope, regions, roundoff
from irob.certify.proof.functionals import Rows
from irob.core import compile, layers
from irob.core.layers import (
    AvgPool,
    Clip,
    Conv,
    Dense,
    Flatten,
    GroupSort,
    LeakyReLU,
    MaxPool,
    ReLU,
    Reshape,
    Scale,
    Tanh,
)
from irob.core.threat import LpBall

NORMS = ("l1", "l2", "linf")
WALKS = {"interval": {}, "zonotope": {"steps": 1}, "crown": {"steps": 1}}


def weights(key, *shape):
    return jax.random.normal(jax.random.key(key), shape) / np.sqrt(np.prod(shape[:-1]))


def dense(key, *sizes):
    """A random dense ReLU network."""
    found = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        found += [Dense(weights(key + i, a, b), 0.1 * weights(key + 50 + i, 1, b)[0]), ReLU()]
    return tuple(found[:-1])


NETS = {
    "dense": ((6,), dense(0, 6, 12, 8, 4)),
    "leaky": ((6,), (*dense(3, 6, 8), LeakyReLU(0.2), *dense(4, 8, 3))),
    "tanh": ((6,), (*dense(5, 6, 8), Tanh(), *dense(6, 8, 3))),
    "clip": ((6,), (*dense(7, 6, 8), Clip(-0.2, 0.3), *dense(8, 8, 3))),
    "sorted": ((6,), (*dense(9, 6, 8), GroupSort(), *dense(10, 8, 4), GroupSort(), *dense(11, 4, 3))),
    "pools": ((6, 6, 1), (Conv(weights(12, 3, 3, 1, 4), 0.1 * jnp.ones(4), 1, 1), ReLU(),
                          Scale(jnp.ones(4), jnp.ones(4)), AvgPool(), Flatten(), Reshape((9, 4)), Flatten(),
                          *dense(13, 36, 3))),
    "max": ((6, 6, 1), (Conv(weights(14, 3, 3, 1, 4), -0.1 * jnp.ones(4), 1, "SAME"), ReLU(),
                        Conv(weights(15, 3, 3, 4, 4), jnp.zeros(4), 1), MaxPool(), Conv(weights(16, 2, 2, 4, 4),
                        jnp.zeros(4), 1, 1), ReLU(), Flatten(), *dense(17, 36, 3))),
    "sorted images": ((4, 4, 1), (Conv(weights(18, 3, 3, 1, 4), jnp.zeros(4), 1, 1), GroupSort(),
                                  Conv(weights(19, 3, 3, 4, 2), jnp.zeros(2), 2, 1), GroupSort(), Flatten(),
                                  *dense(20, 8, 3))),
}


def worst(given, x, x_adv, y):
    logits = jax.vmap(lambda v: layers.run(given, v))(x_adv)
    others = jnp.where(jnp.arange(logits.shape[1]) == y, -jnp.inf, logits)
    return float(jnp.min(logits[:, y] - jnp.max(others, 1)))


@compile.jit
def points(key, x, threat):
    """Draws from the ball, half of them at its edge."""
    inner = jax.vmap(lambda k: threat.sample(k, x))(jax.random.split(key, 50_000))
    far = jax.vmap(lambda v: threat.project(x, x + 10 * (v - x)))(inner)
    return jnp.concatenate([inner, far])


@pytest.mark.parametrize(("net", "norm"), [*((n, NORMS[i % 3]) for i, n in enumerate(NETS)),
                                           ("dense", "l2"), ("dense", "linf")])
def test_bounds_contain_every_point_of_the_ball(net, norm):
    shape, given = NETS[net]
    x = jax.random.uniform(jax.random.key(1), shape)
    threat = LpBall(norm, jnp.float32({"l1": 0.6, "l2": 0.3, "linf": 0.1}[norm]))
    y = int(jnp.argmax(layers.run(given, x)))
    drawn = points(jax.random.key(2), x, threat)
    assert jax.vmap(functools.partial(threat.contains, x))(drawn).all()
    true = worst(given, x, drawn, y)
    clean = worst(given, x, x[None], y)

    @compile.jit
    def prove(given, x, y, threat):
        return jnp.stack([certify.build(name, **o).margin(given, x, y, threat) for name, o in WALKS.items()])

    assert (np.asarray(prove(given, x, y, threat)) <= true + 1e-5).all()
    nothing = prove(given, x, y, LpBall(norm, jnp.float32(0)))
    np.testing.assert_allclose(nothing, clean, atol=1e-3, rtol=1e-3)  # one point: every method is exact


@pytest.mark.parametrize(("net", "parallel"), [("dense", True), ("sorted", False), ("max", True), ("max", False)])
def test_hidden_units_stay_within_their_bounds(net, parallel):
    shape, given = NETS[net]
    x = jax.random.uniform(jax.random.key(3), shape)
    threat = LpBall("l2", jnp.float32(0.4))
    start = envelope.smallest if parallel else envelope.adaptive
    bounds, *_ = compile.jit(
        lambda given, x: backward.inner(given, regions.ball(threat, x), start=start, parallel=parallel))(given, x)
    drawn, left = points(jax.random.key(4), x, threat), list(bounds)
    for layer in given:
        if isinstance(layer, envelope.CURVED):
            low, high = left.pop(0)
            assert bool(jnp.all((drawn >= low - 1e-5) & (drawn <= high + 1e-5)))
        drawn = jax.vmap(layer)(drawn)


@pytest.mark.parametrize("layer", [ReLU(), LeakyReLU(0.1), Clip(-0.3, 0.4), Tanh()])
@pytest.mark.parametrize("parallel", [False, True])
def test_lines_enclose_the_layer(layer, parallel):
    key = jax.random.split(jax.random.key(5), 4)
    ends = jnp.sort(jax.random.normal(key[0], (500, 2)), 1)
    low, high = ends[:, 0], ends[:, 1]
    found = envelope.lines(layer, low, high, jax.random.uniform(key[1], (500,)), parallel)
    x = low + (high - low) * jnp.linspace(0, 1, 101)[:, None]
    assert bool(jnp.all(found.low_slope * x + found.low_offset <= layer(x) + 1e-6))
    assert bool(jnp.all(found.high_slope * x + found.high_offset >= layer(x) - 1e-6))


def test_lines_of_max_pool_enclose_it_and_are_exact_where_one_entry_wins():
    key = jax.random.split(jax.random.key(6), 4)
    a, b = jax.random.normal(key[0], (2, 20, 20, 3))
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    high = high.at[:2, :2].set(low[:2, :2] + 0.01)
    low, high = low.at[0, 0].add(9.0), high.at[0, 0].add(9.0)
    found = envelope.lines(MaxPool(), low, high, jax.random.uniform(key[1], low.shape))
    for k in jax.random.split(key[2], 200):
        x = jnp.where(jax.random.bernoulli(k, 0.5, low.shape), low, high)
        under = 4 * AvgPool()(found.low_slope * x) + found.low_offset
        over = 4 * AvgPool()(found.high_slope * x) + found.high_offset
        assert bool(jnp.all((under <= MaxPool()(x) + 1e-5) & (over >= MaxPool()(x) - 1e-5)))
        np.testing.assert_allclose(over[0, 0], MaxPool()(x)[0, 0], atol=1e-4)
        np.testing.assert_allclose(under[0, 0], MaxPool()(x)[0, 0], atol=1e-4)


def test_the_band_of_a_zonotope_has_area_minus_u_l():
    low, high = jnp.array([-1.0, -0.3, -2.0]), jnp.array([2.0, 0.7, 0.1])
    best = envelope.smallest(ReLU(), low, high)
    areas = [envelope.lines(ReLU(), low, high, jnp.clip(best + d, 0, 1), True).high_offset * (high - low)
             for d in (0.0, -0.2, 0.2)]
    np.testing.assert_allclose(areas[0], -low * high, rtol=1e-5)
    assert bool(jnp.all((areas[1] > areas[0]) & (areas[2] > areas[0])))


def fall_exactly(a, down, up, epsilon, norm):
    """max of -a d over the cut ball, by bisection of the multiplier (l2) or by greed (l1), in float64."""
    a, cap = np.abs(a), np.where(a > 0, down, up)
    if norm == "l1":
        order, left, total = np.argsort(-a), epsilon, 0.0
        for i in order:
            step = min(cap[i], left)
            total, left = total + step * a[i], left - step
        return total
    low, high = 1e-12, 1e6
    for _ in range(200):
        m = np.sqrt(low * high)
        low, high = (m, high) if np.sum(np.minimum(a / m, cap) ** 2) > epsilon**2 else (low, m)
    return float(np.sum(a * np.minimum(a / high, cap)))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_fall_in_a_cut_ball_is_exact(norm):
    for seed in range(20):
        key = jax.random.split(jax.random.key(seed), 2)
        a = jax.random.normal(key[0], (3, 30))
        x = jnp.clip(jax.random.uniform(key[1], (30,), minval=-0.5, maxval=1.5), 0, 1)
        epsilon = 0.1 + 0.2 * seed
        region = regions.ball(LpBall(norm, epsilon), x)
        found = np.asarray(regions.fall(Rows(a, (30,)), region)[0])
        for row, value in zip(np.asarray(a, np.float64), found, strict=True):
            true = fall_exactly(row, np.asarray(region.down), np.asarray(region.up), epsilon, norm)
            assert true * (1 - 1e-5) <= value <= true * (1.001 if norm == "l1" else 1.03)
    zero, _ = regions.fall(Rows(jnp.zeros((1, 30)), (30,)), region)
    assert float(zero[0]) == 0


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_linear_networks_are_exact(norm):
    given = (Dense(weights(30, 6, 5), jnp.ones(5)), Scale(jnp.full(5, 2.0), jnp.zeros(5)),
             Dense(weights(31, 5, 3), jnp.zeros(3)))
    x, epsilon = jnp.full(6, 0.5), jnp.float32(0.2)
    matrix = np.asarray(given[0].kernel * 2 @ given[2].kernel, np.float64)
    logits = np.asarray(layers.run(given, x))
    y = int(np.argmax(logits))
    dual = {"l1": np.inf, "l2": 2, "linf": 1}[norm]
    true = min(logits[y] - logits[k] - 0.2 * np.linalg.norm(matrix[:, y] - matrix[:, k], dual)
               for k in range(3) if k != y)
    region = regions.ball(LpBall(norm, epsilon), x)
    rows = Rows(backward.differences(3, jnp.asarray(y)), (3,))
    found = backward.lower(rows, given, backward.shapes(given, jnp.zeros(6)), [], region)
    assert abs(float(jnp.min(found)) - true) < 1e-6
    for name, options in WALKS.items():
        assert abs(float(certify.build(name, **options).margin(given, x, y, LpBall(norm, epsilon))) - true) < 1e-4


def test_without_unstable_units_everything_is_exact():
    first = Dense(weights(32, 6, 8), jnp.where(jnp.arange(8) % 2, 50.0, -50.0))
    given = (first, ReLU(), Dense(weights(33, 8, 3), jnp.zeros(3)))
    x, threat = jnp.full(6, 0.5), LpBall("l2", 0.3)
    live = np.asarray(first.kernel) * (np.arange(8) % 2)
    matrix, logits = live @ np.asarray(given[2].kernel), np.asarray(layers.run(given, x))
    y = int(np.argmax(logits))
    true = min(logits[y] - logits[k] - 0.3 * np.linalg.norm(matrix[:, y] - matrix[:, k]) for k in range(3) if k != y)
    for name in ("zonotope", "crown"):
        assert abs(float(certify.build(name, steps=0).margin(given, x, y, threat)) - true) < 1e-2


def triangle(given, x, threat, bounds, objective):
    """min of objective . output over the triangle programme, written out densely for linprog."""
    mats = [(np.asarray(a.kernel, float), np.asarray(a.bias, float)) for a in given if isinstance(a, Dense)]
    n = [len(x), *(m.shape[1] for m, _ in mats[:-1])]
    start = np.cumsum([0, *n])
    low = [*np.maximum(np.asarray(x) - threat.epsilon, 0)]
    high = [*np.minimum(np.asarray(x) + threat.epsilon, 1)]
    a, b = [], []
    for i, (w, bias) in enumerate(mats[:-1]):
        lo, hi = (np.asarray(v, float) for v in bounds[i])
        low, high = low + [0.0] * n[i + 1], high + [None] * n[i + 1]
        for j in range(n[i + 1]):
            z, h = np.zeros(start[-1]), np.zeros(start[-1])
            z[start[i]:start[i + 1]], h[start[i + 1] + j] = w[:, j], 1
            if hi[j] <= 0:
                a.append(h), b.append(0.0)
            elif lo[j] >= 0:
                a += [h - z, z - h]
                b += [bias[j], -bias[j]]
            else:
                s = hi[j] / (hi[j] - lo[j])
                a += [z - h, h - s * z]
                b += [-bias[j], s * (bias[j] - lo[j])]
    costs = np.zeros(start[-1])
    costs[start[-2]:] = mats[-1][0] @ objective
    found = optimize.linprog(costs, A_ub=np.array(a), b_ub=b, bounds=list(zip(low, high, strict=True)))
    return found.fun + mats[-1][1] @ objective


@pytest.mark.parametrize("seed", range(2))
def test_interval_crown_triangle_milp_and_truth_are_in_order(seed):
    given = dense(100 * seed + 40, 5, 10, 8, 3)
    f = classifiers.from_layers((Flatten(), *given), 3, (5, 1, 1))
    x = jax.random.uniform(jax.random.key(seed), (5,))
    y, threat = int(jnp.argmax(layers.run(given, x))), LpBall("linf", 0.15)
    image, label = np.asarray(x).reshape(1, 5, 1, 1), np.array([y])
    interval, plain, best = (
        float(certify.run(certify.build(n, **o), f, image, label, threat).margin[0])
        for n, o in (("interval", {}), ("crown", {"steps": 0}), ("crown", {"steps": 200})))
    bounds, *_ = backward.inner(given, regions.ball(threat, x), start=envelope.adaptive)
    c = np.asarray(backward.differences(3, jnp.asarray(y)), float)
    lp = min(triangle(given, x, threat, bounds, row) for row in c)
    relaxed, exact = (float(certify.run(certify.build("milp", exact=e), f, image, label, threat).margin[0])
                      for e in (0, None))
    true = worst(given, x, points(jax.random.key(7), x, threat), y)
    assert interval <= plain + 1e-6
    assert plain <= best + 1e-6
    assert best <= lp + 1e-5
    assert abs(relaxed - lp) < 1e-3
    assert relaxed <= exact + 1e-5
    assert exact <= true + 1e-5
    assert best > lp - 0.05 * (1 + abs(lp))  # the slopes come close to the programme


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_milp_is_attained(norm):
    """The minimum over a fine search of a network of two pixels."""
    given = dense(77, 2, 6, 3)
    f = classifiers.from_layers((Flatten(), *given), 3, (2, 1, 1))
    x, threat = np.array([0.4, 0.6], np.float32), LpBall(norm, 0.25)
    y = int(np.argmax(f(x.reshape(2, 1, 1))))
    found = float(certify.run(certify.build("milp"), f, x.reshape(1, 2, 1, 1), np.array([y]), threat).margin[0])
    grid = np.stack(np.meshgrid(*[np.linspace(-0.25, 0.25, 301)] * 2), -1).reshape(-1, 2)
    grid = grid[np.sum(np.abs(grid), 1) <= 0.25] if norm == "l1" else grid
    true = worst(given, x, jnp.asarray(x + grid, jnp.float32), y)
    assert true - 0.02 <= found <= true + 1e-4


def test_a_convolution_is_its_matrix(monkeypatch):
    """Windows against whole rows: the same network with its convolutions written out as dense layers.

    Of real numbers: what rounding may cost grows with the fan-in, which the zeros of a matrix make larger.
    """
    monkeypatch.setattr(roundoff, "allowance", lambda n: 0.0)
    shape, given = NETS["max"][0], (*NETS["max"][1][:3], Flatten(), *dense(17, 64, 3))
    size, written = 36, [Flatten()]
    sizes = backward.shapes(given, jnp.zeros(shape))
    for layer, before in zip(given, sizes, strict=False):
        if isinstance(layer, Conv):
            n = int(np.prod(before))
            matrix = jax.vmap(lambda e, a=layer, s=before: (a(e.reshape(s)) - a(jnp.zeros(s))).ravel())(jnp.eye(n))
            written.append(Dense(matrix, layer(jnp.zeros(before)).ravel()))
        elif not isinstance(layer, Flatten):
            written.append(layer)
    x = jax.random.uniform(jax.random.key(8), shape)
    y = int(jnp.argmax(layers.run(given, x)))
    assert size == x.size
    for norm, build in itertools.product(NORMS[1:], (crown.build,)):
        prove = compile.jit(build(steps=0).margin)
        a, b = (float(prove(net, x, y, LpBall(norm, 0.1))) for net in (given, tuple(written)))
        assert abs(a - b) < 1e-4 * (1 + abs(a))


def test_optimised_slopes_only_gain_and_through_the_hidden_bounds_too():
    given, x = dense(60, 6, 10, 10, 3), jnp.full(6, 0.5)
    y, threat = int(jnp.argmax(layers.run(given, x))), LpBall("l2", jnp.float32(0.5))
    for build in (crown.build, zonotope.build):
        plain, final, whole = (
            float(compile.jit(build(**o).margin)(given, x, y, threat))
            for o in ({"steps": 0}, {"steps": 20}, {"steps": 20, "through": True}))
        assert plain <= final + 1e-6
        assert plain <= whole + 1e-6
