"""Every number of the README's tables of the limit follows from the rows of the report beside it."""

import json
import pathlib
import re

import pytest

from irob.bounds import intrinsic_robustness_upper_from_radius
from irob.core.evidence import Report
from irob.math.confidence import clopper_pearson
from irob.report import attacks, limits, tables

ROOT = pathlib.Path(__file__).parent.parent
RUNGS = {label: rung for rung, label in limits.RUNGS.items()}
TABLES = {
    "ACGAN, risk ≥ α overall": ("mnist_gen", "overall"),
    "ACGAN, risk ≥ α in each class": ("mnist_gen", "per_class"),
    "Generator of known constant, risk ≥ α overall": ("lipgan_mnist", "overall"),
}
pytestmark = pytest.mark.skipif(not (ROOT / "docs/limits.json").exists(), reason="an installed package has no docs")


@pytest.fixture(scope="module")
def report():
    return Report.from_json((ROOT / "docs/limits.json").read_text(encoding="utf-8"))


def printed(title: str, columns: int = 3) -> dict[str, list[float | None]]:
    """Label to the numbers of its line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    body = text.split(f"| {title} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in body]
    return {c[0]: [None if v == "–" else float(v) for v in c[1:1 + columns]] for c in cells}


def derived(row) -> float:
    """The value of a row from its inputs alone."""
    d = row.detail
    if row.side == "upper":
        return float(intrinsic_robustness_upper_from_radius(d["alpha"], d["growth"], delta=d["delta"],
                                                            family=d["family"]))
    # Half of the level goes to the thresholds, the other is shared by the three epsilons.
    level = (1 - d["confidence"]) / 2 / 3
    hits = round(d["adversarial risk"]["value"] * row.n)
    return 1 - clopper_pearson(hits, row.n, 1 - level, "upper")


@pytest.mark.parametrize("title", TABLES)
def test_every_number_follows_from_the_json(report, title):
    dataset, family = TABLES[title]
    lines = printed(title)
    assert any("1-Lipschitz network" in label for label in lines) and len(lines) >= 5
    for i, epsilon in enumerate((1.0, 2.0, 3.0)):
        low, high = limits.ends(report.rows, dataset, 0.015, family, epsilon)
        for label, numbers in lines.items():
            if label.startswith("width"):
                sure = "certified" in label
                ends = [limits.best(side, sure) for side in (low, high)]
                wanted = derived(ends[1]) - derived(ends[0])
            else:
                found = re.sub("^.*: ", "", label)
                row = next(r for r in (high if found in RUNGS else low)
                           if found in (limits.RUNGS.get(r.detail.get("rung")), r.detail.get("witness")))
                wanted = derived(row)
                assert wanted == pytest.approx(row.value, abs=1e-9)
            assert numbers[i] == pytest.approx(100 * wanted, abs=0.0051), (label, epsilon)


def test_the_report_passes_its_laws_and_brackets_tightly(report):
    report.check()
    for epsilon, most in ((1.0, 0.006), (2.0, 0.009), (3.0, 0.013)):
        low, high = (limits.best(found) for found in limits.ends(report.rows, "mnist_gen", 0.015, "overall", epsilon))
        assert low.certified and low.detail["confidence"] == 0.95
        assert 0 <= high.value - low.value <= most
    certified = [r for r in limits.rows_of(report.rows) if r.certified and r.side == "upper"]
    assert certified and all(r.quantity == tables.BOUND for r in certified)


def test_what_attacks_leave_is_what_was_measured():
    """Every line of the table of attacks, and no attack left out."""
    rows = Report.from_json((ROOT / "docs/attacks.json").read_text(encoding="utf-8")).rows
    wanted, group = {}, ""
    for line in attacks.table(rows).lines:
        group = line.label.partition(":")[0] if line.kind == "group" else group
        if line.kind == "ours":
            wanted[f"{group}, {line.label}"] = [round(100 * c.value) for c in line.cells[1:]]
    assert printed("accuracy left, %") == wanted and len(wanted) == 12


def test_success_on_the_manifold_is_what_was_measured():
    """Every line is that of one contender, on both classifiers."""
    rows = json.loads((ROOT / "docs/manifold.json").read_text(encoding="utf-8"))["rows"]
    measured = {name: [r for r in rows if r["classifier"] == name] for name in ("mnist_gen_standard", "mnist_gen_adv")}
    for label, numbers in printed("success in distribution, %", 7).items():
        found = [[round(r["seconds_per_image"], 2), *(round(100 * s) for s in r["success"])]
                 for r in measured["mnist_gen_standard"]]
        assert numbers[:4] in found, label
        same = measured["mnist_gen_standard"][found.index(numbers[:4])]
        other = [r for r in measured["mnist_gen_adv"] if (r["curve"], r["budget"]) == (same["curve"], same["budget"])]
        assert numbers[4:] == ([round(100 * s) for s in other[0]["success"]] if other else [None] * 3), label


def test_certificates_are_what_was_proved():
    """Certified from below, attacked from above, on the same images."""
    report = Report.from_json((ROOT / "docs/certify.json").read_text(encoding="utf-8"))
    report.check()
    lines = printed("LP-Certify, 100 images, %", 4)
    for i, epsilon in enumerate((0.5, 1.0, 1.5, 2.0)):
        (attacked,) = tables.select(report.rows, tables.ROBUST, epsilon=epsilon)
        assert lines["attacked (PGD), at most"][i] == round(100 * attacked.value)
        for name in ("crown", "dual", "interval"):
            (row,) = tables.select(report.rows, tables.CERTIFIED, epsilon=epsilon, certifier=name)
            assert lines[f"certified ({name}), at least"][i] == round(100 * row.value) <= 100 * attacked.value
    assert len(lines) == 4
