"""The limit for label robustness, against linear programs, brute force, optimal transport and known distributions."""

import itertools
import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from scipy.stats import binom

from irob import bounds
from irob.bounds import conflicts
from irob.bounds.label_limit import each, limits, upper
from irob.bounds.matching import largest_fractional_matchings
from irob.core.check import InputError

METRICS = {"l1": "cityblock", "l2": "euclidean", "linf": "chebyshev"}


def sample(n, d=2, labels=3, seed=0):
    """Points near centres of their labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(labels, size=n)
    return rng.normal(size=(n, d)) + 1.5 * np.stack([y == k for k in range(d)], axis=1), y


def pairs(x, y, epsilon, norm):
    near = (cdist(x, x, METRICS[norm]) <= 2 * epsilon) & (y[:, None] != y[None])
    return np.argwhere(np.triu(near))


def kept(n, edges):
    """The largest sum of p in [0, 1]^n with p_i + p_j <= 1 on every edge, by a linear program."""
    rows = np.zeros((len(edges), n))
    rows[np.arange(len(edges))[:, None], edges] = 1
    return -linprog(-np.ones(n), A_ub=rows if len(edges) else None, b_ub=np.ones(len(edges)), bounds=(0, 1)).fun


@pytest.mark.parametrize("norm", METRICS)
def test_the_sample_limit_is_the_linear_program(norm):
    x, y = sample(60, d=3)
    radii = [0.0, 0.2, 0.4, 0.6, 0.9, 1.5, 1e40]
    found = bounds.label_limit(x, y, radii, norm=norm)
    assert [v.sample for v in found] == pytest.approx([kept(60, pairs(x, y, e, norm)) / 60 for e in radii])
    assert all(v.sample == 1 - v.matching / 60 and v.complete and v.upper >= v.sample for v in found)
    assert [v.epsilon for v in found] == radii and np.all(np.diff([v.sample for v in found]) <= 0)


@pytest.mark.parametrize("seed", range(4))
def test_no_choice_of_images_keeps_more(seed):
    """Brute force over independent sets."""
    x, y = sample(11, seed=seed)
    for v in bounds.label_limit(x, y, [0.2, 0.5, 0.8]):
        edges = pairs(x, y, v.epsilon, "l2")
        best = max(sum(p) for p in itertools.product((0, 1), repeat=11) if all(p[i] + p[j] < 2 for i, j in edges))
        assert best <= 11 * v.sample + 1e-9


@pytest.mark.parametrize("norm", METRICS)
def test_two_labels_agree_with_transport(norm):
    x, y = sample(400, labels=2)
    x = np.concatenate([x[y == 0][:150], x[y == 1][:150]])
    radii = [0.0, 0.1, 0.3, 0.7, 2.0]
    wanted = bounds.transport(x[:150], x[150:], radii, norm=norm)
    found = bounds.label_limit(x.reshape(300, 1, 2, 1), np.repeat([3, 7], 150), radii, norm=norm)
    assert [v.sample for v in found] == pytest.approx([1 - t.error for t in wanted])


def test_point_masses():
    """Masses .5, .3, .2 at 0, 1 and 2: who is within 2 epsilon of whom is plain, and so is what can be kept."""
    x, y = np.repeat([0.0, 1.0, 2.0], [100, 60, 40])[:, None], np.repeat([4, 0, 9], [100, 60, 40])
    found = bounds.label_limit(x, y, [0.49, 0.5, 1.0])
    assert [v.sample for v in found] == pytest.approx([1.0, 0.7, 0.5])  # none; a path; a triangle
    found = bounds.label_limit(np.zeros((200, 1)), y, [0.0])  # duplicates under different labels
    assert found[0].sample == 0.5 and bounds.label_limit(np.zeros((9, 1)), np.ones(9, int), [1.0])[0].sample == 1.0


def test_the_order_of_examples_and_the_size_of_stripes_change_nothing():
    x, y = sample(500, d=20)
    radii = [1.6, 1.9, 2.5]
    wanted = bounds.label_limit(x, y, radii)
    turned = np.random.default_rng(1).permutation(500)
    assert [v.matching for v in bounds.label_limit(x[turned], y[turned], radii[::-1])] == [
        v.matching for v in wanted[::-1]]
    for rows in (1, 7, 100):
        assert limits(conflicts.Search(x, y, radii, "l2", rows=rows).run(), 500, radii, 0.95) == wanted
    assert 0 < wanted[0].matching < wanted[2].matching


@pytest.mark.parametrize("norm", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_edge_counts_exactly_if_the_distance_is_at_most_two_epsilon(norm, dtype):
    """Epsilons one ulp on either side of the distance, in exact fractions; float64 sums would err on some."""
    rng = np.random.default_rng(3)
    x = rng.random((12, 2, 40)).astype(dtype)
    for a, b in x:
        away = [abs(Fraction(float(u)) - Fraction(float(v))) for u, v in zip(a, b)]
        size = {"l1": sum(away), "linf": max(away), "l2": sum(v * v for v in away)}[norm]
        epsilon = (math.sqrt(size) if norm == "l2" else float(size)) / 2
        radii = sorted(np.nextafter(epsilon, epsilon + k, dtype=np.float64) for k in (-1, 0, 1))
        wanted = [(2 * Fraction(float(e))) ** (2 if norm == "l2" else 1) >= size for e in radii]
        found = bounds.label_limit(np.stack([a, b]), np.array([0, 1]), radii, norm=norm)
        assert [v.matching == 1 for v in found] == wanted and not all(wanted)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e-8, 1e8, 1e30, 1e150])
def test_units_do_not_matter(scale):
    x, y = sample(80, d=5)
    x = np.round(x, 3)
    wanted, found = (bounds.label_limit(x * s, y, [0.4 * s, 0.9 * s]) for s in (1.0, scale))
    assert [v.matching for v in found] == [v.matching for v in wanted] != [0, 0]


def test_images_of_whole_numbers_and_images_far_from_zero():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, size=(60, 6)), rng.integers(3, size=60)
    wanted = [v.matching for v in bounds.label_limit(x.astype(float), y, [0.5, 1.0, 1.5])]
    for other in (x.astype(np.uint8), x.astype(np.float16), x + 1e6):
        assert [v.matching for v in bounds.label_limit(other, y, [0.5, 1.0, 1.5])] == wanted


def test_left_out_edges_only_raise_the_limit_and_are_told(monkeypatch):
    x, y = sample(300)
    radii = [0.1, 0.5, 3.0]
    wanted = bounds.label_limit(x, y, radii)
    for most in (4000, 400):
        edges = conflicts.Search(x, y, radii, "l2", most=most, rows=64).run()
        found = limits(edges, 300, radii, 0.95)
        assert len(edges) <= most and not edges.all and not found[0].complete
        assert all(a.matching <= b.matching for a, b in zip(found, wanted))
    monkeypatch.setattr(conflicts, "LEAST", 500)
    few = conflicts.Search(x, y, radii, "l2", most=4000, rows=64).run()
    assert limits(few, 300, radii, 0.95)[2].matching > 100  # of 150


def test_matchings_of_random_graphs_are_largest():
    rng = np.random.default_rng(0)
    for n, m in [(5, 4), (9, 12), (30, 30), (30, 60), (40, 200)]:
        edges = np.unique(np.sort(rng.integers(n, size=(m, 2)), axis=1), axis=0)
        edges = edges[edges[:, 0] < edges[:, 1]]
        level = rng.integers(3, size=len(edges))
        found = largest_fractional_matchings(*edges.T, level, n, 3)
        assert found == pytest.approx([n - kept(n, edges[level <= k]) for k in range(3)])


def test_dense_graphs_end(monkeypatch):
    """As in transport's test: scipy's own matching does not return on such a graph; portions change nothing."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(1200, 1)), np.arange(1200) % 2
    x = x + np.where(y, 1.0, -1.0)[:, None]
    wanted, = bounds.transport(x[y == 1], x[y == 0], [0.9])
    monkeypatch.setattr("irob.bounds.matching.AT_ONCE", 1000)
    found, = bounds.label_limit(x, y, [0.9])
    assert found.matching == wanted.matching


@pytest.mark.parametrize("n", [50, 1000, 20_000])
@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.999])
def test_the_upper_end_covers_two_point_masses_exactly(n, confidence):
    """Two conflicting masses p <= 1/2 and 1 - p: the best classifier keeps 1 - p, the matching is min(k, n - k)."""
    k = np.arange(n + 1)
    ends = np.array([upper(min(v, n - v), n, confidence) for v in k])
    for p in (0.5 / n, 3 / n, 0.01, 0.1, 0.3, 0.45, 0.5):
        assert binom.pmf(k, n, p)[ends < 1 - p].sum() <= 1 - confidence
    assert ends[n // 4] < 0.9 or n == 50  # and is no empty statement


def test_the_upper_end_covers_by_simulation():
    """Three masses at the corners of a triangle and one alone: fractional optimum 1 - (.4 + .3 + .2) / 2."""
    rng, misses = np.random.default_rng(0), 0
    for _ in range(200):
        y = rng.choice(4, p=[0.4, 0.3, 0.2, 0.1], size=60)
        v, = bounds.label_limit(np.array([0.0, 0.9, 1.9, 99.0])[y][:, None], y, [1.0], confidence=0.8)
        misses += v.upper < 0.55
    assert misses <= 200 * 0.2


@pytest.mark.parametrize("size", [1, 2, 10])
@pytest.mark.parametrize("p", [0.002, 0.1, 0.5])
def test_the_upper_end_covers_groups_that_move_together(size, p):
    """Groups in conflict as a whole or not at all, with enough single examples: the matching is size Bin(m, p)."""
    m, confidence = 400, 0.95
    n, sizes, k = 2 * size * m, [size] * m + [1] * (size * m), np.arange(m + 1)
    ends = np.array([upper(size * v, n, confidence, sizes) for v in k])
    assert binom.pmf(k, m, p)[ends < 1 - p / 2].sum() <= 1 - confidence
    assert ends[m // 2] < 0.9


def test_groups_are_those_of_equal_numbers():
    x, y = sample(40)
    alone, = bounds.label_limit(x, y, [3.0])
    assert bounds.label_limit(x, y, [3.0], groups=np.arange(40) - 7)[0] == alone
    pairs_, = bounds.label_limit(x, y, [3.0], groups=np.arange(40) % 20)
    assert pairs_.sample == alone.sample and pairs_.upper == upper(alone.matching, 40, 0.95, [2] * 20) > alone.upper
    with pytest.raises(InputError, match="groups: got"):
        bounds.label_limit(x, y, [3.0], groups=np.arange(39))


def test_the_smaller_deviation_is_taken():
    most = math.log(20)
    mcdiarmid, t = math.sqrt(1e5 * most / 2), 5 * most / 6 + math.sqrt((5 * most / 6) ** 2 + 4 * most * 300)
    assert upper(45_000, 100_000, 0.95) == pytest.approx(1 - (45_000 - mcdiarmid) / 1e5)
    assert upper(300 + t, 100_000, 0.95) == pytest.approx(1 - 300 / 1e5)  # E = 300 allows 300 + t
    assert upper(0, 10, 0.95) == upper(3, 100_000, 0.95) == 1.0


def test_the_moment_bound_of_the_second_inequality():
    """Its differential inequality, in units of E[nu], and what Chernoff makes of it at the best s."""
    s = np.linspace(1e-2, 1.2, 100_000, endpoint=False)
    phi, bound = np.exp(-s) + s - 1, s**2 / (1 - 5 * s / 6)
    slope = (2 * s - 5 * s**2 / 6) / (1 - 5 * s / 6) ** 2
    assert np.all(s - 2 * phi > 0) and np.all((s - 2 * phi) * slope - bound >= 2 * phi)
    for t in (0.1, 1.0, 10.0):
        assert np.max(s * t - bound) >= t**2 / (2 * (2 + 5 * t / 6)) * (1 - 1e-6)


def test_joint_statements_hold_at_a_higher_level_each():
    x, y = sample(2000)
    alone = bounds.label_limit(x, y, [0.3, 0.6], confidence=each(0.9, 2))
    assert bounds.label_limit(x, y, [0.3, 0.6], confidence=0.9, joint=True) == alone
    assert alone[0].confidence == pytest.approx(0.95)
    assert all(a.upper > b.upper for a, b in zip(alone, bounds.label_limit(x, y, [0.3, 0.6], confidence=0.9)))


def test_memory_does_not_grow_with_all_pairs():
    """At twice the examples it is far from fourfold; all pairs of float32 would be 256 MB here."""
    def peak(n):
        x, y = sample(n, d=30)
        tracemalloc.start()
        conflicts.Search(x, y, [0.5], "l2", rows=256).run()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(8000) < 100e6 and peak(8000) < 3 * peak(4000)


@pytest.mark.parametrize(("change", "said"), [
    ({"x": np.zeros(4)}, "got shape (4,)"), ({"x": np.zeros((0, 3)), "y": np.zeros(0, int)}, "n at least 1"),
    ({"y": np.zeros(3, int)}, "labels: got int64[3]"), ({"y": np.zeros(4)}, "labels: got float64[4]"),
    ({"x": np.array([[0.0], [1.0], [np.nan], [2.0]])}, "NaN or infinity in example 2"),
    ({"x": np.full((4, 1), "a")}, "wanted numbers"), ({"epsilons": []}, "at least one"),
    ({"epsilons": [-0.1]}, "epsilon: got -0.1"), ({"epsilons": [np.inf]}, "finite"), ({"norm": "l3"}, "unknown norm"),
    ({"confidence": 1.0}, "confidence"), ({"confidence": np.nan}, "confidence"),
])
def test_bad_input_is_named_in_one_line(change, said):
    with pytest.raises(InputError) as e:
        bounds.label_limit(**({"x": np.zeros((4, 3)), "y": np.arange(4), "epsilons": [0.5]} | change))
    assert said in str(e.value) and "\n" not in str(e.value)
