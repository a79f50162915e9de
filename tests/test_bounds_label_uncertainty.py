"""Label uncertainty and the regions that have it."""

import itertools

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from irob import bounds
from irob.core.check import InputError


def test_uncertainty_against_its_definition():
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(4), size=50), rng.integers(0, 4, 50)
    wanted = [1 - (p[i, y[i]] - max(p[i, j] for j in range(4) if j != y[i])) for i in range(50)]
    found = bounds.label_uncertainty(p, y)
    assert found == pytest.approx(wanted)
    assert found.min() >= 0 and found.max() <= 2
    assert np.array_equal(found > 1, p.argmax(axis=1) != y)  # above 1 where most people say otherwise


def test_without_gamma_it_is_plain_concentration():
    x = np.random.default_rng(0).normal(size=(3000, 3))
    lu = np.random.default_rng(1).uniform(0, 2, 3000)
    for family in ("half-spaces", "balls"):
        plain = bounds.concentration(x, 0.1, [0.5, 1.0], family=family)
        free = bounds.constrained_concentration(x, lu, 0.1, [0.5, 1.0], 0.0, family=family)
        for a, b in zip(plain, free):
            assert b.fit_adversarial_risk <= a.fit_adversarial_risk  # one more direction is tried
            assert b.adversarial_risk == pytest.approx(a.adversarial_risk, abs=0.03)
            if family == "balls":
                assert b.adversarial_risk == a.adversarial_risk


@pytest.mark.parametrize("family", ["half-spaces", "balls"])
def test_regions_have_the_uncertainty_asked_for_and_grow_with_it(family):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2000, 2)) * np.array([1.0, 3.0])  # regions that grow least lie along the second axis
    lu = 2.0 * (x[:, 0] > 0.8)
    grown = []
    for gamma in (0.0, 0.5, 1.0, 1.9):
        c, = bounds.constrained_concentration(x, lu, 0.05, [0.5], gamma, family=family,
                                             search=bounds.RegionSearch(regions=3))
        fit = np.random.default_rng(0).permutation(2000)[:1000]
        inside = c.region.distance(x[fit]) <= 0
        assert lu[fit][inside].mean() >= gamma - 1e-9
        assert inside.mean() >= 0.05
        grown.append(c.fit_adversarial_risk)
    assert grown[-1] > grown[0]
    if family == "half-spaces":  # of a greedy choice it need not hold exactly
        assert all(a <= b for a, b in itertools.pairwise(grown))


def test_the_optimum_is_the_half_space_towards_uncertainty():
    """lu = 1[x_1 > c] of a Gaussian: the limit of concentration is attained on the uncertain side at no cost."""
    x = np.random.default_rng(5).normal(size=(20000, 4))
    c, = bounds.constrained_concentration(x, x[:, 0] > ndtri(0.9), 0.05, [1.0], 0.99)
    assert c.region.w[0] > 0.98
    assert c.adversarial_risk == pytest.approx(ndtr(ndtri(0.05) + 1), abs=0.015)
    assert c.uncertainty > 0.95


def test_where_no_region_is_uncertain_enough_none_is_given():
    x = np.random.default_rng(0).normal(size=(400, 2))
    for family in ("half-spaces", "balls"):
        assert bounds.constrained_concentration(x, np.full(400, 0.1), 0.1, [0.5, 1.0], 0.5, family=family) == []


@pytest.mark.parametrize(("p", "y", "said"), [
    (np.ones((2, 2)), [0, 1], "rows >= 0 with sum 1"), (np.ones((2, 1)), [0, 0], "wanted (n, classes)"),
    ([[np.nan, 1.0]], [0], "probabilities"), ([[1.5, -0.5]], [0], "probabilities"),
    ([[0.5, 0.5]], [2], "wanted 1 integers in [0, 1]"),
    ([[0.5, 0.5]], [0.0], "labels"), ([[0.5, 0.5]], [0, 1], "labels"),
])
def test_bad_probabilities_are_named_in_one_line(p, y, said):
    with pytest.raises(InputError) as e:
        bounds.label_uncertainty(p, y)
    assert said in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(("change", "said"), [
    ({"uncertainty": np.zeros(3)}, "one number for each of 100 points"), ({"x": np.zeros((2, 2))}, "uncertainty"),
    ({"x": np.zeros((2, 2)), "uncertainty": np.zeros(2)}, "at least 4 points"), ({"gamma": 3.0}, "gamma: got 3"),
    ({"uncertainty": np.full(100, -1.0)}, "in [0, 2]"), ({"family": "boxes", "norm": "linf"}, "for boxes"),
])
def test_bad_input_is_named_in_one_line(change, said):
    good = {"x": np.zeros((100, 2)), "uncertainty": np.zeros(100), "alpha": 0.1, "epsilons": [0.5], "gamma": 0.0}
    with pytest.raises(InputError) as e:
        bounds.constrained_concentration(**(good | change))
    assert said in str(e.value) and "\n" not in str(e.value)
