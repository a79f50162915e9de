"""The bracket for label robustness: which ends count, what is said of them, and which are never taken."""

import dataclasses

import pytest

from irob.core.evidence import Report
from irob.core.laws import EvidenceError
from irob.core.rows import KeptLabels, LabelLimit, LowerEnd, Natural, Number, Robust, UpperEnd
from irob.core.threat import LpBall
from irob.report import label, rounding, summary, table3, text

RADII = (1.0, 2.0, 3.0)


def row(kind, epsilon, value, certified=False, model="any", **detail):
    inputs = (("constant", "upper" if certified else "lower"),)
    ball, number = LpBall("l2", epsilon).record(), Number(value, n=500)
    made = kind(inputs, confidence=0.95, **detail).row("d", model, ball, number, "m")
    return dataclasses.replace(made, section="limits")


@pytest.fixture
def rows():
    out = [Natural().row("d", "net_adv", None, Number(0.97, 0.95, 0.98, 500), "clean")]
    for e, low, limit, attacked in zip(RADII, (0.94, 0.601234, 0.2), (0.9999, 0.9975, 0.82001), (0.93, 0.8, 0.5)):
        out += [
            row(LabelLimit, e, limit),
            row(KeptLabels, e, low, model="net_a"),
            row(KeptLabels, e, low - 0.1, model="net_b"),
            row(UpperEnd, e, 0.985, True, alpha=0.015, family="overall", rung="certified"),
            row(UpperEnd, e, 0.30, alpha=0.015, family="overall", rung="sampled"),
            row(LowerEnd, e, 0.978, True, alpha=0.015, family="overall", witness="network", best=True),
            row(Robust, e, attacked, model="net_adv"),
        ]
    return out


def test_only_proved_ends_of_the_same_definition_count(rows):
    assert [label.smallest(rows, "d", e).value for e in RADII] == [0.985, 0.985, 0.82001]
    assert [label.kept(rows, "d", e).model for e in RADII] == ["net_a"] * 3
    shown = text.render(label.table(rows, "d"))
    assert "82.01" in shown and "60.12" in shown and "97.8" not in shown and "30.0" not in shown


def test_the_words_say_which_limit_binds_where(rows):
    said = label.words(rows, "d")
    assert "no classifier keeps the labels of more than 82.01 % of the images of d" in said
    assert "at ε = 1, 2 only the natural risk that is asked for" in said
    assert "at ε = 3 images that cannot both be kept" in said


def test_the_gap_is_measured_from_the_proved_limit(rows):
    assert [(g.limit, g.attacked, g.certified) for g in summary.gaps(rows)] == [
        (0.985, 0.93, 0.94), (0.985, 0.8, 0.601234), (0.82001, 0.5, 0.2)]
    lines = {line.label: [c.text for c in line.cells] for line in table3.table3(rows).lines}
    assert lines["smallest proved limit"] == ["–", "98.5", "98.5", "82.1"]
    assert summary.cards(rows)[0].value == "20.0 to 82.1 %"


def test_a_certified_classifier_above_the_label_limit_is_a_contradiction(rows):
    Report(tuple(rows), {}).check()
    low = next(r for r in rows if r.model == "net_a")
    with pytest.raises(EvidenceError, match="exceeds"):
        Report((*rows, dataclasses.replace(low, value=0.99999)), {}).check()


def test_percentages_err_to_the_safe_side():
    for value in (0.9846386, 0.98, 0.123456789, 1.0, 0.0, 1 / 3):
        for digits in (0, 1, 2):
            up, down = (float(rounding.percent(value, side, digits)) for side in ("upper", "lower"))
            assert down <= 100 * value * (1 + 1e-15) and 100 * value * (1 - 1e-15) <= up
            assert up - down < 1.01 * 10.0**-digits
