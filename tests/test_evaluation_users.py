"""The door for a user's own model and images, and the table it prints."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from irob import classifiers
from irob.__main__ import main as door
from irob.core import registry
from irob.core.check import InputError
from irob.evaluation import users
from irob.report import leaderboard

MODELS = """
import jax.numpy as jnp

def function():
    return lambda x: jnp.array([1.0, -1.0]) * (x.sum() - 2.0)

def shifted():
    return lambda x: jnp.array([1.0, -1.0]) * (x.sum() - 2.2)

def torch():
    import torch
    class Net(torch.nn.Module):
        def forward(self, x):
            return (x.flatten(1).sum(1, keepdim=True) - 2.0) * torch.tensor([[1.0, -1.0]])
    return Net()

def fails():
    raise RuntimeError("no weights\\nhere")

def nothing():
    pass

def matrix():
    return lambda x: x[..., 0]

three = 3
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a module and images on which the classifier's distance to its boundary is known."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_of_test.py").write_text(MODELS)
    (tmp_path / "broken_of_test.py").write_text("import no_such_thing_at_all")
    rng = np.random.default_rng(0)
    x = rng.uniform(0.2, 0.8, (40, 2, 2, 1)).astype(np.float32)
    np.savez(tmp_path / "images.npz", x=x, y=(x.sum((1, 2, 3)) < 2).astype(int))
    return tmp_path


def run(monkeypatch, capsys, *words) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["irob", "attack", *words])
    with pytest.raises(SystemExit) as end:
        door()
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


def test_users_models_on_users_images(place, monkeypatch, capsys):
    """Gradient of f is (1,1,1,1): an l2 ball of 0.1 moves the sum by 0.2, so |sum - 2| > 0.2 is robust."""
    pytest.importorskip("torch")
    code, out, err = run(
        monkeypatch, capsys, "--classifier", "mine_of_test:function", "mine_of_test.py:torch", "mine_of_test:shifted",
        "--images", "images.npz", "--epsilon", "0.1", "--attack", "pgd", "--steps", "10", "--out", "out")
    assert code == 0, err
    sums = np.load("images.npz")["x"].sum((1, 2, 3))
    want = np.mean(np.abs(sums - 2) > 0.2)
    rows = json.loads((place / "out/attack.json").read_text())["rows"]
    robust = {r["model"]: r["value"] for r in rows if r["quantity"] == "robust accuracy"}
    assert robust["mine_of_test:function"] == robust["mine_of_test.py:torch"] == pytest.approx(want)
    assert 0 < want < 1 and robust["mine_of_test:shifted"] != want
    assert {r["n"] for r in rows} == {40}
    assert out.count("mine_of_test:function on images") == 1 and "worst case" in out
    text = (place / "out/attack.md").read_text()
    assert text.count(f"| mine_of_test:function | 100.0 | {100 * want:.1f} | {100 * want:.1f} |") == 1
    assert r"mine\_of\_test:function" in (place / "out/attack.tex").read_text()


def test_a_users_own_attack_by_its_file(place, monkeypatch, capsys):
    """One step is exact on a linear model, and a file that has changed is another attack: no piece of the old is read.

    A model that is named twice, and more samples than there are images: both are said.
    """
    text = (pathlib.Path(__file__).parent / "outside" / "one_step.py").read_text()
    command = ("--classifier", "mine_of_test:function", "mine_of_test:function", "--samples", "50",
               "--images", "images.npz", "--epsilon", "0.1", "--out", "out", "--examine", "no",
               "--attack", "step.py:build")
    wanted = np.mean(np.abs(np.load("images.npz")["x"].sum((1, 2, 3)) - 2) > 0.2)
    for source, kept in ((text, wanted), (text.replace("x + self", "x - self"), 1.0)):
        (place / "step.py").write_text(source)
        code, _, err = run(monkeypatch, capsys, *command)
        assert code == 0 and "classifier 'mine_of_test:function': given 2 times, measured once" in err, err
        assert "images: got fewer than --trials 1 times --samples 50: each trial takes 40" in err, err
        rows = json.loads((place / "out/attack.json").read_text())["rows"]
        assert [r["value"] for r in rows if r["method"] == "step.py:build"] == [pytest.approx(kept)]


@pytest.mark.parametrize(("words", "said"), [
    ("--attack absent.py:build --classifier mine_of_test:function", "there is no file 'absent.py'"),
    ("--attack mine_of_test:function --classifier mine_of_test:function", "fails: TypeError"),
    ("--classifier no_such_module_of_test:make", "cannot be imported: ModuleNotFoundError"),
    ("--classifier broken_of_test:make", "no_such_thing_at_all"),
    ("--classifier absent.py:make", "there is no file 'absent.py'"),
    ("--classifier mine_of_test:functoin", "did you mean 'function'"),
    ("--classifier mine_of_test:three", "got int, wanted a function"),
    ("--classifier mine_of_test:fails", "fails: RuntimeError: no weights"),
    ("--classifier mine_of_test:nothing", "got NoneType"),
    ("--classifier mine_of_test:matrix", "logits of shape (2, 2)"),
    ("--classifier mine_of_test:function --images absent.npz", "absent.npz"),
    ("--classifier mine_of_test:function --dataset mnist_gen", "wanted one; leave out --dataset"),
    ("--classifier mnist_gen_standard", "takes images (28, 28, 1)"),
])
def test_bad_input_is_one_line(place, monkeypatch, capsys, words, said):
    code, _, err = run(monkeypatch, capsys, "--images", "images.npz", "--samples", "4", "--out", "out", *words.split())
    assert code == 2 and err.count("\n") == 1 and said in err, err


def test_labels_that_the_classifier_does_not_have(place, monkeypatch, capsys):
    np.savez("more.npz", x=np.zeros((3, 2, 2, 1), np.float32), y=np.array([0, 1, 2]))
    code, _, err = run(monkeypatch, capsys, "--images", "more.npz", "--classifier", "mine_of_test:function")
    assert code == 2 and "has 2 classes" in err


def test_a_changed_model_is_not_taken_for_the_old_one(place):
    one, two = (users.load(f"mine_of_test:{n}", registry.made(f"mine_of_test.py:{n}", kind="classifier"), (2, 2, 1))
                for n in ("function", "shifted"))
    assert one.name.split()[1] != two.name.split()[1]
    with pytest.raises(InputError, match="takes images"):
        users.load("a:b", classifiers.from_callable(lambda x: x.ravel(), image_shape=(1, 2, 1)), (2, 2, 1))
    assert one(jnp.ones((2, 2, 1))).tolist() == [2.0, -2.0]


def test_worst_case_is_no_better_than_any_attack(place, monkeypatch, capsys):
    run(monkeypatch, capsys, "--classifier", "mine_of_test:function", "--images", "images.npz", "--epsilon", "0.05",
        "0.1", "--attack", "pgd", "--out", "out", "--steps", "3")
    from irob.core.evidence import Report
    rows = list(Report.from_json((place / "out/attack.json").read_text()).rows)
    import dataclasses
    robust = [r for r in rows if r.quantity == "robust accuracy"]
    rows += [dataclasses.replace(r, method="fab", value=r.value - 0.01) for r in robust]
    rows += [dataclasses.replace(r, method="pgd + fab", value=r.value - 0.02) for r in robust]
    table = leaderboard.table(rows)
    assert table.head[1:5] == ("natural", "pgd", "fab", "worst case")
    lines = [line for line in table.lines if line.kind != "group"]
    assert len(lines) == 2
    for line in lines:
        natural, pgd, fab, worst = (c.value for c in line.cells[:4])
        assert worst < fab < pgd <= natural


def test_tables_say_what_is_doubtful(place, monkeypatch, capsys):
    """Markdown and LaTeX bear the sign of a warning, as the terminal does."""
    (place / "masked.py").write_text(
        "import jax.numpy as jnp\ndef m():\n    return lambda x: jnp.round(jnp.array([9.0, -9.0]) * (x.sum() - 2.0))\n")
    code, out, err = run(monkeypatch, capsys, "--classifier", "masked.py:m", "--images", "images.npz", "--epsilon",
                         "0.05", "--steps", "3", "--out", "out")
    assert code == 0, err
    warned = json.loads((place / "out/attack.json").read_text())["provenance"]["warnings"]
    assert warned
    for text in (out, (place / "out/attack.md").read_text(), (place / "out/attack.tex").read_text()):
        assert all(f"† Doubtful: {w}" in text for w in warned)
    assert "† |" in (place / "out/attack.md").read_text() and r"$^\dagger$ &" in (place / "out/attack.tex").read_text()
