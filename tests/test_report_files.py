"""The report room: rows made from formulas go in, and come out of every table, figure and page unchanged."""

import csv as stdlib_csv
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import special, stats

from irob.core.check import InputError
from irob.core.evidence import Report, Row
from irob.evaluation.report import Outcome
from irob.report import figures, files, latex, published, sections, summary, table3, tables, text

EPSILONS = (1.0, 2.0, 3.0)


def share(value, n):
    ci = stats.binomtest(round(value * n), n).proportion_ci(0.95, "exact")
    return {"value": round(value * n) / n, "low": float(ci.low), "high": float(ci.high), "n": n}


def bound(alpha, epsilon, lipschitz):
    """1 - Phi(Phi^-1(alpha) + epsilon / L), the small tail kept."""
    return float(special.ndtr(-(special.ndtri(alpha) + epsilon / lipschitz)))


def constants():
    for model, classes in (("acgan_mnist", [*range(10)]), ("gan_mnist", [None])):
        for protocol, scale in (("default", 0.7), ("paper", 1.0)):
            for c in classes:
                value = scale * (27.0 if c is None else 8 + math.sin(c))
                detail = {"class": c, "protocol": protocol, "std": 0.2, "trials": 2, "radius": 0.5, "delta": 0.001,
                          "codes": 40, "neighbours": 100, "confidence": 0.039}
                yield Row("mnist_gen", model, "none", tables.LIPSCHITZ, value, "lower", False, "sampled", detail=detail)


def accuracies():
    for m, (name, natural, slope) in enumerate(
            [("mnist_gen_standard", 0.99, 1.6), ("mnist_gen_adv", 0.972, 0.5), ("mnist_gen_trades", 0.975, 0.52)]):
        for epoch in (4, 8, None):
            model = name if epoch is None else f"{name}@{epoch}"
            clean = natural * (1 - 0.03 * (epoch is not None) * (3 - (epoch or 0) / 4))
            for n, quantity, ease in ((1000, tables.ROBUST, 2.0), (100, tables.IN_DISTRIBUTION, 0.8)):
                yield Row("mnist_gen", model, "none", tables.NATURAL, side="exact", certified=False, method="clean",
                          detail={"trials": 2, "std": 0.003}, **share(clean, n))
                for e in EPSILONS:
                    detail = {"epsilon": e, "norm": "l2", "trials": 2, "std": 0.004, "risk": 1 - clean}
                    kept = clean / (1 + math.exp(slope * e * ease - 3 - m))
                    yield Row("mnist_gen", model, f"l2 {e:g}", quantity, side="upper", certified=False,
                              method="attack", detail=detail, **share(kept, n))


def limits():
    grid = np.linspace(0.001, 0.3, 60)
    for e in EPSILONS:
        for protocol, constant in (("default", 6.3), ("paper", 9.0)):
            for alpha, measured in ((0.025, True), (0.015, False)):
                for family, factor in (("overall", 1.2), ("per_class", 1.0)):
                    detail = {"alpha": alpha, "measured": measured, "family": family, "protocol": protocol,
                              "epsilon": e, "proviso": e < 2.5}
                    if measured and protocol == "default":
                        values = [bound(a, e, factor * constant) for a in grid]
                        detail["curve"] = {"alpha": grid.tolist(), "value": values}
                    yield Row("mnist_gen", "any", f"l2 {e:g}", tables.BOUND, bound(alpha, e, factor * constant),
                              "upper", False, "Theorem 4.4", detail=detail)
        for method, value in (("simplified", 1.2), ("exact", 0.93 - 0.05 * e)):
            yield Row("mnist_gen", "any", f"l2 {e:g}", tables.PREDICTIONS, value, "upper", False, method,
                      detail={"epsilon": e, "protocol": "default", "lipschitz": 27.0})


def labels():
    for e, low, high in zip(EPSILONS, (0.91234, 0.51111, 0.10006), (0.99711, 0.97711, 0.83001)):
        detail = {"epsilon": e, "confidence": 0.95, "section": "limits"}
        yield Row("mnist_gen", "any", f"l2 {e:g}", tables.LABEL, high, "upper", True, "label limit", n=1000,
                  detail=detail)
        yield Row("mnist_gen", "lipschitz_net", f"l2 {e:g}", tables.LABEL, low, "lower", True, "certified classifier",
                  n=1000, detail=detail)


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
    assert Report.from_json((folder / "report.json").read_text()).rows == tuple(
        Row(**r) for r in json.loads((folder / "report.json").read_text())["rows"])
    assert len(json.loads((folder / "report.json").read_text())["rows"]) == len(ROWS)


def test_csv_parses_back_to_the_rows(folder):
    lines = list(stdlib_csv.DictReader(io.StringIO((folder / "report.csv").read_text())))
    assert len(lines) == len(ROWS)
    for line, row in zip(lines, ROWS):
        assert float(line["value"]) == row.value
        assert line["model"] == row.model and line["certified"] == str(row.certified)
        assert (float(line["low"]) if line["low"] else None) == row.low
        assert line["epsilon"] == (repr(row.detail["epsilon"]) if "epsilon" in row.detail else "")
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
    adv = tables.largest(ROWS, tables.ROBUST, model="mnist_gen_adv", epsilon=2.0)
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
    fine = [r for r in ROWS if r.detail.get("proviso", True)]
    assert not any(note.startswith("†") for note in table3.table3(fine).notes)


def test_the_paper_stands_only_beside_its_own_setting():
    other = [Row(**{**r.__dict__, "dataset": "cifar10"}) for r in ROWS]
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
    best = summary.best(ROWS, tables.ROBUST, 3.0)
    high = math.ceil(1000 * best.high) / 10
    for wanted in ("10.0 to 83.1 %", f"at most {high:.1f} % (95 %)", "a < b & c", "no d",
                   "What is only an estimate", "seed"):
        assert wanted in page.seen
    assert "nan" not in page.seen.lower().split()


def test_claims_carry_the_end_of_the_interval():
    row = tables.largest(ROWS, tables.ROBUST, model="mnist_gen_adv", epsilon=3.0)
    assert any(f"at most {math.ceil(1000 * row.high) / 10:.1f} %" in c for c in summary.claims(ROWS))
    assert {c.split()[0] for c in summary.claims(ROWS)} == {"Standard", "Adv-Train", "TRADES", "The"}


def test_figure_2_draws_every_point_and_curve():
    figure = figures.one_panel(ROWS, 2.0)
    axes = figure.axes[0]
    drawn = {(round(x, 6), round(y, 6)) for c in axes.containers for x, y in [c.lines[0].get_xydata()[0]]}
    wanted = {(round(r.detail["risk"], 6), round(r.value, 6)) for r in ROWS
              if r.quantity in figures.MARKS and r.detail["epsilon"] == 2.0}
    assert drawn == wanted
    curves = [line for line in axes.lines if len(line.get_xdata()) > 5]
    assert len(curves) == 2
    assert any(np.all(np.asarray(line.get_ydata()) == 0.97711) for line in axes.lines), "the proved limit"
    x, y = curves[0].get_data()
    assert np.allclose(y, [bound(a, 2.0, 1.2 * 6.3) for a in x])


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
    assert tables.table1((), "x") is None and table3.table3(()) is None and tables.fawzi(()) is None
    assert summary.cards(()) == [] and summary.claims(()) == [] and "no limit" in summary.lede(())
