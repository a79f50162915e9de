"""Every number of a printed table follows from the rows of the result file beside it, on every page that prints it."""

import json
import pathlib
import re

import pytest

from irob.bounds import intrinsic_robustness_upper_from_radius
from irob.bounds.label_limit import each, upper
from irob.core.evidence import Report
from irob.core.rows import RUNGS, Quantity, select
from irob.math.confidence import clopper_pearson
from irob.report import attacks, label, limits, rounding, table3, tables

ROOT = pathlib.Path(__file__).parent.parent
TABLES = {
    "ACGAN, risk ≥ α overall": ("mnist_gen", "overall"),
    "ACGAN, risk ≥ α in each class": ("mnist_gen", "per_class"),
    "Generator of known constant, risk ≥ α overall": ("lipgan_mnist", "overall"),
}
pytestmark = pytest.mark.skipif(not (ROOT / "docs/limits.json").exists(), reason="an installed package has no docs")


@pytest.fixture(scope="module")
def report():
    return Report.from_json((ROOT / "docs/limits.json").read_text(encoding="utf-8"))


def pages() -> list[str]:
    """What stands on the pages of tables; a table that stands on two of them is the same on both."""
    return [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md")]


def words(title: str) -> dict[str, list[str]]:
    """Label to the cells of its line, as they are printed."""
    (text,) = {text.split("\n\n", 1)[0] for page in pages() for text in page.split(f"| {title} |")[1:]}
    body = text.splitlines()[2:]
    return {c[0]: c[1:] for c in ([c.strip() for c in line.strip("|").split("|")] for line in body)}


def printed(title: str, columns: int = 3) -> dict[str, list[float | None]]:
    """Label to the numbers of its line."""
    return {k: [None if v == "–" else float(v) for v in c[:columns]] for k, c in words(title).items()}


def rows_of(name: str):
    """The rows of a result file, which obey the laws."""
    report = Report.from_json((ROOT / f"docs/{name}.json").read_text(encoding="utf-8"))
    report.check()
    return report.rows


def derived(row) -> float:
    """The value of a row from its inputs alone."""
    d = row.detail
    if row.side == "upper":
        return float(intrinsic_robustness_upper_from_radius(d.alpha, d.growth, delta=d.delta,
                                                            family=d.family))
    # Half of the level goes to the thresholds, the other is shared by the three epsilons.
    level = (1 - d.confidence) / 2 / 3
    hits = round(d.adversarial_risk.value * row.n)
    return 1 - clopper_pearson(hits, row.n, 1 - level, "upper")


@pytest.mark.parametrize("title", TABLES)
def test_every_number_follows_from_the_json(report, title):
    dataset, family = TABLES[title]
    lines = words(title)
    assert any("1-Lipschitz network" in line for line in lines) and len(lines) >= 5
    for i, epsilon in enumerate((1.0, 2.0, 3.0)):
        low, high = limits.ends(report.rows, dataset, 0.015, family, epsilon)
        for line, cells in lines.items():
            if line.startswith("width"):
                sure = "certified" in line
                ends = [limits.best(side, sure) for side in (low, high)]
                assert cells[i] == rounding.width(*(r.value for r in ends)), (line, epsilon)
                assert cells[3] == (limits.both(tuple(ends)) if all(r.certified for r in ends) else "")
                continue
            found = re.sub("^.*: ", "", line)
            row = next(r for r in (*high, *low)
                       if found == (RUNGS[r.detail.rung] if r.side == "upper" else r.detail.witness))
            assert derived(row) == pytest.approx(row.value, abs=1e-9)
            assert row.definition == ("both" if row.side == "upper" else "error region")
            assert cells[i] == rounding.percent(row.value, row.side, 2), (line, epsilon)
            assert cells[3] in (limits.grade(row), "as published")


def test_the_headline_is_the_bracket_of_label_robustness():
    """Limits rounded up, certified classifiers down, each derived again, all of one definition."""
    lines = words("generated MNIST, labels kept, %")
    found = rows_of("label_limit")
    radii = (1.0, 2.0, 2.5, 3.0)
    alone, theorem, kept, best = lines.values()
    for i, e in enumerate(radii):
        high, low = label.limit(found, "acgan_mnist", e), label.kept(found, "acgan_mnist", e)
        level = each(high.detail.joint_confidence, len(radii))
        assert high.value == pytest.approx(upper(high.detail.matching, high.n, level), abs=1e-12)
        assert alone[i] == rounding.percent(high.value, "upper", 2)
        share = (1 - low.detail.confidence) / len(radii)
        wanted = clopper_pearson(low.detail.kept, low.n, 1 - share, "lower")
        assert low.value == pytest.approx(wanted, abs=1e-8) and low.value <= wanted
        assert kept[i] == rounding.percent(low.value, "lower", 2)
        assert {high.definition, low.definition} == {"label"}
        if e != 2.5:
            row = label.theorem(rows_of("limits"), "mnist_gen", e)
            assert theorem[i] == rounding.percent(row.value, "upper", 2) and row.definition == "both"
            left = [r.value for r in rows_of("attacks") if r.quantity == Quantity.ROBUST and r.method == "autoattack"
                    and r.epsilon == e]
            assert best[i] == rounding.percent(max(left), "upper", 0)
    assert "95 % confidence" in alone[4] and "95 % confidence" in theorem[4] and "95 % confidence" in kept[4]


def test_limits_of_real_images_and_of_variants_follow_from_their_matchings():
    """Every line of the table of variants names its file, and every file is derived again."""
    files = {
        "60,000 real images of MNIST": "label_limit_mnist", "50,000 images": "label_limit_50000",
        "50,000 images that mnist_standard confirms": "label_limit_judged",
        "200,000 images from coupled codes": "label_limit_coupled"}
    lines = words("no classifier keeps the labels of more, %")
    assert set(lines) == set(files)
    for line, cells in lines.items():
        for i, row in enumerate(r for r in rows_of(files[line]) if r.epsilon > 1):
            level = each(row.detail.joint_confidence, 4)
            assert row.value == pytest.approx(
                upper(row.detail.matching, row.n, level, row.detail.groups), abs=1e-12)
            assert cells[i] == rounding.percent(row.value, "upper", 2)


def test_the_share_of_images_whose_truth_changes_is_what_the_label_limit_leaves_out():
    (text,) = (page for page in pages() if "since the truth is a classifier too" in page)
    found = {r.epsilon: r.value for r in rows_of("label_limit") if r.side == "upper"}
    for e in (2.0, 3.0):
        assert f"{rounding.percent(1 - found[e], 'lower', 2)} %" in text.split("since the truth is a classifier too")[1]


def test_the_report_passes_its_laws_and_brackets_tightly(report):
    report.check()
    for epsilon, most in ((1.0, 0.006), (2.0, 0.009), (3.0, 0.013)):
        low, high = (limits.best(found) for found in limits.ends(report.rows, "mnist_gen", 0.015, "overall", epsilon))
        assert low.certified and low.detail.confidence == 0.95
        assert 0 <= high.value - low.value <= most
    certified = [r for r in limits.rows_of(report.rows) if r.certified and r.side == "upper"]
    assert certified and all(r.quantity == Quantity.BOUND for r in certified)


def test_tables_1_and_3_are_those_of_the_report():
    """Accuracies without decimals, limits with one, each rounded to its own side."""
    found = rows_of("report")
    table = {(group, line.label, line.note): line for group, line in grouped(table3.table3(found))}
    lines = words("label robustness, %")
    wanted = {
        "any image within ε, at most": "Under attack: any image within ε",
        "in distribution, at most": "Under attack in distribution: images within ε that the generator draws"}
    for line, cells in lines.items():
        name, _, what = line.partition(", ")
        if what in wanted:
            group = wanted[what]
            row = next(v for (g, label, _), v in table.items() if (g, label) == (group, name))
            assert cells[0] == row.cells[0].text
            assert cells[1:4] == [rounding.percent(c.value, "upper", 0) + c.sign for c in row.cells[1:]], line
    head = "For comparison"
    lookup = {
        "no classifier keeps more, proved: label limit of 200,000 images": ("No classifier", "label limit", "any"),
        "no classifier of risk ≥ .015 keeps more, proved: Theorem 4.4 with 3,000 codes":
            ("No classifier", "Theorem", ""),
        "for comparison, sampled constants: α = .015, overall": (head + ", an", "α = 0.015", "risk ≥ α overall"),
        "for comparison, sampled constants: α = .015, in each class": (head + ", an", "α = 0.015", "risk ≥ α in each"),
        "for comparison, published protocol: α = .015, in each class": (head + ":", "α = 0.015", "risk ≥ α in each")}
    for line, (group, label_, note) in lookup.items():
        row = next(v for (g, name, said), v in table.items()
                   if g.startswith(group) and name.startswith(label_) and said.startswith(note))
        assert lines[line][1:4] == [c.text + c.sign for c in row.cells[1:]], line
    certified = next(v for (g, name, _), v in table.items() if g.startswith("Certified") and name == "LP-Certify")
    assert lines["LP-Certify, certified (crown), at least"][1:4] == [
        "–" if c.value is None else rounding.percent(c.value, "lower", 0) + c.sign for c in certified.cells[1:]]
    assert len(lookup) + 10 == len(lines)
    constants = {line.label: [c.text for c in line.cells] for line in tables.table1(found, "acgan_mnist").lines}
    assert words("class")["here, uniform in the ball, [0, 1]"] == constants[tables.PROTOCOLS["default"]]
    assert words("class")["here, published protocol (orthant, [-1, 1])"] == constants[tables.PROTOCOLS["paper"]]


def grouped(table):
    """Lines with the heading above them."""
    group = ""
    for line in table.lines:
        if line.kind == "group":
            group = line.label
        else:
            yield group, line


def test_what_attacks_leave_is_what_was_measured():
    """Every line of the table of attacks, and no attack left out."""
    rows = Report.from_json((ROOT / "docs/attacks.json").read_text(encoding="utf-8")).rows
    wanted, group = {}, ""
    for line in attacks.table(rows).lines:
        group = line.label.partition(":")[0] if line.kind == "group" else group
        if line.kind == "ours":
            wanted[f"{group}, {line.label}"] = [float(rounding.percent(c.value, "upper", 0)) for c in line.cells[1:]]
    assert printed("accuracy left, %") == wanted and len(wanted) == 12


def test_success_on_the_manifold_is_what_was_measured():
    """Every line is that of one contender, on both classifiers."""
    rows = json.loads((ROOT / "docs/manifold.json").read_text(encoding="utf-8"))["rows"]
    measured = {name: [r for r in rows if r["classifier"] == name] for name in ("mnist_gen_standard", "mnist_gen_adv")}
    for contender, numbers in printed("success in distribution, %", 7).items():
        found = [[round(r["seconds_per_image"], 2), *(round(100 * s) for s in r["success"])]
                 for r in measured["mnist_gen_standard"]]
        assert numbers[:4] in found, contender
        same = measured["mnist_gen_standard"][found.index(numbers[:4])]
        other = [r for r in measured["mnist_gen_adv"] if (r["curve"], r["budget"]) == (same["curve"], same["budget"])]
        assert numbers[4:] == ([round(100 * s) for s in other[0]["success"]] if other else [None] * 3), contender


def test_certificates_are_what_was_proved():
    """Certified from below, attacked from above, on the same images."""
    report = Report.from_json((ROOT / "docs/certify.json").read_text(encoding="utf-8"))
    report.check()
    lines = printed("LP-Certify, 100 images, %", 4)
    for i, epsilon in enumerate((0.5, 1.0, 1.5, 2.0)):
        (attacked,) = select(report.rows, Quantity.ROBUST, epsilon=epsilon)
        assert lines["attacked (PGD), at most"][i] == float(rounding.percent(attacked.value, "upper", 0))
        for name in ("crown", "dual", "interval"):
            (row,) = select(report.rows, Quantity.CERTIFIED, epsilon=epsilon, certifier=name)
            down = float(rounding.percent(row.value, "lower", 0))
            assert lines[f"certified ({name}), at least"][i] == down <= 100 * attacked.value
    assert len(lines) == 4
