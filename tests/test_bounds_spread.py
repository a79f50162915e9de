"""The exact minimum over spreads of risk against brute force."""

import itertools

import numpy as np
import pytest
from scipy import optimize

from irob.bounds.spread import is_exact, least_growth
from irob.math.gaussian import expansion


def growth(r, p, t):
    return float(np.sum(p * expansion(r, t)))


def by_vertices(alpha, p, t):
    """All vertices, written as plainly as possible: choose who is at 1 and who is between."""
    best = np.inf
    for ones in itertools.product((0.0, 1.0), repeat=len(p)):
        for j in range(len(p)):
            r = np.array(ones)
            r[j] = 0
            u = (alpha - p @ r) / p[j]
            if -1e-12 <= u <= 1 + 1e-12:
                r[j] = np.clip(u, 0, 1)
                best = min(best, growth(r, p, t))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_against_all_vertices(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 7))
    p, t, alpha = rng.dirichlet(np.ones(k)), 2 * rng.random(k), rng.random()
    if seed % 3 == 0:
        p = np.full(k, 1 / k)
    assert least_growth(alpha, p, t) == pytest.approx(by_vertices(alpha, p, t), abs=1e-10)


@pytest.mark.parametrize("alpha", [0.03, 0.3, 0.62])
def test_against_a_grid_over_the_simplex(alpha):
    """Three classes: no feasible point of a fine grid is lower, and a local search finds nothing lower either."""
    p, t = np.array([0.5, 0.3, 0.2]), np.array([0.7, 0.4, 1.5])
    found = least_growth(alpha, p, t)
    a, b = np.meshgrid(np.linspace(0, 1, 401), np.linspace(0, 1, 401))
    c = (alpha - p[0] * a - p[1] * b) / p[2]
    inside = (c >= 0) & (c <= 1)
    r = np.stack([a[inside], b[inside], c[inside]], axis=-1)
    lowest = np.sum(p * expansion(r, t), axis=-1).min()
    assert found <= lowest + 1e-12 and found == pytest.approx(lowest, abs=5e-3)


def test_against_linear_programming():
    """Piecewise linear minorants of h give a relaxed problem; branch over the vertices by scipy's milp."""
    p, t, alpha = np.array([0.28, 0.17, 0.09, 0.46]), np.array([1.0, 0.6, 0.8, 1.2]), 0.33
    # r_j = x_j + u_j: x_j in {0, 1}, and one j between with an u_j on a fine grid, as binaries.
    grid = np.linspace(0, 1, 301)[1:-1]
    ones, between = p, np.concatenate([p[j] * expansion(grid, t[j]) for j in range(4)])
    cost = np.concatenate([ones, between])
    mass = np.concatenate([p, np.concatenate([p[j] * grid for j in range(4)])])
    one_each = np.zeros((4, len(cost)))
    for j in range(4):
        one_each[j, j] = 1
        one_each[j, 4 + j * len(grid):4 + (j + 1) * len(grid)] = 1
    rules = [optimize.LinearConstraint(mass, alpha - 5e-4, alpha + 5e-4), optimize.LinearConstraint(one_each, 0, 1)]
    solved = optimize.milp(cost, integrality=np.ones(len(cost)), bounds=optimize.Bounds(0, 1), constraints=rules)
    assert solved.success and least_growth(alpha, p, t) == pytest.approx(solved.fun, abs=6e-3)


@pytest.mark.parametrize("k", [1, 2, 10, 1000])
@pytest.mark.parametrize("alpha", [0.0, 0.015, 0.25, 0.3, 0.999, 1.0])
def test_closed_form_for_equal_classes(k, alpha):
    """floor(alpha K) classes at 1, the rest of the risk in one more."""
    t = 0.4
    full = np.floor(alpha * k + 1e-9)
    rest = alpha * k - full
    rest = 0.0 if abs(rest) < 1e-9 else rest
    wanted = (full + expansion(rest, t)) / k
    assert least_growth(alpha, np.full(k, 1 / k), np.full(k, t)) == pytest.approx(float(wanted), abs=1e-9)


def test_one_class_may_hide_all_risk():
    """Ten classes of prior 0.1: a risk of 0.3 fits in three of them and need not grow at all, rounding or not."""
    p = np.full(10, 0.1)
    assert least_growth(0.3, p, np.full(10, 8.0)) == pytest.approx(0.3, abs=1e-11)
    p = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    assert least_growth(0.1 + 0.2, p, np.full(5, 8.0)) == pytest.approx(0.3, abs=1e-11)


def test_twenty_classes_are_exact_and_quick():
    p = np.random.default_rng(3).dirichlet(np.ones(20))
    t = np.random.default_rng(4).random(20)
    assert is_exact(0.4, p) and 0.4 <= least_growth(0.4, p, t) < 0.4 + 0.01
    small = np.sort(p)[0] / 2  # below every prior: the risk fits in any one class, as in the paper's formula
    wanted = min(small + q * float(expansion(small / q, s) - small / q) for q, s in zip(p, t))
    assert least_growth(small, p, t) == pytest.approx(wanted, abs=1e-14)


def test_many_unequal_classes_are_relaxed():
    p = np.arange(1, 41) / 820
    assert not is_exact(0.5, p) and least_growth(0.5, p, np.ones(40)) == 0.5
    assert is_exact(0.001, p) and least_growth(0.001, p, np.ones(40)) > 0.0011


def test_classes_of_prior_zero_do_not_count():
    p, t = np.array([0.6, 0.0, 0.4]), np.array([0.5, 0.0, 0.5])
    assert least_growth(0.2, p, t) == pytest.approx(least_growth(0.2, p[[0, 2]], t[[0, 2]]))
