"""Fawzi et al. (2018): the case of equality, the order of the forms, and the paper's vacuity claim."""

import numpy as np
import pytest
from scipy import integrate, stats

from irob.bounds import fawzi, fawzi_expected_distance
from irob.core.check import InputError


def test_two_classes_attain_it():
    """K = 2, g the identity, f the sign of z_1: Pr[|z_1| > eta] = 2 Phi(-eta), also by Monte Carlo."""
    z = np.random.default_rng(0).normal(size=100_000)
    for eta in (0.0, 0.3, 1.0, 4.0):
        assert fawzi(2, eta, 1.0) == pytest.approx(1 - (2 * stats.norm.cdf(eta) - 1), rel=1e-9)
        assert fawzi(2, eta, 1.0) == pytest.approx(np.mean(abs(z) > eta), abs=0.005)


def test_published_form():
    """1 - sum_i [Phi(a_i + eta) - Phi(a_i)], for unequal classes."""
    p, eta = np.array([0.7, 0.2, 0.1]), 1.5 / 2.0
    a = stats.norm.ppf(1 - p)
    assert fawzi(p, 1.5, 2.0) == pytest.approx(1 - np.sum(stats.norm.cdf(a + eta) - stats.norm.cdf(a)), abs=1e-14)


@pytest.mark.parametrize("k", [5, 10, 100, 1000])
def test_order_of_the_forms(k):
    eta = np.linspace(0, 5, 101)
    exact, simplified, classes = (fawzi(k, eta, 1.0, form) for form in ("exact", "simplified", "classes"))
    assert np.all(exact <= classes + 1e-12) and np.all(classes <= simplified + 1e-12)


def test_vacuous_as_the_paper_says_but_for_the_exact_form():
    for form in ("simplified", "classes"):
        assert np.all(fawzi(10, np.array([1.0, 2.0, 3.0]), 27.01, form) > 1)
    np.testing.assert_allclose(fawzi(10, np.array([1.0, 2.0, 3.0]), 27.01), [0.937, 0.876, 0.819], atol=5e-4)


@pytest.mark.parametrize("probabilities", [2, 10, (0.6, 0.3, 0.1), (0.5, 0.5, 0.0)])
def test_expected_distance_is_the_integral(probabilities):
    area, _ = integrate.quad(lambda e: fawzi(probabilities, e, 3.0), 0, 60, limit=200)
    assert fawzi_expected_distance(probabilities, 3.0) == pytest.approx(area, rel=1e-6)


def test_expected_distance_of_two_classes():
    assert fawzi_expected_distance(2, 1.0) == pytest.approx(np.sqrt(2 / np.pi))
    assert fawzi_expected_distance(10, 1.0, "classes") > fawzi_expected_distance(10, 1.0)


@pytest.mark.parametrize(("args", "options"), [
    ((1, 1.0, 1.0), {}), (([1.0], 1.0, 1.0), {}), (([0.5, 0.6], 1.0, 1.0), {}), ((10, -1.0, 1.0), {}),
    ((10, 1.0, 0.0), {}), ((10, 1.0, [1.0, 2.0]), {}), ((10, 1.0, 1.0), {"form": "Exact"}),
    (([0.6, 0.4], 1.0, 1.0), {"form": "simplified"}), ((4, 1.0, 1.0), {"form": "classes"}),
    (([0.3, 0.2, 0.2, 0.2, 0.1], 1.0, 1.0), {"form": "classes"}), ((2.5, 1.0, 1.0), {}),
], ids=str)
def test_bad_input(args, options):
    with pytest.raises(InputError):
        fawzi(*args, **options)
