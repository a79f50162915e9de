"""`python -m irob sample`: what it writes, and that it writes nothing when it cannot."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import classifiers, data
from irob.commands import sample
from irob.core.config import run
from irob.data import npz


def call(*argv: str) -> int:
    """The exit status of the door."""
    with pytest.raises(SystemExit) as e:
        run(sample.main, sample.Config, prog="python -m irob sample", argv=argv)
    return e.value.code


def test_a_file_and_its_grid(tmp_path, capsys):
    out = tmp_path / "deep" / "digits.npz"
    assert call("--out", str(out), "--samples", "23", "--seed", "5") == 0
    assert sorted(p.name for p in out.parent.iterdir()) == ["digits.npz", "digits.png"]
    content = npz.arrays(out, ("x", "y", "z", "provenance"))
    assert content["y"].tolist() == [i % 10 for i in range(23)] and content["z"].shape == (23, 100)
    record = json.loads(str(content["provenance"]))
    assert record["seed"] == 5 and "acgan_mnist" in record["weights"]
    back = data.load("npz", "test", data_dir=out)
    assert back.x.shape == (23, 28, 28, 1) and (back.z == content["z"]).all()
    assert (out.parent / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.split() == [str(out), str(out.with_suffix(".png"))]


def test_uniform_samples_are_mnist_gen(tmp_path):
    assert call("--out", str(tmp_path), "--samples", "3", "--labels", "uniform", "--split", "train") == 0
    assert [p.name for p in tmp_path.iterdir()] == ["samples.npz"]  # not every class is there: no grid
    got, want = data.load("npz", "test", data_dir=tmp_path / "samples.npz"), data.load("mnist_gen", "train", count=3)
    assert (got.y == want.y).all() and (got.z == want.z).all()
    np.testing.assert_allclose(got.x, want.x, atol=1e-5)


def test_quality_is_written(tmp_path, key, capsys):
    """With a classifier of zeros, which calls everything 0."""
    abstract = jax.eval_shape(lambda: classifiers.build("lp_cnn", key=key).variables)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), abstract)
    classifiers.save(tmp_path / "model", classifiers.build("lp_cnn", variables=zeros))
    argv = ("--quality", "--classifier", str(tmp_path / "model"), "--quality-samples", "60", "--samples", "10")
    x, y = np.zeros((20, 28, 28, 1), np.float32), np.arange(20) % 10
    npz.save(tmp_path / "test.npz", x=x, y=y)
    real = ("--dataset", "npz", "--data-dir", str(tmp_path))
    assert call("--out", str(tmp_path / "out"), *argv, *real) == 0
    result = json.loads((tmp_path / "out" / "quality.json").read_text())
    per_class = result["intended"]["per_class"]
    assert [c["share"] for c in per_class] == [1] + [0] * 9 and result["provenance"]["seed"] == 0
    assert result["real"]["classifier"]["share"] == 0.1 and result["diversity"]["n"] == 10
    assert "intended label: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--generator", "acgan_mnits"], "did you mean 'acgan_mnist'"),
        (["--samples", "0"], "samples: got 0"),
        (["--samples", "many"], "invalid int"),
        (["--seed", "-1"], "seed: got -1"),
        (["--labels", "uniformly"], "did you mean 'uniform'"),
        (["--split", "valid"], "unknown split"),
        (["--quality", "--quality-samples", "0"], "quality_samples"),
        (["--quality", "--classifier", "nobody"], "nobody"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_bad_input(tmp_path, capsys, argv, words):
    assert call("--out", str(tmp_path / "out"), *argv) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not any(tmp_path.iterdir())


def test_an_output_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.npz").mkdir()
    monkeypatch.setattr("irob.data.generated.images", lambda *_, **__: pytest.fail("found after the work"))
    for out in ("file/below", "file/below/x.npz", "folder.npz"):
        assert call("--out", str(tmp_path / out)) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder.npz"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "savez", lambda file, **_: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        npz.save(tmp_path / "x.npz", x=np.zeros(3))
    assert not any(tmp_path.iterdir())


