"""Gaussian expansion against scipy, at the edges, and in the tails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from irob.math.gaussian import expansion, remainder

MEASURES = st.floats(0.0, 1.0)
STEPS = st.floats(0.0, 30.0)


def test_against_scipy():
    m, t = np.meshgrid(np.linspace(0.001, 0.999, 41), np.linspace(-4, 4, 17))
    wanted = stats.norm.cdf(stats.norm.ppf(m) + t)
    np.testing.assert_allclose(expansion(m, t), wanted, rtol=1e-12)
    np.testing.assert_allclose(remainder(m, t), stats.norm.sf(stats.norm.ppf(m) + t), rtol=1e-12)


@pytest.mark.parametrize("t", [-np.inf, -3.0, 0.0, 1e-300, 5.0, np.inf])
def test_nothing_and_everything_stay(t):
    assert expansion(0.0, t) == 0 and expansion(1.0, t) == 1
    assert remainder(0.0, t) == 1 and remainder(1.0, t) == 0


def test_zero_step_is_exact():
    m = np.random.default_rng(0).random(1000)
    assert np.array_equal(expansion(m, 0.0), m)


def test_small_tails_keep_their_digits():
    """At risk 0.01 and 10 standard deviations, 1 - Phi(7.67) has no digit left in float32; Phi(-7.67) = 8.40e-15."""
    np.testing.assert_allclose(remainder(0.01, 10.0), stats.norm.sf(stats.norm.ppf(0.01) + 10), rtol=1e-12)
    np.testing.assert_allclose(remainder(1e-300, 1.0), 1.0)
    np.testing.assert_allclose(expansion(1e-300, 1.0), stats.norm.cdf(stats.norm.ppf(1e-300) + 1), rtol=1e-10)
    assert remainder(0.5, 37.0) > 0


@given(MEASURES, STEPS)
def test_sets_never_shrink(m, t):
    assert m <= expansion(m, t) <= 1 and expansion(m, -t) <= m
    assert abs(expansion(m, t) + remainder(m, t) - 1) < 1e-15


@given(MEASURES, st.floats(0, 4), st.floats(0, 4))
def test_steps_add_up(m, s, t):
    """(E_s)_t = E_(s+t) for half-spaces."""
    if m not in (0.0, 1.0) and m > 1e-12 and expansion(m, s) < 1 - 1e-9:
        np.testing.assert_allclose(expansion(expansion(m, s), t), expansion(m, s + t), rtol=1e-6)
