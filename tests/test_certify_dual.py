"""The dual network's bound against closed forms, a linear and an integer programme, samples and float64."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import LinearConstraint, linprog, milp

from irob import attacks, certify, classifiers, data
from irob.certify import dual
from irob.certify.proof import dual_projections, functionals
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.layers import AvgPool, Conv, Dense, Flatten, MaxPool, ReLU, Reshape, Scale, run
from irob.core.threat import LpBall


def dense_net(seed: int, sizes=(5, 8, 6, 2), scale=1.0):
    rng = np.random.default_rng(seed)
    found = []
    for a, b in itertools.pairwise(sizes):
        kernel, bias = scale * rng.normal(size=(a, b)) / np.sqrt(a) * 1.4, 0.3 * rng.normal(size=b)
        found += [Dense(jnp.asarray(kernel, jnp.float32), jnp.asarray(bias, jnp.float32)), ReLU()]
    return tuple(found[:-1])


SHAPE = (8, 8, 2)


def conv_net(key):
    """Every layer that is known, an odd and an even kernel, padding of both kinds."""
    keys = iter(jax.random.split(key, 20))

    def draw(*shape):
        return 0.4 * jax.random.normal(next(keys), shape)

    return (Scale(1 + draw(2), draw(2)), Conv(draw(3, 3, 2, 3), draw(3), 1, 1), ReLU(),
            Conv(draw(3, 2, 3, 4), draw(4), 2, "SAME"), Scale(1 + draw(4), draw(4)), AvgPool(), ReLU(), Flatten(),
            Dense(draw(16, 8), draw(8)), Reshape((2, 4)), ReLU(), Flatten(), Dense(draw(8, 3), draw(3)))


def as_dense(net):
    """The same network with every affine layer as its matrix."""
    found, sizes = [], dual.shapes(net, jnp.zeros(SHAPE))
    for layer, before in zip(net, sizes[:-1]):
        if isinstance(layer, ReLU):
            found.append(layer)
            continue
        flat = lambda v, layer=layer, before=before: layer(v.reshape(before)).reshape(-1)  # noqa: E731
        zero = jnp.zeros(int(np.prod(before)))
        found.append(Dense(jax.jacobian(flat)(zero).T, flat(zero)))
    return tuple(found)


def margin(net, x, y, norm, epsilon, **options):
    """Compiled once a structure; y and epsilon are traced."""
    return float(_margin(net, jnp.asarray(x, jnp.float32), y, ball(norm, epsilon), dual.build(**options)))


def bare(net, x, y, norm, epsilon):
    """The same bound of real numbers, to compare with a formula: what rounding may cost is not subtracted."""
    found = float(_bare(net, jnp.asarray(x, jnp.float32), y, ball(norm, epsilon)))
    assert found >= margin(net, x, y, norm, epsilon)
    return found


@jit
def _bare(net, x, y, threat):
    of = dual.region(threat, x)
    found = dual.margins(net, of, y, *dual.inner(net, of, False))
    return jnp.min(jnp.where(jnp.arange(len(found)) == y, jnp.inf, found))


@jit(static_argnames="rounded")
def inner(net, x, threat, rounded=True):
    """(l, u) of every ReLU."""
    return dual.bounds(net, dual.region(threat, x), rounded=rounded)


@jit(static_argnames="rounded")
def all_margins(net, x, threat, rounded=True):
    """Of class 0 against every class."""
    of = dual.region(threat, x)
    return dual.margins(net, of, 0, *dual.inner(net, of, rounded))


def ball(norm, epsilon):
    """One compiled program for every radius."""
    return LpBall(norm, jnp.float32(epsilon))


@jit
def _margin(net, x, y, threat, certifier):
    return certifier.margin(net, x, y, threat)


@jit
def sampled(net, x, y, threat, each):
    """The smallest margin at points of the ball."""
    return jax.vmap(lambda k: true_margin(net, threat.sample(k, x), y))(each).min()


def true_margin(net, x, y):
    z = run(net, x)
    return z[y] - jnp.max(jnp.where(jnp.arange(len(z)) == y, -jnp.inf, z))


def programme(net, x, y, k, epsilon, within, *, integer: bool) -> float:
    """min f_y - f_k over the box cut by [0, 1], ReLUs as triangles, or exactly with one binary each."""
    low, high = np.maximum(x - epsilon, 0.0), np.minimum(x + epsilon, 1.0)
    bounds, rows, lows, highs, binary = list(zip(low, high)), [], [], [], []

    def add(terms, low, high):
        rows.append(dict(terms)), lows.append(low), highs.append(high)

    here, within = list(range(len(x))), iter(within)
    for layer in net:
        if isinstance(layer, Dense):
            kernel, bias = np.asarray(layer.kernel, float), np.asarray(layer.bias, float)
            there = list(range(len(bounds), len(bounds) + len(bias)))
            bounds += [(-np.inf, np.inf)] * len(bias)
            for j, b, column in zip(there, bias, kernel.T):
                add([(j, 1.0), *((i, -w) for i, w in zip(here, column))], b, b)
            here = there
            continue
        lower, upper = (np.asarray(v, float) for v in next(within))
        there = []
        for i, l, u in zip(here, lower, upper):
            j = len(bounds)
            there.append(j)
            bounds.append((0.0, max(u, 0.0)))
            if u <= 0:
                continue
            add([(j, 1.0), (i, -1.0)], 0.0, 0.0 if l >= 0 else np.inf)
            if l >= 0:
                continue
            if integer:
                binary.append(len(bounds))
                bounds.append((0.0, 1.0))
                add([(j, 1.0), (binary[-1], -u)], -np.inf, 0.0)
                add([(j, 1.0), (i, -1.0), (binary[-1], -l)], -np.inf, -l)
            else:
                add([(j, 1.0), (i, -u / (u - l))], -np.inf, -l * u / (u - l))
        here = there
    cost = np.zeros(len(bounds))
    cost[here[y]] += 1
    cost[here[k]] -= 1
    matrix = np.zeros((len(rows), len(bounds)))
    for i, terms in enumerate(rows):
        for j, w in terms.items():
            matrix[i, j] = w
    lows, highs = np.array(lows), np.array(highs)
    if integer:
        integrality = np.isin(np.arange(len(bounds)), binary).astype(int)
        found = milp(cost, constraints=LinearConstraint(matrix, lows, highs), integrality=integrality,
                     bounds=tuple(zip(*bounds)))
    else:
        equal = lows == highs
        less, more = ~equal & np.isfinite(highs), ~equal & np.isfinite(lows)
        found = linprog(cost, np.vstack([matrix[less], -matrix[more]]), np.concatenate([highs[less], -lows[more]]),
                        matrix[equal], lows[equal], bounds)
    assert found.success, found.message
    return found.fun


@pytest.mark.parametrize(("norm", "dual_norm"), [("l2", 2), ("linf", 1)])
def test_exact_on_linear_networks(norm, dual_norm):
    net = dense_net(0, (4, 3))
    x, w = np.full(4, 0.5), np.asarray(net[0].kernel)
    z = run(net, jnp.asarray(x, jnp.float32))
    for y in range(3):
        others = [k for k in range(3) if k != y]
        wanted = min(float(z[y] - z[k]) - 0.1 * np.linalg.norm(w[:, y] - w[:, k], dual_norm) for k in others)
        assert bare(net, x, y, norm, 0.1) == pytest.approx(wanted, abs=1e-6)
        assert wanted - 1e-5 < margin(net, x, y, norm, 0.1) <= wanted


def test_box_counts_where_it_cuts_and_only_below_linf():
    net = dense_net(0, (4, 3))
    x = np.array([0.0, 1.0, 0.02, 0.5])
    assert margin(net, x, 0, "linf", 0.1) > margin(net, x, 0, "linf", 0.1, bounded=False) + 1e-3
    w, z = np.asarray(net[0].kernel), np.asarray(run(net, jnp.asarray(x, jnp.float32)))
    low, high = np.maximum(x - 0.1, 0), np.minimum(x + 0.1, 1)
    d = w[:, [0]] - w[:, 1:]
    wanted = (z[0] - z[1:] - x @ d + np.where(d > 0, low[:, None] * d, high[:, None] * d).sum(0)).min()
    assert bare(net, x, 0, "linf", 0.1) == pytest.approx(wanted, abs=1e-6)
    assert wanted - 1e-5 < margin(net, x, 0, "linf", 0.1) <= wanted
    assert margin(net, x, 0, "l2", 0.1) == margin(net, x, 0, "l2", 0.1, bounded=False)


@pytest.mark.parametrize("seed", range(8))
def test_below_the_triangle_programme_and_that_below_the_truth(seed):
    net = dense_net(seed)
    rng = np.random.default_rng(seed)
    x, epsilon = rng.random(5), 0.25
    within = inner(net, jnp.asarray(x, jnp.float32), ball("linf", epsilon))
    assert any(((np.asarray(l) < 0) & (np.asarray(u) > 0)).any() for l, u in within)
    got = margin(net, x, 0, "linf", epsilon)
    triangle, truth = (programme(net, x, 0, 1, epsilon, within, integer=i) for i in (False, True))
    points = np.clip(x + epsilon * rng.uniform(-1, 1, (20_000, 5)), 0, 1)
    seen = np.asarray(jax.vmap(lambda v: run(net, v))(jnp.asarray(points, jnp.float32)))
    assert got <= triangle + 1e-5
    assert triangle <= truth + 1e-6
    assert truth <= (seen[:, 0] - seen[:, 1]).min() + 1e-5
    assert got > truth - 5.0  # a bound, and no -infinity


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_below_every_sample_and_falling_with_epsilon(norm, key):
    net = conv_net(key)
    x = jax.random.uniform(jax.random.key(3), SHAPE)
    radii = (1e-7, 0.02, 0.1, 0.3)
    for y in range(3):
        found = [margin(net, x, y, norm, r) for r in radii]
        real = bare(net, x, y, norm, radii[0])
        np.testing.assert_allclose(real, true_margin(net, x, y), atol=2e-5)  # J = c z at radius 0
        assert all(a > b for a, b in itertools.pairwise(found))
        assert found[2] <= float(sampled(net, x, y, ball(norm, radii[2]), jax.random.split(key, 5000)))


@pytest.mark.parametrize(("norm", "dual_norm"), [("l2", 2), ("linf", 1)])
def test_exact_without_unstable_neurons(norm, dual_norm):
    net, x, epsilon = dense_net(3), jnp.full(5, 0.5), 1e-2
    assert not any(bool(((l < 0) & (u > 0)).any()) for l, u in inner(net, x, ball(norm, epsilon)))
    gradient = jax.grad(lambda v: true_margin(net, v, 0))(x)
    wanted = true_margin(net, x, 0) - epsilon * np.linalg.norm(gradient, dual_norm)
    assert bare(net, x, 0, norm, epsilon) == pytest.approx(float(wanted), abs=2e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_convolutions_are_their_matrices(norm, key):
    net = conv_net(key)
    x = jax.random.uniform(jax.random.key(4), SHAPE)
    flat = as_dense(net)
    for epsilon in (0.05, 0.3):
        got, wanted = bare(net, x, 1, norm, epsilon), bare(flat, x.reshape(-1), 1, norm, epsilon)
        assert got == pytest.approx(wanted, abs=1e-4)
        both = (inner(n, v, ball(norm, epsilon), rounded=False) for n, v in ((net, x), (flat, x.reshape(-1))))
        for a, b in zip(*both):
            np.testing.assert_allclose(np.ravel(a[0]), b[0], atol=1e-4)


@pytest.mark.parametrize(("stride", "pads"), [(1, ((1, 1), (0, 2))), (2, ((1, 1), (1, 0))), (3, ((0, 0), (2, 1)))])
def test_transposed_convolution_and_its_gradients(stride, pads, key):
    shape, kernel = (7, 6, 2), jax.random.normal(key, (3, 4, 2, 5))

    def forward(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads,
                                            dimension_numbers=("NHWC", "HWIO", "NHWC"))

    x = jax.random.normal(jax.random.key(1), (2, *shape))
    y = jax.random.normal(jax.random.key(2), forward(x, kernel).shape)
    got, wanted = (jit(jax.value_and_grad(h, (0, 1)))(y, kernel) for h in (
        lambda y, kernel: jnp.vdot(x, functionals.conv_transposed(y, kernel, stride, pads, shape)),
        lambda y, kernel: jnp.vdot(forward(x, kernel), y)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), got, wanted)


def test_rounding_stays_within_its_allowance(key):
    """The allowance, against the same walk in float64, on a network of usual size."""
    net = conv_net(key)
    x = jax.random.uniform(jax.random.key(5), SHAPE)
    low, bare = (np.asarray(all_margins(net, x, ball("l2", 0.2), rounded=r)) for r in (True, False))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)), (net, x))
        exact = np.asarray(all_margins(*wide, LpBall("l2", jnp.asarray(np.float64(np.float32(0.2)))), rounded=False))
    assert exact.dtype == np.float64
    assert (low[1:] < exact[1:]).all()
    assert (np.abs(bare - exact)[1:] < 0.3 * (exact - low)[1:]).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_projections_estimate_the_exact_bounds(norm, key):
    """Centres agree exactly; half-widths are unbiased for l2, and scatter as the Cauchy median does for linf."""
    net = conv_net(key)
    x = jax.random.uniform(jax.random.key(6), SHAPE)
    of = dual.region(LpBall(norm, 0.1), x)
    draw = jit(jax.vmap(lambda k: dual_projections.bounds(k, net, of, 50)))
    drawn = draw(jax.random.split(key, 300))
    first = None
    for i, ((low, high), (a, b)) in enumerate(zip(inner(net, x, LpBall(norm, 0.1), rounded=False), drawn)):
        if i == 0:  # exact
            np.testing.assert_allclose(a, np.broadcast_to(low, a.shape), atol=1e-5)
            continue
        if i == 1:  # its inner bounds are exact, so that the estimator alone is seen
            first = np.asarray((b - a) / (high - low))
            np.testing.assert_allclose((a + b) / 2, np.broadcast_to((low + high) / 2, a.shape), atol=1e-5)
    assert first is not None
    assert abs(first.mean() - 1) < 0.03
    assert 0.01 < first.std() < 0.25


@pytest.mark.parametrize(("norm", "spread"), [("l2", 0.106), ("linf", 0.23)])
def test_spread_of_the_estimators(norm, spread, key):
    """Behind two identities the half-width is one norm, estimated by k = 50 numbers (SPEC: .106 and .23)."""
    n = 784
    net = (Dense(jnp.eye(n), jnp.full(n, 9.0)), ReLU(), Dense(jax.random.normal(key, (n, 1)), jnp.zeros(1)), ReLU())
    of = dual.region(LpBall(norm, 0.1), jnp.full(n, 0.5))
    exact = inner(net, of.centre, LpBall(norm, 0.1), rounded=False)[1]
    draw = jit(jax.vmap(lambda k: dual_projections.bounds(k, net, of, 50)[1]))
    low, high = draw(jax.random.split(key, 2000))
    ratio = np.asarray((high - low) / (exact[1] - exact[0]))
    assert abs(ratio.mean() - 1) < 0.03
    assert ratio.std() == pytest.approx(spread, rel=0.12)


def test_gradients_are_finite_where_every_neuron_is_dead():
    net = dense_net(0)
    net = (dataclasses.replace(net[0], bias=jnp.full(8, -99.0)), *net[1:])

    def loss(net):
        of = dual.region(LpBall("l2", 0.1), jnp.full(5, 0.5))
        return dual.margins(net, of, 0, dual_projections.bounds(jax.random.key(0), net, of, 7)).sum()

    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(jit(jax.grad(loss))(net)))


def test_no_attack_breaks_what_is_certified(key):
    """On the shipped classifier and generated images, at a radius where both have something to say."""
    f, drawn = classifiers.load("mnist_gen_lp_certify"), data.load("mnist_gen", "test", count=100)
    threat = LpBall("l2", 1.0)
    proven = certify.run(certify.build("dual"), f, drawn.x, drawn.y, threat)
    found = attacks.run(attacks.build("pgd", threat, steps=40), key, f, drawn.x, drawn.y)
    assert 20 < proven.certified.sum() < 90
    assert 20 < (~found.success).sum() < 95
    assert not (proven.certified & found.success).any()
    # The bound lies below the margin at the very points that the attack proposes.
    logits = np.array(jax.vmap(f)(found.x_adv))
    own = logits[np.arange(100), drawn.y]
    logits[np.arange(100), drawn.y] = -np.inf
    assert (proven.margin <= own - logits.max(axis=1)).all()


def test_bad_input_is_one_line():
    net, x = dense_net(0), jnp.full(5, 0.5)
    pool = (MaxPool(), Flatten(), Dense(jnp.ones((1, 2)), jnp.zeros(2)))
    for make, says in [
        (lambda: dual.build().margin(pool, jnp.ones((2, 2, 1)), 0, LpBall("l2", 1.0)), "MaxPool"),
        (lambda: dual.build().margin(net, x, 0, LpBall("l1", 1.0)), "norm l1"),
        (lambda: dual.build().margin(net, x, 0, LpBall("l2", 0.0)), "epsilon"),
        (lambda: dual.build(bounded="yes"), "bounded"),
    ]:
        with pytest.raises(InputError, match=says) as e:
            make()
        assert "\n" not in str(e.value)


PLACES = [(4, 2, 1), (3, 1, "SAME"), (3, 2, "SAME"), (2, 3, "VALID"), (1, 1, 0)]


@pytest.mark.parametrize(("size", "stride", "pad"), PLACES)
def test_place_by_place_is_the_convolution_of_the_products(key, size, stride, pad):
    """With its gradients by kernel, vectors and scales, for a batch of images that share the vectors."""
    keys = jax.random.split(key, 4)
    c, s = jax.random.normal(keys[0], (3, 7, 6, 2)), jax.random.normal(keys[1], (5, 7, 6, 2))
    layer = Conv(jax.random.normal(keys[2], (size, size, 2, 4)), jnp.ones(4), stride, pad)
    weights = jax.random.normal(keys[3], jax.vmap(lambda s: jax.vmap(layer)(s * c))(s).shape)

    def both(push):
        def total(layer, c, s):
            return jnp.sum(weights * push(layer, c, s))

        return push(layer, c, s), jax.grad(total, (0, 1, 2))(layer, c, s)

    def direct(layer, c, s):
        return jax.vmap(lambda s: jax.vmap(dataclasses.replace(layer, bias=jnp.zeros(4)))(s * c))(s)

    def placed(layer, c, s):
        return jax.vmap(lambda s: dual_projections.by_place(layer, c, s))(s)

    for a, b in zip(jax.tree.leaves(both(placed)), jax.tree.leaves(both(direct)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_medians_bit_by_bit_are_those_of_sorting(key, n, dtype):
    apart = jnp.abs(jax.random.cauchy(key, (n, 40)))
    a = apart.astype(dtype).at[:, 0].set(0).at[: n // 2, 1].set(2.5)  # many equal ones
    np.testing.assert_array_equal(dual_projections.median(a), jnp.median(a, axis=0))

    def gradient(median):  # where no two are equal there is one
        return jax.grad(lambda v: jnp.sum(median(v) ** 2))(apart)

    wanted = gradient(lambda v: jnp.median(v, axis=0))
    np.testing.assert_allclose(gradient(dual_projections.median), wanted, rtol=1e-6)
