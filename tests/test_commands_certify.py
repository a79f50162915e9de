"""`python -m irob certify` from end to end on the shipped smoothed classifier, tiny."""

import csv
import json

import numpy as np
import pytest

from irob.commands import certify
from irob.core import config
from irob.core.evidence import Report
from irob.core.rows import Quantity, select

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
        (low,), (high,) = (select(rows, q, epsilon=e) for q in (Quantity.CERTIFIED, Quantity.ROBUST))
        assert 0 < low.value <= high.value and low.n == high.n == 6
    with open(done / "examples.csv", newline="") as file:
        each = list(csv.DictReader(file))
    assert len(each) == 6
    share = sum(float(line["smoothing radius"]) > 0.5 for line in each) / 6
    assert share == select(rows, Quantity.CERTIFIED, epsilon=0.5)[0].value
    assert {"certify.csv", "certify.png", "certify.svg", "certify.html"} <= {f.name for f in done.iterdir()}
    assert {"seed", "command", "versions", "classifier", "seconds"} <= report.provenance.keys()


def test_a_second_run_takes_the_pieces_and_ends_in_the_same_rows(done, capsys, monkeypatch):
    before = json.loads((done / "certify.json").read_text())["rows"]
    monkeypatch.setattr("irob.certify.run", None)
    monkeypatch.setattr("irob.evaluation.accuracy.certified.examine", lambda *_: None)
    certify.main(certify.Config(**TINY, out=str(done)))
    assert json.loads((done / "certify.json").read_text())["rows"] == before
    out = capsys.readouterr().out
    assert "l2 0.25, smoothing" in out and "Certified <= true <= attacked" in out


MINE = """
import jax.numpy as jnp

def line():
    return lambda x: jnp.stack([x.ravel() @ jnp.array([1.0, -2.0]), 0.1 + 0 * x.ravel()[0]])

def wave():
    return lambda x: jnp.sin(x.ravel())

def plane():
    return lambda x: x.ravel() @ jnp.array([[1.0, 0.0], [-2.0, 0.0]]) + jnp.array([0.0, 0.1])
"""


def test_ones_own_images_and_classifier(tmp_path, monkeypatch, capsys):
    """A plane: the distance to it in linf is |a - 2 b - 0.1| / 3, which interval bounds find exactly."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    x = np.random.default_rng(0).uniform(0.2, 0.8, (9, 1, 2, 1)).astype(np.float32)
    gap = (x.reshape(9, 2) @ [1.0, -2.0] - 0.1) / 3
    np.savez("x.npz", x=x, y=(gap < 0).astype(int))
    words = ["--images", "x.npz", "--norm", "Linf", "--epsilon", "25.5/255", "--samples", "9", "--steps", "3"]

    def run(name, *more):
        config.run(certify.main, certify.Config, prog="p", argv=["--classifier", f"mine.py:{name}", *words, *more])

    with pytest.raises(SystemExit) as end:
        run("plane")
    assert end.value.code == 0
    rows = Report.from_json((tmp_path / "out/certify/certify.json").read_text()).rows
    want = pytest.approx(np.mean(abs(gap) > 0.1))
    for quantity in (Quantity.CERTIFIED, Quantity.ROBUST):
        assert [r.value for r in select(rows, quantity, epsilon=0.1)] == [want]
    for name, said in (("wave", "operation sin"), ("line", "branches")):
        with pytest.raises(SystemExit) as end:
            run(name, "--certifier", "interval")
        assert end.value.code == 2 and said in capsys.readouterr().err


def test_values_come_by_spaces_or_commas():
    words = ["--certifier", "crown,dual", "smoothing", "--epsilon=0.5,1,", "2"]
    given = config.parse(certify.Config, words, prog="p")
    assert given.certifier == ["crown", "dual", "smoothing"] and given.epsilon == ["0.5", "1", "2"]
