"""The report room: rows made from formulas go in, and come out of every table, figure and page unchanged."""

import csv as stdlib_csv
import dataclasses
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import special, stats

from irob.core import published
from irob.core.check import InputError
from irob.core.evidence import Report
from irob.core.rows import (
    Constant,
    InDistribution,
    KeptLabels,
    LabelLimit,
    Natural,
    Number,
    Quantity,
    Robust,
    Stability,
    UpperEnd,
    largest,
)
from irob.core.threat import LpBall
from irob.evaluation.verbs.report import Outcome
from irob.report import curves, figures, files, label, latex, sections, summary, table3, tables, text

EPSILONS = (1.0, 2.0, 3.0)


def share(value, n):
    ci = stats.binomtest(round(value * n), n).proportion_ci(0.95, "exact")
    return Number(round(value * n) / n, float(ci.low), float(ci.high), n)


def ball(epsilon):
    return LpBall("l2", epsilon).record()


def bound(alpha, epsilon, lipschitz):
    """1 - Phi(Phi^-1(alpha) + epsilon / L), the small tail kept."""
    return float(special.ndtr(-(special.ndtri(alpha) + epsilon / lipschitz)))


def constants():
    for model, classes in (("acgan_mnist", [*range(10)]), ("gan_mnist", [None])):
        for protocol, scale in (("default", 0.7), ("paper", 1.0)):
            for c in classes:
                value = scale * (27.0 if c is None else 8 + math.sin(c))
                detail = Constant(class_index=c, protocol=protocol, std=0.2, trials=2, radius=0.5, delta=0.001,
                                  codes=40, neighbours=100, confidence=0.039)
                yield detail.row("mnist_gen", model, None, Number(value), "sampled")


def accuracies():
    for m, (name, natural, slope) in enumerate(
            [("mnist_gen_standard", 0.99, 1.6), ("mnist_gen_adv", 0.972, 0.5), ("mnist_gen_trades", 0.975, 0.52)]):
        for epoch in (4, 8, None):
            model = name if epoch is None else f"{name}@{epoch}"
            clean = natural * (1 - 0.03 * (epoch is not None) * (3 - (epoch or 0) / 4))
            for n, kind, ease in ((1000, Robust, 2.0), (100, InDistribution, 0.8)):
                yield Natural(trials=2, std=0.003).row("mnist_gen", model, None, share(clean, n), "clean")
                for e in EPSILONS:
                    kept = clean / (1 + math.exp(slope * e * ease - 3 - m))
                    yield kind(trials=2, std=0.004, risk=1 - clean).row(
                        "mnist_gen", model, ball(e), share(kept, n), "attack")


def limits():
    grid = np.linspace(0.001, 0.3, 60)
    for e in EPSILONS:
        for protocol, constant in (("default", 6.3), ("paper", 9.0)):
            for alpha, measured in ((0.025, True), (0.015, False)):
                for family, factor in (("overall", 1.2), ("per_class", 1.0)):
                    curve = None
                    if measured and protocol == "default":
                        values = tuple(bound(a, e, factor * constant) for a in grid)
                        curve = {"alpha": tuple(grid.tolist()), "value": values}
                    detail = UpperEnd(alpha=alpha, family=family, protocol=protocol, measured=measured,
                                      proviso=e < 2.5, curve=curve)
                    yield detail.row("mnist_gen", "any", ball(e), Number(bound(alpha, e, factor * constant)),
                                     "Theorem 4.4")
        for method, value in (("simplified", 1.2), ("exact", 0.93 - 0.05 * e)):
            yield Stability(protocol="default", lipschitz=27.0).row("mnist_gen", "any", ball(e), Number(value), method)


def labels():
    for e, low, high in zip(EPSILONS, (0.91234, 0.51111, 0.10006), (0.99711, 0.97711, 0.83001)):
        yield LabelLimit(confidence=0.95).row("mnist_gen", "any", ball(e), Number(high, n=1000), "label limit")
        yield KeptLabels(confidence=0.95).row(
            "mnist_gen", "lipschitz_net", ball(e), Number(low, n=1000), "certified classifier")


ROWS = (*constants(), *accuracies(), *limits(), *labels())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything written once."""
    rng = np.random.default_rng(0)
    pictures = {"samples": rng.random((2, 10, 28, 28, 1)),
                "pairs": {kind: rng.random((3, 28, 28, 1)) for kind in ("clean", "PGD", "in-dist.")}}
    out = tmp_path_factory.mktemp("report")
    report = Report(ROWS, {"seed": 0, "time": "2026-01-02T03:04:05+00:00", "device": {"platform": "cpu"}})
    blocks = [b for s in sections.named(sections.names()) for b in s.blocks(ROWS, pictures)]
    files.write(out, Outcome(report, tuple(blocks), ("a < b & c",), ("no d",)))
    return out


def test_every_file_is_there(folder):
    wanted = {"report.json", "report.csv", "table1.tex", "table3.tex", "comparison.tex", "fawzi.tex", "report.html",
              "figure1.png", "figure1.svg", "figure2.png", "figure2.svg", "label_mnist_gen.tex", "label_mnist_gen.png",
              "label_mnist_gen.svg"}
    assert {f.name for f in folder.iterdir()} == wanted


def test_json_comes_back(folder):
    assert Report.from_json((folder / "report.json").read_text()).rows == ROWS
    assert len(json.loads((folder / "report.json").read_text())["rows"]) == len(ROWS)


def test_csv_parses_back_to_the_rows(folder):
    lines = list(stdlib_csv.DictReader(io.StringIO((folder / "report.csv").read_text())))
    assert len(lines) == len(ROWS)
    for line, row in zip(lines, ROWS):
        assert float(line["value"]) == row.value
        assert line["model"] == row.model and line["certified"] == str(row.certified)
        assert (float(line["low"]) if line["low"] else None) == row.low
        assert float(line["epsilon"]) == row.epsilon and line["norm"] == row.norm
    assert "curve" not in lines[0]


def test_table_1_holds_the_constants():
    table = tables.table1(ROWS, "acgan_mnist")
    ours = {line.label: [c.value for c in line.cells] for line in table.lines}
    wanted = [0.7 * (8 + math.sin(c)) for c in range(10)]
    assert ours[tables.PROTOCOLS["default"]] == pytest.approx([*wanted, max(wanted)])
    assert ours["paper, Table 1"][:10] == list(published.LIPSCHITZ)
    assert "0.039" in " ".join(table.notes)


def test_table_3_holds_accuracies_bounds_and_the_print():
    table = table3.table3(ROWS)
    lines = [(line.label, line.kind, line.note, [c.value for c in line.cells]) for line in table.lines]
    adv = largest(ROWS, Quantity.ROBUST, model="mnist_gen_adv", epsilon=2.0)
    assert adv.n == 1000
    assert next(v for label, _, _, v in lines if label == "Adv-Train")[2] == adv.value
    assert [label for label, kind, _, _ in lines if kind == "paper"] == [
        "paper, LP-Certify", "paper, Adv-Train", "paper, TRADES", "paper, “Our Bound”, α = 0.015"]
    measured = [v for label, kind, note, v in lines
                if kind == "bound" and "measured" in label and note == tables.FAMILIES["overall"]]
    assert measured[0][1:] == pytest.approx([bound(0.025, e, 1.2 * 6.3) for e in EPSILONS])
    assert not any("@" in label for label, *_ in lines), "checkpoints belong to Figure 2"


def test_a_broken_proviso_is_marked():
    table = table3.table3(ROWS)
    bounds = [line for line in table.lines if line.kind == "bound"]
    assert all([c.sign for c in line.cells] == ["", "", "", "†"] for line in bounds if "α = " in line.label)
    assert any(note.startswith("†") for note in table.notes)
    fine = [r for r in ROWS if vars(r.detail).get("proviso") is not False]
    assert not any(note.startswith("†") for note in table3.table3(fine).notes)


def test_the_paper_stands_only_beside_its_own_setting():
    other = [dataclasses.replace(r, dataset="cifar10") for r in ROWS]
    assert not any(line.kind == "paper" for line in table3.table3(other).lines)


def test_latex_parses_back():
    table = table3.table3(ROWS)
    written = latex.tabular(table)
    body = [line for line in written.splitlines() if line.endswith(r"\\") and "multicolumn" not in line][1:]
    rows = [line for line in table.lines if line.kind != "group"]
    assert len(body) == len(rows)
    for got, line in zip(body, rows):
        cells = got.removesuffix(r" \\").split(" & ")
        assert len(cells) == len(table.head)
        for cell, wanted in zip(cells[1:], line.cells):
            if wanted.value is not None:
                assert float(re.match(r"[\d.]+", cell)[0]) == pytest.approx(100 * wanted.value, abs=0.1)
    assert not re.search(r"(?<!\\)[_#]|[ε±≥†]", "\n".join(body))


def test_text_is_aligned():
    lines = text.render(tables.table1(ROWS, "acgan_mnist"), notes=False).splitlines()
    assert len({len(line) for line in lines[1:]}) == 1


class Page(HTMLParser):
    """Collects what a browser would fetch, and whether tags close."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self):
        super().__init__()
        self.fetched, self.open, self.tags, self.seen = [], [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data", "srcset", "action"):
                self.fetched.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_data(self, data):
        self.seen += data


def test_the_page_fetches_nothing(folder):
    source = (folder / "report.html").read_text()
    page = Page()
    page.feed(source)
    assert page.open == []
    assert all(f.startswith(("data:", "#")) for f in page.fetched)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"@import|url\((?!#)", source)
    assert page.tags.count("svg") == len(EPSILONS) + 1 and "viewport" in source


def test_the_page_says_what_the_rows_say(folder):
    page = Page()
    page.feed((folder / "report.html").read_text())
    best = summary.best(ROWS, Quantity.ROBUST, 3.0)
    high = math.ceil(1000 * best.high) / 10
    for wanted in ("10.0 to 83.1 %", f"at most {high:.1f} % (95 %)", "a < b & c", "no d",
                   "What is only an estimate", "seed"):
        assert wanted in page.seen
    assert "nan" not in page.seen.lower().split()


def test_claims_carry_the_end_of_the_interval():
    row = largest(ROWS, Quantity.ROBUST, model="mnist_gen_adv", epsilon=3.0)
    assert any(f"at most {math.ceil(1000 * row.high) / 10:.1f} %" in c for c in summary.claims(ROWS))
    assert {c.split()[0] for c in summary.claims(ROWS)} == {"Standard", "Adv-Train", "TRADES", "The"}


def test_figure_2_draws_every_point_and_curve():
    figure = figures.one_panel(ROWS, 2.0)
    axes = figure.axes[0]
    drawn = {(round(x, 6), round(y, 6)) for c in axes.containers for x, y in [c.lines[0].get_xydata()[0]]}
    wanted = {(round(r.detail.risk, 6), round(r.value, 6)) for r in ROWS
              if r.quantity in figures.MARKS and r.epsilon == 2.0}
    assert drawn == wanted
    curves = [line for line in axes.lines if len(line.get_xdata()) > 5]
    assert len(curves) == 2
    assert any(np.all(np.asarray(line.get_ydata()) == 0.97711) for line in axes.lines), "the proved limit"
    x, y = curves[0].get_data()
    assert np.allclose(y, [bound(a, 2.0, 1.2 * 6.3) for a in x])


def test_checkpoints_of_figure_2_have_their_epoch():
    said = [a.get_text() for a in figures.one_panel(ROWS, 2.0).axes[0].texts]
    assert sorted(said) == sorted([epoch for epoch in ("4", "8") for _ in range(6)])  # three methods, two kinds of mark


def test_axes_say_norm_and_unit_and_legends_are_inside():
    """Two figures that several rows share, and one with labels so long that only one column fits."""
    long = {"pgd, " + 40 * "a": (1.0, 0.5, 0.4, 0.6), "fab, " + 40 * "b": (1.0, 0.4, 0.3, 0.5)}
    points = [(name, *numbers) for name, numbers in long.items()]
    drawn = [label.figure(ROWS, "mnist_gen"), figures.robustness(ROWS), curves.draw({}, points)]
    for figure in drawn:
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box, whole = legend.get_window_extent(), figure.bbox
        assert box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0 and box.y1 <= whole.y1
        assert len({text.get_text() for text in legend.get_texts()}) == len(legend.get_texts())
    assert drawn[0].axes[0].get_xlabel() == "ε (l2, images in [0, 1])"
    assert drawn[1].axes[0].get_title() == "l2, ε = 1"


def test_a_table_of_few_columns_is_stacked_on_a_phone(folder):
    page = (folder / "report.html").read_text()
    assert '<table class="few" style="--n:4">' in page and "<table>" in page  # Table 3 and Table 1


def test_figure_1_keeps_its_columns(folder):
    from matplotlib import image

    pixels = image.imread(folder / "figure1.png")
    assert pixels.shape[0] > 100 and pixels.std() > 0.05
    with pytest.raises(InputError, match="figure 1"):
        figures.samples(np.zeros((2, 3, 4, 4, 1)), ["0"])


def test_svg_is_the_same_every_time():
    once, again = (figures.svg(figures.one_panel(ROWS, 1.0)) for _ in range(2))
    assert once == again
    inline = figures.svg(figures.one_panel(ROWS, 1.0), inline=True)
    assert "currentColor" in inline and figures.INK not in inline and inline.startswith("<svg")


def test_nothing_is_invented_without_rows():
    assert tables.table1((), "x") is None and table3.table3(()) is None and table3.table3(tuple(limits())) is None
    assert tables.fawzi(()) is None
    assert summary.cards(()) == [] and summary.claims(()) == [] and "no limit" in summary.lede(())
