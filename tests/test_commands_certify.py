"""`python -m irob certify` from end to end on the shipped smoothed classifier, tiny."""

import csv
import json

import pytest

from irob.commands import certify
from irob.core.config import parse
from irob.core.evidence import Report
from irob.report import tables

TINY = {"samples": 6, "steps": 2, "copies": 60, "epsilon": ["0.25", "0.5"], "seed": 3}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certify")
    certify.main(certify.Config(**TINY, out=str(folder)))
    return folder


def test_it_writes_rows_examples_figure_and_page(done):
    report = Report.from_json((done / "certify.json").read_text())
    assert report.check() == ()
    rows = report.rows
    assert {r.model for r in rows} == {"mnist_gen_smooth smoothed σ=1"}  # sigma is that of the training
    for e in (0.25, 0.5):
        (low,), (high,) = (tables.select(rows, q, epsilon=e) for q in (tables.CERTIFIED, tables.ROBUST))
        assert 0 < low.value <= high.value and low.n == high.n == 6
    with open(done / "examples.csv", newline="") as file:
        each = list(csv.DictReader(file))
    assert len(each) == 6
    share = sum(float(line["smoothing radius"]) > 0.5 for line in each) / 6
    assert share == tables.select(rows, tables.CERTIFIED, epsilon=0.5)[0].value
    assert {"certify.csv", "certify.png", "certify.svg", "certify.html"} <= {f.name for f in done.iterdir()}
    assert {"seed", "command", "versions", "classifier", "seconds"} <= report.provenance.keys()


def test_a_second_run_takes_the_pieces_and_ends_in_the_same_rows(done, capsys, monkeypatch):
    before = json.loads((done / "certify.json").read_text())["rows"]
    monkeypatch.setattr("irob.certify.run", None)
    monkeypatch.setattr("irob.evaluation.certify.examine", lambda *_: None)
    certify.main(certify.Config(**TINY, out=str(done)))
    assert json.loads((done / "certify.json").read_text())["rows"] == before
    out = capsys.readouterr().out
    assert "l2 0.25, smoothing" in out and "Certified <= true <= attacked" in out


def test_values_come_by_spaces_or_commas():
    config = parse(certify.Config, ["--certifier", "crown,dual", "smoothing", "--epsilon=0.5,1,", "2"], prog="p")
    assert config.certifier == ["crown", "dual", "smoothing"] and config.epsilon == ["0.5", "1", "2"]
