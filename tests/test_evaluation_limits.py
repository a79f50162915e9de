"""The limit from both sides on an isometry, where every method must agree; laws that catch what contradicts."""

import dataclasses

import jax
import numpy as np
import pytest

from irob import generators
from irob.bounds import intrinsic_robustness_upper_from_radius
from irob.core import store
from irob.core.check import InputError
from irob.core.evidence import Report
from irob.core.laws import EvidenceError
from irob.core.rows import RUNGS, Natural, Number, Quantity, select
from irob.evaluation.limits import both_sides, constants, sampled, upper
from irob.math.confidence import clopper_pearson
from irob.report import limits as shown

PLAN = constants.ConstantsPlan(sampled=30, ascent=400, certified=400, compared=6, pilot=3, neighbours=20, radius=4.0,
                  radii=(0.1, 1.0), epsilons=(0.3, 0.6))
ALPHA = 0.05


@pytest.fixture(scope="module")
def isometry():
    """Every chord has slope 0.5."""
    return generators.build("affine", key=jax.random.key(1), latent_dim=4, num_classes=2, image_shape=(4, 4, 1),
                            singular_values=np.full(4, 0.5))


@pytest.fixture(scope="module")
def measured(isometry):
    return constants.measure(jax.random.key(0), isometry, PLAN)


@pytest.fixture(scope="module")
def rows(isometry):
    risks = [sampled.Risk(ALPHA, "as asked for"), sampled.Risk((200, 2000), "errors")]
    return both_sides.both(jax.random.key(0), isometry, PLAN, risks, fresh=4000, name="g", task=store.Task("d"))


def test_every_method_finds_the_slope_of_an_isometry(measured):
    for name, n in (("orthant", 30), ("ball", 30), ("maximised", 400), ("certified", 6)):
        np.testing.assert_allclose(measured.constants[name], 0.5, rtol=1e-3)
        assert len(measured.constants[name]) == n
    for e in PLAN.epsilons:
        np.testing.assert_allclose(measured.found[e], e / 0.5, rtol=1e-3)
        # One certificate at a share of the pilot's radius, which is exact here.
        np.testing.assert_allclose(measured.kept[e], constants.PILOT * e / 0.5, rtol=1e-2)
    assert [len(v) for v in measured.by_class(measured.found[0.3])] == [200, 200]
    upper.lawful(measured)


def test_more_codes_begin_with_the_same(isometry):
    few, many = (constants.draw(jax.random.key(3), isometry, n) for n in (5, 450))
    np.testing.assert_array_equal(few[0], many[0][:5])
    assert many[0].shape == (450, 4) and np.unique(many[0][:, 0]).size == 450


def test_pieces_give_the_same_again(isometry, measured, tmp_path):
    first = constants.measure(jax.random.key(0), isometry, PLAN, pieces=store.Pieces(tmp_path))
    sorted(tmp_path.rglob("*.npz"))[0].unlink()
    kept = store.Pieces(tmp_path)
    again = constants.measure(jax.random.key(0), isometry, PLAN, pieces=kept)
    assert kept.reused > 10 and kept.computed == 1
    for e in PLAN.epsilons:
        np.testing.assert_array_equal(first.found[e], again.found[e])
        np.testing.assert_array_equal(measured.kept[e], again.kept[e])


def test_the_ladder_closes_in_on_the_closed_form(rows):
    """On an isometry the limit is h(alpha; epsilon / slope): estimates meet it, confident ends lie above."""
    for e in PLAN.epsilons:
        truth = float(intrinsic_robustness_upper_from_radius(ALPHA, [e / 0.5] * 2))
        low, high = shown.ends(rows, "d", ALPHA, "overall", e)
        by = {r.detail.rung: r for r in high}
        assert set(by) == set(RUNGS)
        for name in ("sampled", "maximised", "escape"):
            assert by[name].value == pytest.approx(truth + upper.DELTA, abs=2e-4) and not by[name].certified
        assert truth <= by["supported"].value <= truth + 0.02 and not by["supported"].certified
        assert truth <= by["certified"].value <= 1 - ALPHA and by["certified"].certified
        assert by["global"].value == pytest.approx(truth, abs=2e-4) and by["global"].certified
        assert all(r.value <= truth + 1e-6 for r in low if r.certified)
        # The latent half-space attains the limit on an affine generator: the bracket closes.
        exact = next(r for r in low if r.detail.witness == "latent half-space")
        assert exact.value == pytest.approx(truth, abs=0.01)


def test_rows_tell_how_to_compute_them_again(rows):
    ends = [r for r in rows if r.quantity == Quantity.BOUND and r.side == "upper"]
    assert {r.detail.measured for r in ends} == {False, True}
    for r in ends:
        d = r.detail
        again = intrinsic_robustness_upper_from_radius(d.alpha, d.growth, delta=d.delta, family=d.family)
        assert r.value == pytest.approx(float(again), abs=1e-9), d.rung
        assert d.assumptions


def test_a_measured_risk_enters_with_its_lower_end(rows):
    found = select(rows, Quantity.BOUND, measured=True)
    assert found and all(r.detail.alpha < 0.1 for r in found)
    assert {r.detail.rung for r in found} == {"supported", "certified"}


def test_what_the_rows_become(rows):
    Report(tuple(rows), {}).check()
    text = [line.label for line in shown.ladder(rows, "d").lines]
    assert "width between certified ends, points" in text
    assert [c.text for c in shown.ratios(rows, "d").lines[-1].cells] == ["1.00", "1.00"]
    assert len(shown.constants(rows, "d").lines) == 3
    assert "Proved" in shown.words(rows, "d")


@pytest.mark.parametrize("change", ["constants", "compared", "found"])
def test_a_certificate_on_the_wrong_side_is_refused(measured, change):
    wrong = {
        "constants": {"constants": {**measured.constants, "certified": np.full(6, 0.49)}},
        "compared": {"compared": {0.1: (np.full(6, 0.5), np.full(6, 0.4))}},
        "found": {"found": {**measured.found, 0.3: np.full(400, 0.3)}},
    }[change]
    with pytest.raises(EvidenceError, match="code 0"):
        upper.lawful(dataclasses.replace(measured, **wrong))


@pytest.mark.parametrize("change", [
    {"sampled": -1}, {"neighbours": 0}, {"radius": 0.0}, {"radii": (0.1, -1.0)}, {"epsilons": (0.0,)}, {"pilot": 0}])
def test_plans_out_of_range(change):
    with pytest.raises(InputError):
        constants.ConstantsPlan(**change)


def test_an_assumption_takes_every_certificate_away(rows):
    note = "latent codes are 'uniform'"
    noted = sampled.noted(rows, [note])
    ends = [r for r in noted if r.quantity == Quantity.BOUND]
    assert ends and all(note in r.detail.assumptions and not r.certified for r in ends)
    assert sampled.noted(rows, []) == rows


def test_the_error_free_of_several_gets_a_limit_that_covers():
    """Ten classifiers with a risk of 4 %, 100 images: whichever makes no error, the limit is above its risk."""
    rng, held = np.random.default_rng(0), []
    for _ in range(300):
        right = 1 - rng.binomial(100, 0.04, size=10) / 100
        lows = [1 - clopper_pearson(round(100 - 100 * v), 100, 0.95)[1] for v in right]
        rows = [Natural().row("d", f"m{i}", None, Number(v, low, 1.0, 100), "clean")
                for i, (v, low) in enumerate(zip(right, lows))]
        found = sampled.measured_alpha(rows)
        held.append(right.max() < 1 or found[0] >= 0.04)
    assert np.mean(held) >= 0.95


def test_the_measured_risk_is_that_of_the_best_of_all(rows):
    found = [Natural().row("d", m, None, Number(v, n=n), "clean")
             for m, v, n in (("a_adv", 0.99, 1000), ("b_adv", 0.97, 100), ("a_adv@3", 1.0, 100), ("c", 1.0, 10))]
    risk = sampled.measured_risk(found)
    assert risk.alpha == ((10, 1000), (3, 100)) and "a_adv, the most accurate of 2, on 1,000" in risk.source
