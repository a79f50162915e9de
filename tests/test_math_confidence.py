"""Exact shares against scipy, and the simultaneous band against its closed forms and by simulation."""

import numpy as np
import pytest
from scipy import stats

from irob.math.confidence import all_below, band, clopper_pearson, ladder, share_below, together
from irob.math.quantiles import coverage, needed, supported_delta


@pytest.mark.parametrize("n", [1, 7, 1000])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_clopper_pearson_against_scipy(n, confidence):
    hits = np.unique([0, 1, n // 3, n - 1, n])
    low, high = clopper_pearson(hits, n, confidence)
    for i, h in enumerate(hits):
        for side, alternative in (("two", "two-sided"), ("lower", "greater"), ("upper", "less")):
            found = clopper_pearson(int(h), n, confidence, side)
            truth = stats.binomtest(int(h), n, 0.5, alternative).proportion_ci(confidence, "exact")
            wanted = {"two": tuple(truth), "lower": truth.low, "upper": truth.high}[side]
            assert found == pytest.approx(wanted, abs=1e-12)
        assert (low[i], high[i]) == clopper_pearson(h, n, confidence)


def test_clopper_pearson_covers():
    """Exactly, by summing over all outcomes; never less than it says."""
    n, hits = 40, np.arange(41)
    for p in np.linspace(0.01, 0.99, 25):
        weights = stats.binom.pmf(hits, n, p)
        low, high = clopper_pearson(hits, n, 0.9)
        assert np.sum(weights[(low <= p) & (p <= high)]) >= 0.9
        assert np.sum(weights[clopper_pearson(hits, n, 0.9, "lower") <= p]) >= 0.9
        assert np.sum(weights[clopper_pearson(hits, n, 0.9, "upper") >= p]) >= 0.9


def test_share_below_is_the_supported_delta():
    """The same statement from the other end: x_(n - k + 1) covers the (1 - delta)-quantile."""
    for n, k in ((10, 1), (1000, 1), (1000, 7), (5, 5)):
        delta = share_below(k, n, 0.95)
        assert delta == pytest.approx(supported_delta(n, 0.95, n - k + 1), abs=1e-12)
        assert coverage(n, n - k + 1, 1 - delta) == pytest.approx(0.95, abs=1e-9)


def test_all_below_closed_forms():
    """One statement is a binomial tail; k and k = n are known; two by summing over the first count."""
    assert all_below(30, [4], [0.2]) == pytest.approx(stats.binom.sf(3, 30, 0.2), abs=1e-11)
    assert all_below(6, range(1, 7), [1.0] * 6) == pytest.approx(1.0, abs=1e-11)
    # Daniels: a line from the origin through (1, t), t > 1, is above the empirical distribution with probability
    # 1 - 1/t; mirrored, U_(k) <= 1 - (n - k + 1) / (n t) for all k.
    for n, t in ((1, 2.0), (20, 1.5), (20, 3.0), (200, 10.0)):
        ks = np.arange(1, n + 1)
        assert all_below(n, ks, 1 - (n - ks + 1) / (n * t)) == pytest.approx(1 - 1 / t, abs=1e-10)
    one, two = 0.1, 0.25
    first = stats.binom.pmf(np.arange(21), 20, one)
    rest = [stats.binom.sf(4 - j, 20 - j, (two - one) / (1 - one)) for j in range(21)]
    wanted = sum(first[j] * rest[j] for j in range(2, 21))
    assert all_below(20, [2, 5], [one, two]) == pytest.approx(wanted, abs=1e-11)


@pytest.mark.parametrize("n", [1, 20, 300])
def test_band_covers_by_simulation(n):
    """All statements at once hold as often as they claim, and no more: the recursion is exact."""
    ks = np.arange(1, min(n, 40) + 1)
    b, level = band(n, 0.9, ks)
    u = np.sort(np.random.default_rng(n).uniform(size=(20_000, n)), axis=1)
    assert np.mean(np.all(u[:, ks - 1] <= b, axis=1)) == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 20_000))
    assert level >= 0.9 and (1 - level) * len(ks) >= 0.1 - 1e-9  # between one statement's and Bonferroni's


def test_ladder_is_fixed_by_n():
    assert ladder(1).tolist() == [1]
    for n in (2, 10, 1000, 100_000):
        ks = ladder(n)
        assert ks[0] == 1 and np.all(np.diff(ks) > 0) and 0.05 * n <= ks[-1] <= n


def test_needed_is_the_least():
    for delta in (0.5, 0.01, 0.001):
        for confidence in (0.5, 0.95, 0.99):
            n = needed(delta, confidence)
            assert share_below(1, n, confidence) <= delta + 1e-12
            assert n == 1 or share_below(1, n - 1, confidence) > delta


@pytest.mark.parametrize("bad", [
    (-1, 10, 0.9), (11, 10, 0.9), (0, 0, 0.9), (1.5, 10, 0.9), (1, 10, 1.0), (1, 10, 0.0), (np.nan, 10, 0.9),
])
def test_bad_input(bad):
    with pytest.raises(ValueError):
        clopper_pearson(*bad)


def test_other_bad_input():
    for ks in ([], [0, 1], [2, 2], [11]):
        with pytest.raises(ValueError):
            band(10, 0.9, ks)
    for bad in ((0.0, 0.9), (1.0, 0.9), (0.1, 1.0)):
        with pytest.raises(ValueError):
            needed(*bad)
    with pytest.raises(ValueError):
        clopper_pearson(1, 10, 0.9, "both")


def test_statements_hold_together_as_often_as_their_union_bound_says():
    """Two ends at 0.95 that fail on disjoint events hold together with 0.9 and no more; one at 1 costs nothing."""
    u = np.random.default_rng(0).uniform(size=100_000)
    held = np.mean((u > 0.05) & (u < 0.95))
    assert together(0.95, 0.95) == 0.9 == pytest.approx(held, abs=0.005)
    assert together(0.95, 1.0) == 0.95 and together(*[0.5] * 3) == 0 and together() == 1
