"""What each attack leaves: a line for every attack, on the same images, and dashes in Figure 2."""

import pytest

from irob.core.rows import InDistribution, Natural, Number, Quantity, Robust
from irob.core.threat import LpBall
from irob.report import attacks, figures

LEFT = {
    (Quantity.ROBUST, "pgd"): 0.8, (Quantity.ROBUST, "autoattack"): 0.7, (Quantity.ROBUST, "pgd + autoattack"): 0.69,
    (Quantity.ROBUST, "pgd + autoattack + in_distribution + manifold"): 0.69,
    (Quantity.IN_DISTRIBUTION, "in_distribution"): 0.9, (Quantity.IN_DISTRIBUTION, "manifold"): 0.75,
    (Quantity.IN_DISTRIBUTION, "in_distribution + manifold"): 0.74,
}


def accuracies(left):
    yield Natural().row("mnist_gen", "mnist_gen_adv", None, Number(0.97, 0.9, 1.0, 100), "clean")
    for e in (1.0, 2.0):
        for (quantity, method), value in left.items():
            kind = Robust if quantity == Quantity.ROBUST else InDistribution
            detail = kind(trials=1, risk=0.03, options={"protocol": "paper"} if method == "in_distribution" else {})
            kept = value / e
            yield detail.row("mnist_gen", "mnist_gen_adv", LpBall("l2", e).record(),
                             Number(kept, kept - 0.1, kept + 0.1, 100), method)


def test_every_attack_has_its_line():
    table = attacks.table(tuple(accuracies(LEFT)))
    assert [c.text for line in table.lines if line.label == "together" for c in line.cells][:3] == [
        "100", "69.0", "34.5"]
    shown = {line.label: [c.text for c in line.cells] for line in table.lines if line.kind != "group"}
    assert shown == {
        "PGD": ["100", "80.0", "40.0"], "AutoAttack": ["100", "70.0", "35.0"],
        "together": ["100", "74.0", "37.0"], "together with the attacks in distribution": ["100", "69.0", "34.5"],
        "the paper's attack": ["100", "90.0", "45.0"], "manifold attack": ["100", "75.0", "37.5"],
    }
    assert [line.label for line in table.lines if line.kind == "group"] == [
        "Adv-Train: any image within ε", "Adv-Train: images within ε that the generator draws"]


def test_one_attack_alone_needs_no_table():
    assert attacks.table(tuple(accuracies({(Quantity.ROBUST, "pgd"): 0.8}))) is None


@pytest.mark.parametrize(("quantity", "weak"), [
    (Quantity.ROBUST, ["pgd", "autoattack"]), (Quantity.IN_DISTRIBUTION, ["in_distribution", "manifold"])])
def test_weaker_attacks_stand_above_the_point(quantity, weak):
    rows = tuple(accuracies(LEFT))
    (point,) = [r for r in figures.drawn(rows) if r.quantity == quantity and r.epsilon == 1]
    assert point.value == min(v for (q, _), v in LEFT.items() if q == quantity)
    assert [r.method for r in figures.weaker(rows, point)] == weak
