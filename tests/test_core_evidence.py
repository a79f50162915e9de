"""The laws of a report: each can be broken, and breaking it raises."""

import dataclasses

import pytest

from irob.core.evidence import Bound, Report
from irob.core.laws import EvidenceError, comparable
from irob.core.rows import Row

NATURAL = Row("toy", "net", "none", "natural accuracy", 0.9, "exact", False, "clean", n=100)
ATTACKED = Row("toy", "net", "l2 1", "robust accuracy", 0.5, "upper", False, "pgd", 0.4, 0.6, 100)
CERTIFIED = Row("toy", "net", "l2 1", "robust accuracy", 0.4, "lower", True, "smoothing", n=100)
BOUND = Row("toy", "any", "l2 1", "intrinsic robustness", 0.8, "upper", False, "Theorem 4.4")


def report(*rows):
    return Report(rows, {"seed": 0})


def test_a_lawful_report_passes_and_comes_back():
    r = report(NATURAL, ATTACKED, CERTIFIED, BOUND)
    assert r.check() == ()
    assert Report.from_json(r.to_json()) == r


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        (CERTIFIED, {"value": 0.55}, "certified 0.55 exceeds"),
        (ATTACKED, {"value": 0.95, "high": 1.0}, "exceeds the natural accuracy"),
        (ATTACKED, {"value": 0.7}, "outside its interval"),
        (ATTACKED, {"value": 1.2, "high": 1.3}, "no accuracy"),
    ],
)
def test_unlawful_rows_raise(row, changes, message):
    with pytest.raises(EvidenceError, match=message):
        report(NATURAL, ATTACKED, dataclasses.replace(row, **changes)).check()


def test_numbers_of_different_definitions_are_not_compared():
    witness = Row("toy", "any", "l2 1", "intrinsic robustness", 0.7, "lower", True, "witness")
    assert (ATTACKED.definition, witness.definition, BOUND.definition) == ("label", "error region", "both")
    comparable(ATTACKED, BOUND), comparable(witness, BOUND)
    with pytest.raises(EvidenceError, match="different definitions"):
        comparable(ATTACKED, witness)
    width = Row("toy", "any", "l2 1", "bracket width", 0.1, "upper", True, "difference",
                detail={"lower definition": "error region", "upper definition": "both"})
    report(witness, width).check()
    with pytest.raises(EvidenceError, match="means nothing"):
        report(dataclasses.replace(width, detail={**width.detail, "upper definition": "label"})).check()


@pytest.mark.parametrize("changes", [
    {"definition": "error region"}, {"quantity": "robustness by an earlier bound", "definition": ""},
    {"quantity": "natural accuracy", "definition": "certain"}])
def test_every_robustness_names_its_own_definition(changes):
    with pytest.raises(EvidenceError, match="definition"):
        report(dataclasses.replace(ATTACKED, **changes)).check()


def test_an_attack_above_the_bound_is_a_discovery():
    low = dataclasses.replace(BOUND, value=0.3, detail={"alpha": 0.05})
    (found,) = report(NATURAL, ATTACKED, low, low).check()
    assert "exceeds the bound" in found
    assert report(NATURAL, ATTACKED, dataclasses.replace(low, value=0.45)).check() == ()  # within the interval: chance
    outside = dataclasses.replace(low, detail={"alpha": 0.2})  # the bound speaks of classifiers that err more
    assert report(NATURAL, ATTACKED, outside).check() == ()


def test_nan_is_refused():
    with pytest.raises(ValueError, match="JSON|nan"):
        report(dataclasses.replace(NATURAL, value=float("nan"))).to_json()


@pytest.mark.parametrize(
    ("side", "certified"), [("lower", False), ("estimate", False), ("upper", True), ("exact", True)]
)
def test_certified_is_computed(side, certified):
    inputs = (("alpha", "exact"), ("lipschitz", side))
    assert Bound(0.9, "upper", "intrinsic robustness", "l2 1", "4.4", inputs).certified is certified
    with pytest.raises(TypeError):
        Bound(0.9, "upper", "q", "t", "4.4", inputs, certified=True)


def limit(side, value, certified, **detail):
    return Row("d", "any", "l2 1", "intrinsic robustness", value, side, certified, f"{side} end",
               detail={"alpha": 0.1, "family": "overall", **detail})


def test_a_certified_witness_may_not_exceed_a_certified_limit():
    with pytest.raises(EvidenceError, match="certified 0.8500 exceeds"):
        Report((limit("lower", 0.85, True), limit("upper", 0.8, True)), {}).check()
    assert Report((limit("lower", 0.8, True), limit("upper", 0.85, True)), {}).check() == ()


@pytest.mark.parametrize("other", [{"family": "per_class"}, {"alpha": 0.2}])
def test_witnesses_of_another_family_or_alpha_are_not_held_against_a_limit(other):
    assert Report((limit("lower", 0.85, True), limit("upper", 0.8, True, **other)), {}).check() == ()


def test_a_certified_witness_above_an_estimate_is_a_discovery():
    found = Report((limit("lower", 0.85, True), limit("upper", 0.8, False)), {}).check()
    assert len(found) == 1 and "the constant is too low" in found[0]
    assert Report((limit("lower", 0.85, False), limit("upper", 0.8, False)), {}).check() == ()
