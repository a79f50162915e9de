"""Adversarial spheres: the cap attains the mean distance, other regions of its measure do not."""

import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gamma, ndtri

from irob import bounds
from irob.bounds.gilmer_2018 import cap_angle
from irob.core.check import InputError


def sphere(n, count=40000):
    x = np.random.default_rng(n).normal(size=(count, n))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def to_cap(cosine, start):
    return 2 * np.sin(np.maximum(np.arccos(cosine) - start, 0) / 2)


@pytest.mark.parametrize("n", [2, 3, 20])
@pytest.mark.parametrize("mu", [0.7, 0.1, 0.01])
def test_the_cap_attains_it(mu, n):
    cosine = sphere(n)[:, 0]
    start = cap_angle(mu, n)
    assert np.mean(np.arccos(cosine) <= start) == pytest.approx(mu, abs=0.006)
    assert np.mean(to_cap(cosine, start)) == pytest.approx(bounds.gilmer_mean_distance(mu, n), abs=0.01)


@pytest.mark.parametrize("n", [2, 3, 20, 500])
@pytest.mark.parametrize("mu", [0.1, 0.01])
def test_two_opposite_caps_of_the_same_measure_lie_nearer(mu, n):
    start = cap_angle(mu / 2, n)
    cosine = np.abs(sphere(n, 4000)[:, 0])
    assert np.mean(to_cap(cosine, start)) < bounds.gilmer_mean_distance(mu, n) - 0.002


@pytest.mark.parametrize(("mu", "n"), [(0.3, 2), (0.01, 3), (0.9, 10), (0.001, 50)])
def test_against_adaptive_quadrature(mu, n):
    c = gamma(n / 2) / gamma((n - 1) / 2) / np.sqrt(np.pi)
    start = cap_angle(mu, n)
    assert quad(lambda t: c * np.sin(t) ** (n - 2), 0, start)[0] == pytest.approx(mu, rel=1e-6)
    wanted, _ = quad(lambda t: c * np.sin(t) ** (n - 2) * 2 * np.sin((t - start) / 2), start, np.pi)
    assert bounds.gilmer_mean_distance(mu, n) == pytest.approx(wanted, rel=1e-6)


def test_numbers_of_the_specification_and_the_limit_of_many_dimensions():
    assert [round(bounds.gilmer_mean_distance(mu, 500), 4) for mu in (0.1, 0.01, 0.001)] == [0.0595, 0.1042, 0.1381]
    for n in (10**4, 10**6):
        assert bounds.gilmer_mean_distance(1e-4, n) * np.sqrt(n) == pytest.approx(-ndtri(1e-4), rel=0.01)


def test_it_falls_with_the_measure():
    found = [bounds.gilmer_mean_distance(mu, 50) for mu in (1e-6, 0.01, 0.3, 0.5, 0.9, 0.999999)]
    assert all(a > b >= 0 for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(("mu", "n", "said"), [
    (0.0, 5, "mu: got 0"), (1.0, 5, "mu: got 1"), (-0.1, 5, "mu"), (0.1, 1, "n: got 1"), ("a", 5, "mu: got 'a'"),
])
def test_bad_input_is_named_in_one_line(mu, n, said):
    with pytest.raises(InputError) as e:
        bounds.gilmer_mean_distance(mu, n)
    assert said in str(e.value) and "\n" not in str(e.value)
