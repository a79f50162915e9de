"""Spheres and cubes of bounded density: half-spheres attain, half-cubes in the limit, samples stay below."""

import numpy as np
import pytest
from scipy.special import ndtr

from irob import bounds
from irob.core.check import InputError


def test_a_half_cube_attains_it_as_epsilon_vanishes():
    """Its expansion by epsilon has 1/2 + epsilon, against Phi(epsilon sqrt(2 pi)): .5500 and .5499 at .05."""
    assert 1 - bounds.shafahi_cube(0.05, 1.0) == pytest.approx(0.5499, abs=5e-5)
    e = np.array([0.2, 0.1, 0.05, 0.01, 0.001])
    gap = bounds.shafahi_cube(e, 1.0) - (0.5 - e)  # what the bound leaves over
    assert np.all(gap >= 0) and np.all(np.diff(gap / e) < 0) and gap[-1] / e[-1] < 1e-5


@pytest.mark.parametrize("n", [2, 3, 10, 500])
def test_a_half_sphere_attains_it(n):
    x = np.random.default_rng(n).normal(size=(20000, n))
    angle = np.arccos(x[:, 0] / np.linalg.norm(x, axis=1))  # the half-sphere of angles up to pi / 2 is wrong
    for e in (0.0, 0.02, 0.1, 0.5):
        assert np.mean(angle > np.pi / 2 + e) == pytest.approx(bounds.shafahi_sphere(e, 1.0, n), abs=0.012)


def test_closed_forms_on_the_circle_and_the_ball():
    e = np.linspace(0, 2, 9)
    assert bounds.shafahi_sphere(e, 1.0, 2) == pytest.approx(np.maximum(0.5 - e / np.pi, 0))
    assert bounds.shafahi_sphere(e, 1.0, 3) == pytest.approx(np.where(e < np.pi / 2, (1 - np.sin(e)) / 2, 0))
    assert bounds.shafahi_cube(e, 1.0) == pytest.approx(ndtr(-e * np.sqrt(2 * np.pi)))


def test_sharp_forms_are_below_the_papers():
    e = np.linspace(0.01, 2, 50)
    for v in (1.0, 3.0):
        assert np.all(bounds.shafahi_cube(e, v) <= bounds.shafahi_cube(e, v, "paper") + 1e-15)
        for n in (3, 10, 500):
            assert np.all(bounds.shafahi_sphere(e, v, n) <= bounds.shafahi_sphere(e, v, n, "paper") + 1e-15)
    assert (round(bounds.shafahi_cube(0.5, 1.0), 3), round(bounds.shafahi_cube(0.5, 1.0, "paper"), 3)) == (0.105, 0.145)


def test_no_region_of_the_cube_does_better():
    """Balls about a corner and thick diagonal slabs, of at least half the measure, at their true distances."""
    x = np.random.default_rng(0).uniform(size=(20000, 3))
    for score in (np.linalg.norm(x, axis=1), x.sum(axis=1) / np.sqrt(3), x[:, 0]):
        away = np.maximum(score - np.median(score), 0)
        for e in (0.05, 0.2, 0.4):
            assert np.mean(away > e) <= bounds.shafahi_cube(e, 1.0) + 0.01


def test_density_scales_it_up_to_nothing_said():
    assert bounds.shafahi_cube(0.5, 3.0) == pytest.approx(3 * bounds.shafahi_cube(0.5, 1.0))
    assert bounds.shafahi_cube(0.5, 1e9) == bounds.shafahi_sphere(0.1, 1e9, 5) == 1.0
    assert bounds.shafahi_cube(0.0, 1.0) == 0.5 and bounds.shafahi_cube(0.0, 1.0, "paper") == 1.0
    assert bounds.shafahi_sphere(9.0, 1.0, 5) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(("call", "said"), [
    (lambda: bounds.shafahi_cube(-0.1, 1.0), "epsilon: got -0.1"),
    (lambda: bounds.shafahi_cube(np.nan, 1.0), "epsilon"),
    (lambda: bounds.shafahi_cube(0.1, 0.9), "density: got 0.9"),
    (lambda: bounds.shafahi_cube(0.1, 1.0, "papr"), "did you mean 'paper'"),
    (lambda: bounds.shafahi_sphere(0.1, 1.0, 1), "n: got 1"),
    (lambda: bounds.shafahi_sphere(0.1, 1.0, 2.5), "n: got 2.5"),
])
def test_bad_input_is_named_in_one_line(call, said):
    with pytest.raises(InputError) as e:
        call()
    assert said in str(e.value) and "\n" not in str(e.value)
