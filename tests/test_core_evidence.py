"""The laws of a report: each can be broken, and breaking it raises."""

import dataclasses
import json

import pytest

from irob.core.check import InputError
from irob.core.evidence import Bound, Report
from irob.core.laws import EvidenceError, comparable
from irob.core.rows import (
    KINDS,
    CertifiedAccuracy,
    LowerEnd,
    Natural,
    Number,
    Quantity,
    Robust,
    UpperEnd,
    Width,
)
from irob.core.threat import LpBall

BALL = LpBall("l2", 1.0).record()
NATURAL = Natural().row("toy", "net", None, Number(0.9, n=100), "clean")
ATTACKED = Robust().row("toy", "net", BALL, Number(0.5, 0.4, 0.6, 100), "pgd")
CERTIFIED = CertifiedAccuracy().row("toy", "net", BALL, Number(0.4, n=100), "smoothing")
BOUND = UpperEnd().row("toy", "any", BALL, Number(0.8), "Theorem 4.4")
SURE, FOUND = (("constant", "upper"),), (("constant", "lower"),)


def report(*rows):
    return Report(rows, {"seed": 0})


def test_a_lawful_report_passes_and_comes_back():
    r = report(NATURAL, ATTACKED, CERTIFIED, BOUND)
    assert r.check() == ()
    assert Report.from_json(r.to_json()) == r


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_kind_comes_back_with_its_types(kind):
    own = {"class_risks": (Number(0.1, 0.0, 0.2),) * 2, "risk": Number(0.1), "broken_by": {"fab": 3}, "growth": (1.0,)}
    own = {f.name: own[f.name] for f in dataclasses.fields(kind) if f.name in own}
    if issubclass(kind, Robust):
        own["risk"] = 0.1
    detail = kind(inputs=SURE, alpha=0.1, curve={"epsilon": (0.0, 1.0), "value": (1.0, 0.5)}, **own)
    for side in kind.sides:
        row = detail.row("d", "m", BALL, Number(0.5, 0.4, 0.6, 7), "how", side=side)
        back = Report.from_json(report(row).to_json()).rows[0]
        assert back == row and type(back.detail) is kind and back.certified


def test_threats_of_earlier_versions_are_refused_in_one_line():
    text = report(ATTACKED).to_json()
    old = json.loads(text)
    old["rows"][0]["threat"] = "l2 1"
    with pytest.raises(InputError, match="of an earlier version, wanted an object") as e:
        Report.from_json(json.dumps(old))
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match="evidence says otherwise"):
        Report.from_json(text.replace('"certified": false', '"certified": true'))


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
    witness = LowerEnd(SURE).row("toy", "any", BALL, Number(0.7), "witness")
    assert (ATTACKED.definition, witness.definition, BOUND.definition) == ("label", "error region", "both")
    comparable(ATTACKED, BOUND), comparable(witness, BOUND)
    with pytest.raises(EvidenceError, match="different definitions"):
        comparable(ATTACKED, witness)
    width = Width(SURE, lower_definition="error region", upper_definition="both").row(
        "toy", "any", BALL, Number(0.1), "difference", side="upper")
    report(witness, width).check()
    wrong = dataclasses.replace(width.detail, upper_definition="label")
    with pytest.raises(EvidenceError, match="means nothing"):
        report(dataclasses.replace(width, detail=wrong)).check()


@pytest.mark.parametrize("changes", [
    {"definition": "error region"}, {"quantity": Quantity.EARLIER, "definition": ""},
    {"quantity": Quantity.NATURAL, "definition": "certain"}])
def test_every_robustness_names_its_own_definition(changes):
    with pytest.raises(EvidenceError, match="definition"):
        report(dataclasses.replace(ATTACKED, **changes)).check()


def test_an_attack_above_the_bound_is_a_discovery():
    low = dataclasses.replace(BOUND, value=0.3, detail=UpperEnd(alpha=0.05))
    (found,) = report(NATURAL, ATTACKED, low, low).check()
    assert "exceeds the bound" in found
    assert report(NATURAL, ATTACKED, dataclasses.replace(low, value=0.45)).check() == ()  # within the interval: chance
    outside = dataclasses.replace(low, detail=UpperEnd(alpha=0.2))  # the bound speaks of classifiers that err more
    assert report(NATURAL, ATTACKED, outside).check() == ()


def test_nan_is_refused():
    with pytest.raises(ValueError, match="JSON|nan"):
        report(dataclasses.replace(NATURAL, value=float("nan"))).to_json()


@pytest.mark.parametrize(
    ("side", "certified"), [("lower", False), ("estimate", False), ("upper", True), ("exact", True)]
)
def test_certified_is_computed(side, certified):
    inputs = (("alpha", "exact"), ("lipschitz", side))
    assert Bound(0.9, "upper", Quantity.BOUND, BALL, "4.4", inputs).certified is certified
    with pytest.raises(TypeError):
        Bound(0.9, "upper", Quantity.BOUND, BALL, "4.4", inputs, certified=True)


def limit(side, value, certified, **detail):
    kind = LowerEnd if side == "lower" else UpperEnd
    return kind(SURE if certified else FOUND, **{"alpha": 0.1, "family": "overall", **detail}).row(
        "d", "any", BALL, Number(value), f"{side} end")


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
