"""Rows of earlier bounds on one data set: sides, what is certified, and laws between them."""

import numpy as np
import pytest

from irob import bounds
from irob.core.check import InputError
from irob.core.evidence import Report
from irob.core.rows import LowerEnd, Number, UpperEnd
from irob.core.threat import LpBall
from irob.core.types import Dataset
from irob.evaluation.limits.earlier import Given, Pair, Question, comparison_rows

RADII = (0.1, 0.3)


def images(n=800, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = 0.5 + 0.1 * rng.normal(size=(n, 3, 3, 1)) + 0.02 * y[:, None, None, None]
    return Dataset(x=np.clip(x, 0, 1).astype(np.float32), y=y, z=None, num_classes=classes, image_shape=(3, 3, 1),
                   name="toy")


def theorem(epsilon=0.1, alpha=0.05, norm="l2", kind=UpperEnd):
    return kind((("constant", "upper"),), alpha, "overall").row(
        "toy", "any", LpBall(norm, epsilon).record(), Number(0.97, n=100), "certified constant")


def everything(norm="l2", pair=Pair(), given=None, **question):
    data = images()
    p = np.random.default_rng(1).dirichlet(np.ones(10), size=len(data))
    given = {"lipschitz": 3.0, "density": 2.0, "probabilities": p, "theorem": [theorem()]} | (given or {})
    return comparison_rows(data, Question(**{"epsilons": RADII, "alpha": 0.05, "norm": norm} | question),
                           Given(**given), pair)


@pytest.mark.parametrize(("norm", "families"), [("l2", ["half-spaces", "balls"]), ("linf", ["half-spaces", "boxes"])])
def test_every_method_has_its_rows_and_the_report_accepts_them(norm, families):
    rows = everything(norm)
    methods = list(dict.fromkeys(r.method for r in rows))
    assert [m for m in methods if m.startswith("concentration")] == [f"concentration, {f}" for f in families]
    assert sum(m.startswith("Fawzi") for m in methods) == 3
    assert {"transport, 3 against 7", "Shafahi et al., cube", "label uncertainty, half-spaces"} <= set(methods)
    assert ("certified constant" in methods) == (norm == "l2")  # the theorem's row speaks of l2
    report = Report(tuple(rows), {})
    assert report.check() == ()
    assert Report.from_json(report.to_json()).rows[0] == rows[0]
    for r in rows:
        assert r.norm == norm and r.epsilon in RADII and r.section == "comparison"
        assert r.detail.alpha == 0.05 and r.detail.bounds and r.detail.assumption and r.detail.attained_by


def test_sides_say_what_a_number_is():
    sides = {r.method.split(",")[0]: r.side for r in everything()}
    assert sides == {"certified constant": "upper", "Fawzi et al.": "upper", "concentration": "lower",
                     "label uncertainty": "lower", "transport": "exact", "Shafahi et al.": "upper"}


def test_values_are_those_of_the_bounds():
    rows = {(r.method, r.epsilon): r for r in everything()}
    assert rows["Fawzi et al., exact form", 0.3].value == pytest.approx(bounds.fawzi(10, 0.3, 3.0))
    assert rows["Shafahi et al., cube", 0.3].value == pytest.approx(bounds.shafahi_cube(0.3, 2.0))
    data = images()
    c, = bounds.concentration(data.x, 0.05, [0.3])
    assert rows["concentration, half-spaces", 0.3].value == 1 - c.adversarial_risk
    a, b = (data.x[data.y == k] for k in (3, 7))
    n = min(len(a), len(b))
    t, = bounds.transport(a[:n], b[:n], [0.3])
    r = rows["transport, 3 against 7", 0.3]
    assert (r.value, r.high, r.n) == (1 - t.error, 1 - t.certified, 2 * n)


@pytest.mark.parametrize(("side", "certified"), [("lower", False), ("estimate", False), ("upper", True)])
def test_fawzi_is_certified_only_with_a_constant_from_above(side, certified):
    rows = [r for r in everything(given={"side": side}) if r.method.startswith("Fawzi")]
    assert {r.certified for r in rows} == {certified}


def test_regions_are_certified_only_where_their_measure_surely_reaches_alpha():
    x = images(4000, seed=1)
    for alpha in (0.05, 0.2):
        for r in comparison_rows(x, Question(RADII, alpha), pair=Pair(None)):
            assert r.certified == (r.detail.risk.low >= alpha)
            assert r.value == pytest.approx(r.low if r.certified else 1 - r.detail.adversarial_risk.value)
    p = np.full((4000, 10), 0.1)
    found = comparison_rows(x, Question([0.1], 0.2), Given(probabilities=p, gamma=0.5), Pair(None))
    assert not any(r.certified for r in found if r.method.startswith("label"))
    rows = everything()
    assert not any(r.certified for r in rows if r.method.startswith(("transport", "Shafahi")))


def test_only_the_theorems_rows_of_this_question_stand_beside():
    others = [theorem(), theorem(alpha=0.1), theorem(norm="linf"), theorem(epsilon=2.0), theorem(kind=LowerEnd)]
    ours = [r for r in everything(given={"theorem": others}) if r.detail.ours]
    assert [(r.value, r.certified, r.epsilon) for r in ours] == [(0.97, True, 0.1)]


def test_families_without_an_uncertain_region_are_left_out_and_it_is_said(capsys):
    p = np.eye(10)[images().y]
    rows = everything(given={"probabilities": p})
    assert not any(r.method.startswith("label") for r in rows)
    said = capsys.readouterr()
    assert "left out" in said.out + said.err


def test_what_is_not_given_is_left_out():
    rows = comparison_rows(images(), Question(0.1, 0.05), pair=Pair(None))
    assert {r.method for r in rows} == {"concentration, half-spaces", "concentration, balls"}


def test_the_usual_pair_falls_back_to_classes_that_occur():
    rows = comparison_rows(images(classes=2), Question([0.1], 0.05), Given(1.0))
    assert any(r.method == "transport, 0 against 1" for r in rows)
    assert not any("classes" in r.method for r in rows)  # that form of Fawzi needs five
    one = images(classes=1)
    assert not any(r.method.startswith("transport") for r in comparison_rows(one, Question([0.1], 0.05)))


@pytest.mark.parametrize(("change", "said"), [
    ({"norm": "l1"}, "unknown norm 'l1'"), ({"epsilons": [-1]}, "epsilon: got -1"), ({"alpha": 0}, "alpha: got 0"),
    ({"pair": Pair((3, 3))}, "two classes that occur"), ({"pair": Pair((3, 12))}, "two classes that occur"),
    ({"pair": Pair((3,))}, "pair: got (3,)"), ({"pair": Pair(count=0)}, "pair_count"),
    ({"given": {"density": 0.5}}, "density: got 0.5"), ({"given": {"lipschitz": -1.0}}, "lipschitz"),
    ({"given": {"probabilities": np.ones((3, 3))}}, "probabilities"),
    ({"alpha": 0.0001}, "for regions of measure"),
])
def test_bad_input_is_named_in_one_line(change, said):
    with pytest.raises(InputError) as e:
        everything(**change)
    assert said in str(e.value) and "\n" not in str(e.value)


def test_images_out_of_range_are_refused():
    data = images()
    object.__setattr__(data, "x", data.x * 255)
    with pytest.raises(InputError, match="pixels"):
        comparison_rows(data)
