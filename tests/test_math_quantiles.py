"""Order statistics against scipy's quantile test, and their coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from irob.core.check import InputError
from irob.lipschitz import quantile as checked
from irob.lipschitz import supported_delta as checked_delta
from irob.math.quantiles import coverage, order_statistic, quantile, supported_delta


@pytest.mark.parametrize("n", [1, 2, 30, 999, 1000, 2994, 2995, 5000])
@pytest.mark.parametrize("q", [0.1, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_smallest_that_covers(n, q, confidence):
    k, achieved = order_statistic(n, q, confidence)
    assert achieved == pytest.approx(stats.binom.cdf(k - 1, n, q), abs=1e-9)
    assert k == n or achieved >= confidence - 1e-9
    assert k == 1 or coverage(n, k - 1, q) < confidence


def test_the_issue_s_numbers():
    """1,000 codes cover the 99.9 % quantile with probability 0.632; 2,995 with 0.95, 2,994 not."""
    assert quantile(np.arange(1000), 0.999, 0.95) == (999.0, pytest.approx(1 - 0.999**1000))
    assert order_statistic(2995, 0.999, 0.95)[1] >= 0.95 > order_statistic(2994, 0.999, 0.95)[1]


def test_against_scipy_quantile_test():
    """Its one-sided confidence bound for a quantile is the same order statistic."""
    x = np.random.default_rng(1).normal(size=400)
    for q in (0.5, 0.9, 0.98):
        upper = stats.quantile_test(x, q=0.0, p=q, alternative="less").confidence_interval(0.95).high
        assert quantile(x, q, 0.95)[0] == upper


def test_coverage_by_simulation():
    """The order statistic of 200 exponentials covers the true 0.97-quantile as often as it claims."""
    q, truth = 0.97, -np.log(0.03)
    x = np.sort(np.random.default_rng(2).exponential(size=(20_000, 200)), axis=1)
    k, achieved = order_statistic(200, q, 0.95)
    assert np.mean(x[:, k - 1] >= truth) == pytest.approx(achieved, abs=4 * np.sqrt(0.05 * 0.95 / 20_000))


@pytest.mark.parametrize("n", [1, 20, 1000, 10_000])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_supported_delta_is_the_inverse(n, confidence):
    for k in {n, max(1, n - 3)}:
        delta = supported_delta(n, confidence, k)
        assert coverage(n, k, 1 - delta) == pytest.approx(confidence, abs=1e-9)


@pytest.mark.parametrize(("values", "q", "confidence"), [
    ([], 0.5, 0.95), ([1.0, np.nan], 0.5, 0.95), ([1.0], 0.0, 0.95), ([1.0], 1.0, 0.95), ([1.0], 0.5, 1.0),
    ([1.0], np.nan, 0.95), (["a"], 0.5, 0.95),
])
def test_bad_input(values, q, confidence):
    with pytest.raises(InputError):
        checked(values, q, confidence)


@pytest.mark.parametrize(("n", "confidence"), [(0, 0.95), (10, 0.0), (10, 1.0), (10, np.nan)])
def test_bad_support(n, confidence):
    with pytest.raises(InputError):
        checked_delta(n, confidence)
