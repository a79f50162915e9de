"""The label limit of generators and data sets: the library's numbers, pieces that resume, and `irob limit`."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import bounds, classifiers, generators
from irob.bounds.label_limit import each, upper
from irob.commands import limit
from irob.core.check import InputError
from irob.core.config import run
from irob.core.evidence import Report
from irob.core.store import Pieces, Task
from irob.core.types import Dataset
from irob.data import npz
from irob.evaluation.limits import label_upper
from irob.evaluation.limits.label_upper import Drawing, Job
from irob.evaluation.limits.regions import Images, draw
from irob.report import label_limit as shown

SHIPPED = sorted((pathlib.Path(__file__).parents[1] / "docs").glob("label_limit*.json"))
JOB = Job([0.1, 0.3], grid=5)


@pytest.fixture(scope="module")
def generator():
    """Two pixels: one of the code, one that the class moves a little."""
    def apply(variables, z, y):
        return jax.nn.sigmoid(jnp.stack([z[0], z[1] + variables * y])).reshape(1, 2, 1)

    return generators.from_function(apply, jnp.float32(0.5), 2, 3, (1, 2, 1))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Several pieces of images and stripes."""
    monkeypatch.setattr(label_upper, "BLOCK", 100)
    monkeypatch.setattr("irob.bounds.conflicts.ROWS", 64)


def test_the_rows_are_the_librarys_numbers_on_the_drawn_images(generator, key):
    rows = label_upper.of_generator(key, generator, JOB, 250, task=Task("toy"), seed=0)
    x, y = draw(key, generator, 250, Images())
    found = bounds.label_limit(x, y, [0.1, 0.3], joint=True)
    assert [(r.value, r.detail.sample_limit, r.detail.matching, r.detail.confidence, r.n) for r in rows] == [
        (v.upper, v.sample, v.matching, v.confidence, 250) for v in found]
    assert found[0].confidence == 0.975 and 0 < found[0].sample < 1
    assert all(r.side == "upper" and r.certified and r.quantity == "label robustness" for r in rows)
    assert [str(r.threat) for r in rows] == ["l2 0.1", "l2 0.3"] and rows[0].definition == "label"
    curve, fine = rows[0].detail.curve, [0.06, 0.12, 0.18, 0.24, 0.3]
    assert curve["epsilon"] == pytest.approx(fine)
    wanted = bounds.label_limit(x, y, curve["epsilon"], joint=True)
    assert curve["sample"] == tuple(v.sample for v in wanted)
    assert curve["upper"] == tuple(v.upper for v in wanted)


def test_a_killed_run_goes_on_where_it_was(generator, key, tmp_path, monkeypatch):
    wanted = label_upper.of_generator(key, generator, JOB, 250)
    edges, seen = label_upper.Search.edges, []

    def dies(self, k):
        seen.append(k)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return edges(self, k)

    monkeypatch.setattr(label_upper.Search, "edges", dies)
    with pytest.raises(KeyboardInterrupt):
        label_upper.of_generator(key, generator, JOB, 250, task=Task(pieces=Pieces(tmp_path)))
    images, = tmp_path.glob("*.state")
    again = Pieces(tmp_path)
    with monkeypatch.context() as m:
        m.setattr(label_upper, "draw", None)  # no image is drawn again
        assert label_upper.of_generator(key, generator, JOB, 250, task=Task(pieces=again)) == wanted
    assert seen == [0, 1, 2, 2, 3] and again.reused == 3 + 2 and not images.exists()
    monkeypatch.setattr(label_upper, "_images", None)
    assert label_upper.of_generator(key, generator, JOB, 250, task=Task(pieces=Pieces(tmp_path))) == wanted


def test_images_that_went_missing_are_drawn_again(generator, key, tmp_path, monkeypatch):
    wanted = label_upper.of_generator(key, generator, JOB, 250)
    with monkeypatch.context() as m:
        m.setattr(label_upper, "Search", None)
        with pytest.raises(TypeError):
            label_upper.of_generator(key, generator, JOB, 250, task=Task(pieces=Pieces(tmp_path)))
    next(tmp_path.glob("*.state")).unlink()
    assert label_upper.of_generator(key, generator, JOB, 250, task=Task(pieces=Pieces(tmp_path))) == wanted


def test_a_judge_keeps_what_it_confirms(generator, key):
    judge = classifiers.from_function(lambda v, x: jnp.stack([0.5 - x[0, 0, 0], x[0, 0, 0] - 0.5, v]), -9.0, 3)
    rows = label_upper.of_generator(key, generator, JOB, 120, how=Drawing(judge=judge))
    drawn = rows[0].detail.drawn
    assert rows[0].dataset.endswith(f"confirmed by {judge.name}")
    x, y = draw(key, generator, drawn, Images())
    kept = y == (x[:, 0, 0, 0] > 0.5)
    assert kept.sum() == 120 and kept[-1] and 200 < drawn < 600  # half of the images of two classes of three
    found = bounds.label_limit(x[kept], y[kept], [0.1, 0.3], joint=True)
    assert [r.value for r in rows] == [v.upper for v in found]
    never = classifiers.from_function(lambda v, x: v * jnp.ones(5), jnp.arange(5.0), 5)
    with pytest.raises(InputError, match="confirms 0 of 100 images"):
        label_upper.of_generator(key, generator, JOB, 50, how=Drawing(judge=never))


def test_priors_are_those_of_the_classes(generator, key):
    one = label_upper.of_generator(key, generator, JOB, 100, how=Drawing(priors=[0.0, 1.0, 0.0]))
    assert [r.value for r in one] == [1.0, 1.0]  # a single class has no conflicts


def test_a_data_set_states_what_it_assumes(tmp_path):
    rng = np.random.default_rng(0)
    data = Dataset(rng.random((90, 2, 2, 1), np.float32), rng.integers(4, size=90), None, 4, (2, 2, 1), "mine")
    job = Job([0.05, 0.1], "linf", 0.9, grid=0)
    pieces = Pieces(tmp_path)
    rows = label_upper.of_dataset(data, job, task=Task(pieces=pieces))
    assert [r.value for r in rows] == [
        v.upper for v in bounds.label_limit(data.x, data.y, [0.05, 0.1], norm="linf", confidence=0.9, joint=True)]
    assert "independent draws" in rows[0].detail.assumptions and rows[0].detail.curve is None
    assert label_upper.of_dataset(data, job, task=Task(pieces=Pieces(tmp_path))) == rows
    assert "independent" in shown.table(rows).notes[1] and shown.figure(rows) is None


def test_an_accelerators_blocks_are_those_of_the_host(monkeypatch):
    rng = np.random.default_rng(0)
    for name, size in (("ROWS", 32), ("COLUMNS", 40)):
        monkeypatch.setattr(label_upper, name, size)
    left, right = rng.normal(size=(32, 5)).astype(np.float32), rng.normal(size=(40, 5)).astype(np.float32)
    for a, b, least in ((32, 40, -1.0), (20, 40, 0.0), (32, 7, 1.0), (3, 4, -99.0)):
        reach = np.linspace(least, 1, a, dtype=np.float32)
        place, entry = label_upper.within_device(left[:a], right[:b], reach)
        wanted, entries = label_upper.within_host(left[:a], right[:b], reach)
        assert np.array_equal(place, wanted) and entry == pytest.approx(entries, abs=1e-6)
    monkeypatch.setattr(label_upper, "LEAST", 3)  # what does not fit is the host's
    assert len(label_upper.within_device(left, right, np.ones(32, np.float32))[0]) > 3


def call(*argv: str) -> int:
    """The exit status of the door."""
    with pytest.raises(SystemExit) as e:
        run(limit.main, limit.Config, prog="python -m irob limit", argv=argv)
    return e.value.code


def test_the_verb_from_end_to_end(tmp_path, capsys):
    out = tmp_path / "out"
    argv = ("--samples", "60", "--epsilon", "3,4", "6", "--grid", "4", "--seed", "1", "--certified", "40",
            "--out", str(out))
    assert call(*argv) == 0
    text = capsys.readouterr().out
    assert "The limit for label robustness on acgan_mnist" in text and "95 % confidence" in text
    report = Report.from_json((out / "limit.json").read_text())
    upper, lower = ([r for r in report.rows if r.side == side] for side in ("upper", "lower"))
    assert report.check() == () and [r.epsilon for r in upper] == [3, 4, 6]
    assert [(r.epsilon, r.n, r.certified) for r in lower] == [(3, 40, True), (4, 40, True), (6, 40, True)]
    assert "A certified classifier keeps at least" in text
    values = [r.value for r in upper]
    assert values == sorted(values, reverse=True) and values[2] < 1 and report.rows[0].detail.seed == 1
    assert {"command", "weights", "seconds", "settings"} <= report.provenance.keys()
    assert {f.name for f in out.iterdir()} == {"limit.json", "limit.csv", "limit.png", "limit.svg", "pieces"}
    assert call(*argv) == 0  # takes the pieces
    assert Report.from_json((out / "limit.json").read_text()).rows == report.rows


def test_the_verb_takes_ones_own_images(tmp_path, capsys):
    x, y = np.zeros((30, 2, 2, 1), np.float32), np.arange(30) % 2
    x[y == 1] = 0.5
    npz.save(tmp_path / "mine.npz", x=x, y=y)
    assert call("--images", str(tmp_path / "mine.npz"), "--epsilon", "0.4", "0.5", "--out", str(tmp_path / "out")) == 0
    rows = json.loads((tmp_path / "out" / "limit.json").read_text())["rows"]
    assert [r["detail"]["sample_limit"] for r in rows] == [1.0, 0.5] and rows[1]["dataset"] == "mine"
    assert "For the distribution if the images are independent" in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "said"), [
    (["--norm", "l3"], "unknown norm"), (["--epsilon", "0"], "epsilon: got 0"), (["--epsilon", "nan"], "epsilon"),
    (["--epsilon", ","], "at least one"), (["--confidence", "1"], "confidence: got 1.0"), (["--grid", "-1"], "grid"),
    (["--samples", "0"], "samples"), (["--generator", "acgan_mnits"], "did you mean 'acgan_mnist'"),
    (["--dataset", "mnist", "--images", "x.npz"], "wanted one of them"), (["--images", "nothing.npz"], "no such file"),
    (["--dataset", "cifar10", "--judge", "mnist_standard"], "judge: got one for a data set"),
    (["--dataset", "cifar10", "--coupling", "auto"], "coupling: got one for a data set"),
    (["--coupling", "acgan_mnist"], "wanted a coupling"), (["--coupling", "auto", "--samples", "55"], "a multiple of"),
])
def test_bad_input_is_one_line_and_leaves_nothing(argv, said, tmp_path, capsys):
    assert call("--out", str(tmp_path / "out"), *argv) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_limits_are_those_of_their_matchings(path):
    report = Report.from_json(path.read_text(encoding="utf-8"))
    assert report.check() == () and report.provenance["command"].startswith("python -m irob limit ")
    rows = [r for r in report.rows if r.side == "upper"]
    for r in rows:
        d = r.detail
        assert d.confidence == each(d.joint_confidence, len(rows)) and r.definition == "label"
        assert d.sample_limit == 1 - d.matching / r.n <= r.value
        assert r.value == upper(d.matching, r.n, d.confidence, d.groups)
        assert d.assumptions or r.dataset.startswith("acgan_mnist")
