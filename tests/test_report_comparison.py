"""The comparison's table and figure, from rows written by hand."""

import dataclasses

import pytest

from irob.core.rows import EarlierBound, Number, Quantity
from irob.core.threat import LpBall
from irob.report import comparison, comparison_figure, figures, latex, text


def row(method, side, epsilon, value, certified=False, dataset="d", **detail):
    made = EarlierBound((("constant", "upper" if certified else "lower"),), 0.015, bounds="images right",
                        assumption="α_1 & β", attained_by="half-cube", **detail)
    return made.row(dataset, "any", LpBall("l2", epsilon).record(), Number(value, value - 0.01, value + 0.01, 300),
                    method, side=side)


@pytest.fixture
def rows():
    return [
        row("ours", "upper", 2.0, 0.97, True, ours=True), row("ours", "upper", 1.0, 0.98, True, ours=True),
        row("loose", "upper", 1.0, 1.2), row("loose", "upper", 2.0, 1.1),
        row("region", "lower", 1.0, 0.954, True), row("region", "lower", 2.0, 0.8),
        row("boxes", "lower", 1.0, 0.0, True),
        row("pair", "exact", 2.0, 0.75),
    ]


def test_a_line_for_each_method_and_a_column_for_each_epsilon(rows):
    table = comparison.comparison_table(rows)
    assert table.head == ("share, %", "ε = 1", "ε = 2", "of what", "assumes", "attained by")
    cells = {line.label: [c.text for c in line.cells[:2]] for line in table.lines}
    assert cells == {"ours": ["≤ 98.00", "≤ 97.00"], "loose": ["vacuous", "vacuous"], "region": ["≥ 95.40", "≥ 80.0"],
                     "boxes": ["vacuous", "–"], "pair": ["–", "= 75.0"]}
    assert [c.text for c in table.lines[0].cells[2:]] == ["images right", "α_1 & β", "half-cube"]
    assert table.lines[0].kind == "ours" and {line.kind for line in table.lines[1:]} == {"bound"}
    assert table.lines[0].cells[0].value == 0.98 and table.lines[0].cells[0].low == pytest.approx(0.97)
    assert "risk α = 1.5 %" in table.title and "(d," in table.title


def test_what_is_certified_is_said_line_by_line(rows):
    notes = {line.label: line.note for line in comparison.comparison_table(rows).lines}
    assert notes == {"ours": "certified", "loose": "not certified", "region": "certified in part", "boxes": "certified",
                     "pair": "exact on this sample"}


def test_regions_bring_the_note_about_their_measure(rows):
    def said(rows):
        return " ".join(comparison.comparison_table(rows).notes)

    assert "one half of the images" not in said(rows)
    told = dataclasses.replace(rows[4], detail=dataclasses.replace(rows[4].detail, risk=Number(0.01)))
    assert "one half of the images" in said([*rows, told])


def test_text_is_aligned_and_latex_escaped(rows):
    table = comparison.comparison_table(rows)
    lines = text.render(table, notes=False).splitlines()
    assert len({len(line) for line in lines[1:]}) == 1
    assert "region (certified in part)" in lines[6]
    body = latex.tabular(table)
    assert body.count(r"\\") == 6 and r"\_1 \& " in body
    assert all(line.count(" & ") == 5 for line in body.splitlines() if line.endswith(r"\\"))


def test_data_sets_do_not_mix(rows):
    both = [*rows, row("ours", "upper", 1.0, 0.5, dataset="e")]
    assert [line.label for line in comparison.comparison_table(both, "e").lines] == ["ours"]
    assert comparison.comparison_table(both, "d") == comparison.comparison_table(rows)
    labels = [line.label for line in comparison.comparison_table(both).lines]
    assert labels[0] == "d: ours" and labels[-1] == "e: ours"


def test_the_figure_has_a_line_for_each_method_that_says_something(rows):
    figure = comparison_figure.comparison_figure(rows)
    axes, = figure.axes
    labels = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert labels == ["ours", "region", "boxes", "pair"]
    assert list(axes.lines[0].get_xdata()) == [1.0, 2.0] and list(axes.lines[0].get_ydata()) == [0.98, 0.97]
    assert "<svg" in figures.svg(figure)
    assert comparison_figure.comparison_figure(rows[2:4]) is not None  # nothing but vacuous lines is drawn all the same


def test_many_methods_stay_apart():
    many = [row(f"m{i}", "upper", 1.0, 0.5) for i in range(2 * len(figures.COLOURS))]
    axes, = comparison_figure.comparison_figure(many).axes
    lines = [line for line in axes.lines if line.get_label().startswith("m")]
    assert len({(line.get_color(), line.get_markerfacecolor()) for line in lines}) == len(many)


def test_nothing_comes_from_nothing(rows):
    other = dataclasses.replace(rows[0], quantity=Quantity.ROBUST)
    for none in ([], [other]):
        assert comparison.rows_of(none) == []
        assert comparison.comparison_table(none) is None
        assert comparison_figure.comparison_figure(none) is None
    assert comparison.comparison_table(rows, "elsewhere") is None
    assert comparison_figure.comparison_figure(rows, "elsewhere") is None
