"""Results that come with irob: of the very weights that are here, marked wherever they are shown."""

import dataclasses

import pytest

from irob.core import weights
from irob.core.evidence import Report
from irob.core.rows import Natural, Number, Quantity, Robust, select
from irob.core.threat import ThreatRecord
from irob.evaluation import shipped
from irob.report import model, summary, table3
from irob.report.model import tabled
from irob.report.sections import classifiers, label, limits


@pytest.mark.parametrize("name", ["label", "limits", "attacks", "certificates"])
def test_they_obey_the_laws_and_say_where_they_come_from(name):
    rows = shipped.rows(name, "acgan_mnist")
    Report(rows, {}).check()
    assert rows and all(r.origin.startswith("measured 20") and "`python -m irob " in r.origin for r in rows)
    assert len(shipped.origins(rows)) == 1


def test_other_weights_have_none(monkeypatch):
    """A generator that is another one takes all rows with it, a classifier its own."""
    assert shipped.rows("label", "gan_mnist") == () and shipped.rows("nothing", "acgan_mnist") == ()
    real = weights.checksum
    monkeypatch.setattr(weights, "checksum", lambda name: "" if name == "mnist_gen_adv" else real(name))
    assert {r.model for r in shipped.rows("attacks", "acgan_mnist")} == {"mnist_gen_standard", "mnist_gen_trades"}
    monkeypatch.setattr(weights, "checksum", lambda name: "" if name == "acgan_mnist" else real(name))
    assert shipped.rows("limits", "acgan_mnist") == ()


def labels():
    """The limit, as the report on generated MNIST has it."""
    return [dataclasses.replace(r, dataset="mnist_gen") for r in shipped.rows("label", "acgan_mnist")]


def test_tables_mark_them_and_only_them():
    (earlier,) = select(shipped.rows("attacks", "acgan_mnist"), Quantity.ROBUST, model="mnist_gen_adv", epsilon=3.0)
    rows = [Natural().row("mnist_gen", "mnist_gen_adv", None, Number(0.97, n=2000), "clean"),
            Robust().row("mnist_gen", "mnist_gen_adv", ThreatRecord.lp("l2", 1.0), Number(0.94, n=100), "pgd"), earlier]
    (block,) = tabled(table3.table3(rows))
    marked = model.with_origins(block, shipped.origins(rows)).table
    line = next(line for line in marked.lines if line.label == "Adv-Train")
    assert [c.sign for c in line.cells] == ["", "", "§"]
    assert marked.notes[-1].startswith("§ Not measured in this run") and earlier.origin in marked.notes[-1]
    gap = model.Block("The gap", gaps=tuple(summary.gaps([*rows, *labels()])))
    assert "marked §" in model.with_origins(gap, shipped.origins(rows)).text and "marked §" in summary.lede(
        [*rows, *labels()])
    (plain,) = tabled(table3.table3(rows[:2]))
    assert model.with_origins(plain, ()) == plain


def test_the_small_preset_alone_takes_them():
    for presets in (classifiers.PRESETS, label.PRESETS, limits.PRESETS):
        assert [presets[name].shipped for name in ("quick", "standard", "paper")] == [True, False, False]
