"""Bounds from samples: coverage on distributions that are known, and bad input."""

import numpy as np
import pytest
from scipy import stats

from irob import bounds
from irob.bounds import OrderChoice
from irob.core.check import InputError
from irob.math.quantiles import needed

REPETITIONS = 2000
SHORTFALL = 4 * np.sqrt(0.05 * 0.95 / REPETITIONS)  # four standard deviations of a coverage of 0.95


class Spheres:
    """Growths of the sphere toy: rho = |z| sin(a) with a = 2 asin(epsilon / 2 R_y), and |z| has a chi law."""

    d = 6

    def __init__(self, epsilon: float, radii, p):
        self.factor = np.sin(2 * np.arcsin(epsilon / (2 * np.asarray(radii))))
        self.p = np.asarray(p)

    def draw(self, rng, sizes) -> list:
        return [f * np.sqrt(rng.chisquare(self.d, n)) for f, n in zip(self.factor, sizes)]

    def missed(self, thresholds) -> float:
        return float(self.p @ stats.chi.cdf(np.asarray(thresholds) / self.factor, self.d))

    def best(self, alpha: float, family: str) -> float:
        """What an infinite sample gives: the least bound over common thresholds."""
        def value(t):
            return bounds.intrinsic_robustness_upper_from_radius(
                alpha, np.full(len(self.p), t), self.p, self.missed(t), family)
        return min(value(t) for t in np.geomspace(1e-3, 2.0, 300))


MODELS = {
    "one class": (Spheres(0.2, [0.4], [1.0]), [400]),
    "alike": (Spheres(0.2, [0.4, 0.41, 0.39], [1 / 3] * 3), [150] * 3),
    # All that is missed is of one class: the numbers of codes are as far from draws of the mixture as can be.
    "unlike": (Spheres(0.2, [0.3, 0.15, 0.14], [0.5, 0.3, 0.2]), [400, 240, 180]),
}


@pytest.mark.parametrize("scheme", ["pilot", "simultaneous"])
@pytest.mark.parametrize("name", MODELS)
def test_the_selected_pair_covers(name, scheme):
    """At the thresholds that were selected, no more codes are missed than said, and the bound is no lower than the
    best that there is; each in at least 95 % of 2,000 repetitions."""
    model, sizes = MODELS[name]
    rng, family = np.random.default_rng(1), "per_class" if name == "alike" else "overall"
    best, pairs, values, orders = model.best(0.1, family), [], [], set()
    for _ in range(REPETITIONS):
        found = bounds.with_confidence(
            model.draw(rng, sizes), 0.1, family=family, priors=model.p, order=OrderChoice(scheme=scheme))
        pairs.append(model.missed(found.growth) <= found.delta)
        values.append(found.value >= best - 1e-12)
        orders.add(found.order)
    assert np.mean(pairs) >= 0.95 - SHORTFALL
    assert family == "per_class" or np.mean(values) >= 0.95 - SHORTFALL
    assert len(orders) > 1  # there was something to select


def test_a_choice_on_the_same_codes_would_not_cover():
    """The test can fail: the best of all order statistics, each with its own 95 %."""
    model, sizes = MODELS["one class"]
    rng, covered = np.random.default_rng(1), []
    from irob.math.confidence import share_below

    orders = np.arange(1, 60)
    shares = share_below(orders, sizes[0], 0.95)
    for _ in range(400):
        t = np.sort(model.draw(rng, sizes)[0])[orders - 1]
        gain = [bounds.gaussian_expansion(0.1, v) - d for v, d in zip(t, shares)]
        i = int(np.argmax(gain))
        covered.append(model.missed(t[i : i + 1]) <= shares[i])
    assert np.mean(covered) < 0.93


def test_alpha_from_a_test_set_covers():
    """Errors on a finite test set and codes of a finite sample: together at the confidence that was asked for."""
    model, sizes = MODELS["one class"]
    rng, truth = np.random.default_rng(2), 0.1
    best, covered = model.best(truth, "overall"), []
    for _ in range(REPETITIONS):
        hits = int(rng.binomial(500, truth))
        found = bounds.with_confidence(model.draw(rng, sizes), (hits, 500))
        covered.append(found.value >= best - 1e-12)
    assert np.mean(covered) >= 0.95 - SHORTFALL
    assert found.of_alpha == found.of_delta == 0.975 and found.alpha < hits / 500


def test_the_risk_of_the_best_of_several_covers():
    """Four classifiers, the best of them tried on few images: the risk that enters is at most the least of the true
    ones as often as it says; the end of the one with the fewest errors in a hundred is not."""
    rng, truth, n = np.random.default_rng(4), np.array([0.005, 0.008, 0.008, 0.008]), np.array([100] + [10_000] * 3)
    covered, naive = [], []
    for _ in range(300):
        hits = rng.binomial(n, truth)
        pairs, growth = [*zip(hits.tolist(), n.tolist())], np.full(20, 2.0)
        found = bounds.with_confidence(growth, pairs, confidence=0.9)
        one = bounds.with_confidence(growth, pairs[int(np.argmin(hits / n))], confidence=0.9)
        covered.append(found.alpha <= truth.min())
        naive.append(one.alpha <= truth.min())
    assert found.of_alpha == 0.95 <= np.mean(covered) and np.mean(naive) < 0.9
    assert "of 4 classifiers" in found.assumptions[0]
    assert bounds.with_confidence(growth, [(5, 400)]).alpha == bounds.with_confidence(growth, (5, 400)).alpha


def test_against_scipy_quantile_test():
    """For a wanted delta and one class, the threshold is scipy's one-sided confidence bound of that quantile."""
    values = np.random.default_rng(3).gamma(9.0, size=3000)
    for delta in (0.001, 0.01, 0.2):
        high = stats.quantile_test(values, q=0.0, p=1 - delta, alternative="less").confidence_interval(0.95).high
        found = bounds.with_confidence(values, 0.015, 3.0, order=OrderChoice(delta, "simultaneous"))
        assert found.constants[0] == pytest.approx(high) and found.delta <= delta
    lowest = stats.quantile_test(values[:400], q=0.0, p=0.01, alternative="greater").confidence_interval(0.95).low
    assert bounds.with_confidence(values[:400], 0.1, order=OrderChoice(0.01)).growth[0] == pytest.approx(lowest)


def test_constants_and_radii_agree():
    """Constants within a radius are escape radii min(r, epsilon / L)."""
    constants = np.random.default_rng(4).gamma(16.0, 0.5, size=(4, 300))
    for family in ("overall", "per_class"):
        a = bounds.with_confidence(constants, 0.05, 2.0, radius=0.3, family=family)
        b = bounds.with_confidence(np.minimum(0.3, 2.0 / constants), 0.05, family=family)
        assert a.value == b.value and np.allclose(a.constants * b.growth, 2.0) and b.constants is None


def test_the_value_is_the_theorem_s():
    constants = np.random.default_rng(5).gamma(16.0, 0.5, size=(3, 400))
    p = [0.5, 0.25, 0.25]
    for family in ("overall", "per_class"):
        found = bounds.with_confidence(constants, 0.05, 2.0, priors=p, family=family)
        assert found.value == bounds.intrinsic_robustness_upper(0.05, 2.0, found.constants, p, found.delta, family)
        assert found.measured + found.chose == 800


def test_isometric_generators_lose_only_delta():
    """Every code has the same constant: the closed form, plus the share that so many codes cannot rule out."""
    found = bounds.with_confidence(np.full((2, 1000), 4.0), 0.1, 2.0)
    exact = bounds.intrinsic_robustness_upper(0.1, 2.0, [4.0, 4.0])
    assert found.value == pytest.approx(exact + found.delta, abs=1e-12)
    assert found.order == 1 and found.delta == pytest.approx(1 - 0.05 ** (1 / 1900))


def test_more_codes_and_less_confidence_are_tighter():
    constants = np.random.default_rng(6).gamma(60.0, 0.15, size=(10, 3000))
    few, many = (bounds.with_confidence(constants[:, :n], 0.015, 3.0) for n in (100, 3000))
    bold = bounds.with_confidence(constants, 0.015, 3.0, confidence=0.5)
    assert bold.value < many.value < few.value <= 0.985


def test_order_of_the_values_does_not_matter_to_what_is_claimed():
    """Sorted values are shuffled before the pilot is taken, so that it is a sample and not the lowest part."""
    constants = np.sort(np.random.default_rng(7).gamma(60.0, 0.15, size=1000))
    found = bounds.with_confidence(constants, 0.015, 3.0)
    assert np.mean(constants > found.constants[0]) <= found.delta


def test_extremes():
    assert bounds.with_confidence([np.inf] * 1000, 0.1).value == pytest.approx(0.003, abs=4e-4)
    assert bounds.with_confidence([0.0] * 1000, 0.1).value == 0.9
    assert bounds.with_confidence([0.0] * 1000, 0.1, 1.0).growth[0] == 40.0  # a constant generator
    two = bounds.with_confidence([3.0, 2.0], 0.1, 1.0)
    assert two.delta == pytest.approx(1 - 0.05**0.5) and two.value == 0.9 and two.chose == 0
    assert bounds.with_confidence(np.ones((3, 50)), 0.1, priors=[1.0, 0.0, 0.0]).measured == 50


@pytest.mark.parametrize("scheme", ["pilot", "simultaneous"])
def test_vacuous_results_say_so_and_how_many_codes_help(scheme):
    """Constant growth: the number that is named is enough, nine tenths of it are not; a result that says something
    has no such note."""
    def found(n, alpha=0.015):
        return bounds.with_confidence(np.full((2, n // 2), 30.0), alpha, 3.0, order=OrderChoice(scheme=scheme))

    few = found(200)
    assert few.value == 1 - 0.015 and "200 codes are too few" in few.vacuous and few.vacuous == few.assumptions[-1]
    assert few.vacuous in few.bound(3.0, "upper").assumptions
    count = int(few.vacuous.rsplit("about ", 1)[1].replace(",", ""))
    slack = 1.1 if scheme == "pilot" else 1.5  # the more codes, the more statements at once
    assert found(int(slack * count) + 2).vacuous == "" and found(int(0.9 * count)).vacuous
    assert "more test images" in found(200, (0, 500)).vacuous
    assert "would not help" in bounds.with_confidence(np.zeros(500), 0.1).vacuous
    spread = bounds.with_confidence(np.r_[np.full(30, 0.01), np.full(470, 1.0)], 0.05, order=OrderChoice(scheme=scheme))
    if scheme == "simultaneous":
        assert spread.vacuous == "" and spread.order > 30, "some codes that grow little are given up"
    else:
        assert 'scheme="simultaneous" may help' in spread.vacuous, "the pilot's normal fit does not see two kinds"


def test_as_evidence():
    found = bounds.with_confidence(np.full(3000, 4.0), (30, 1000), 2.0)
    certified, estimate = found.bound(2.0, "upper"), found.bound(2.0, "lower")
    assert certified.certified and not estimate.certified and "certified" in estimate.assumptions[-1]
    assert "30 errors on 1000 images" in certified.assumptions[0] and str(certified.threat) == "l2 2"


@pytest.mark.parametrize("bad", [
    {"values": []}, {"values": [np.nan, 1.0]}, {"values": [-1.0]}, {"values": np.zeros((2, 2, 2))}, {"values": "a"},
    {"values": [[1.0], []]}, {"alpha": 1.1}, {"alpha": (5, 3)}, {"alpha": (1, 2, 3)}, {"alpha": "a"},
    {"epsilon": 0.0}, {"epsilon": -1.0}, {"epsilon": np.nan}, {"radius": 0.0}, {"radius": np.nan},
    {"confidence": 0.0}, {"confidence": 1.0}, {"confidence": np.nan}, {"delta": 0.0}, {"delta": 1.0},
    {"family": "both"}, {"scheme": "best"}, {"priors": [0.5, 0.5]}, {"epsilon": None, "radius": 0.5},
], ids=str)
def test_bad_input(bad):
    given = {"values": np.ones(100), "alpha": 0.1, "epsilon": 1.0, **bad}
    order = {k: given.pop(k) for k in ("delta", "scheme") if k in given}
    with pytest.raises(InputError) as e:
        bounds.with_confidence(given.pop("values"), given.pop("alpha"), **given, order=OrderChoice(**order))
    assert "\n" not in str(e.value) and len(str(e.value)) > 20


@pytest.mark.parametrize("scheme", ["pilot", "simultaneous"])
def test_too_few_codes_say_how_many_it_takes(scheme):
    with pytest.raises(InputError, match="at least") as e:
        bounds.with_confidence(np.ones(1000), 0.1, 1.0, order=OrderChoice(0.001, scheme))
    count = int(str(e.value).split("at least ")[1].split()[0])
    assert count == needed(0.001, 0.95) == 2995
    assert bounds.with_confidence(np.ones(count), 0.1, 1.0, order=OrderChoice(0.001, scheme)).delta <= 0.001


def test_latent_codes():
    assert bounds.gaussian_latent("normal") == ()
    with pytest.raises(InputError, match="uniform"):
        bounds.gaussian_latent("uniform")
    assert "uniform" in bounds.gaussian_latent("uniform", assume=True)[0]
