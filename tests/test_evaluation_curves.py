"""The curve of robust accuracy: closed forms, scipy's intervals, coverage, laws."""

import types

import jax
import numpy as np
import pytest
from scipy import stats

from irob import attacks
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.core.types import AttackResult
from irob.evaluation.accuracy import curves
from irob.report import curves as drawing
from irob.report import figures

RNG = np.random.default_rng(0)


def test_curve_by_brute_force():
    d = np.where(RNG.uniform(size=50) < 0.2, np.inf, RNG.integers(0, 9, 50) / 4)
    curve = curves.from_distances(d, largest=2.0, attack="fab")
    assert np.all(np.diff(curve.robust) <= 0) and np.all(np.diff(curve.epsilons) > 0)
    for i, e in enumerate(curve.epsilons):
        hits = sum(v > e for v in d)
        ci = stats.binomtest(hits, 50).proportion_ci(0.95, "exact")
        np.testing.assert_allclose([curve.robust[i], curve.low[i], curve.high[i]], [hits / 50, ci.low, ci.high])
    assert curve.at(1.1) == np.mean(d > 1.1)
    rows = curve.rows("data", "model")
    assert str(rows[0].threat) == "l2 0" and rows[-1].value == curve.robust[-1] and rows[0].side == "upper"


def test_coverage_of_interval_and_band():
    """Distances uniform on [0,1]: the truth is 1 - epsilon.  1,000 samples of 40; 3 standard deviations of slack."""
    at = np.linspace(0, 1, 21)
    found = [curves.from_distances(RNG.uniform(size=40), largest=1.0, epsilons=at) for _ in range(1000)]
    truth = 1 - at + 1e-12
    single = np.mean([(c.low <= truth) & (truth <= c.high + 1e-9) for c in found], axis=0)
    assert single.min() > 0.95 - 0.021
    whole = np.mean([np.all((c.band_low <= truth) & (truth <= c.band_high + 1e-9)) for c in found])
    together = np.mean([np.all((c.low <= truth) & (truth <= c.high + 1e-9)) for c in found])
    assert whole > 0.95 - 0.021 > together  # the pointwise intervals do not cover the curve as a whole


def test_only_minimum_norm_attacks_give_a_curve(key):
    result = AttackResult(None, None, np.array([True, True, False]), np.array([0.0, 0.5, 0.9]))
    fab = types.SimpleNamespace(minimum_norm=True, needs_generator=False, threat=LpBall("linf", 1.0))
    curve = curves.from_result(result, fab, "fab")
    assert curve.norm == "linf" and [curve.at(e) for e in (0, 0.49, 0.5, 0.95)] == pytest.approx([2/3, 2/3, 1/3, 1/3])
    with pytest.raises(InputError, match="works at one epsilon"):
        curves.from_result(result, attacks.build("pgd"), "pgd")
    assert jax.tree.structure(curve).num_leaves == 6


def test_figure():
    curve = curves.from_distances(RNG.uniform(size=30), largest=1.0)
    points = curves.points(curve.rows("d", "m")[3:5], "m")
    assert "<svg" in figures.svg(drawing.draw({"fab": curve}, [("pgd", *p[1:]) for p in points]), inline=True)
    assert not curves.points(curve.rows("d", "m"), "other")
    rising = types.SimpleNamespace(epsilons=[0, 1], robust=[0.1, 0.2])
    with pytest.raises(InputError, match="rises"):
        drawing.draw({"fab": rising})


@pytest.mark.parametrize(("distances", "options", "said"), [
    ([-1.0], {}, "numbers >= 0"), ([np.nan], {}, "numbers >= 0"), ([], {}, "numbers >= 0"),
    ([1.0], {"epsilons": [3.0]}, "epsilon"), ([1.0], {"epsilons": []}, "got none"),
    ([1.0], {"confidence": 1.0}, "strictly"),
])
def test_bad_input(distances, options, said):
    with pytest.raises(InputError, match=said):
        curves.from_distances(distances, largest=2.0, **options)
