"""Runs that go on: averaged weights, fresh images, more epochs, two at once; what is refused before data are made."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import data, training
from irob.core import progress
from irob.core.check import InputError
from irob.core.config import run as door
from irob.core.threat import LpBall
from irob.core.types import Classifier
from irob.generators import affine
from irob.training import classifier
from irob.training.fit import LOCK, alone
from irob.training.methods import standard
from irob.training.named import Named
from irob.training.proxy import Generated
from irob.training.source import Batch
from tests import test_training_run
from tests.test_training_run import net, toy
from train import adv

G = affine.build(key=jax.random.key(1), latent_dim=3, num_classes=2, image_shape=(2, 2, 1))


F = net()  # one, so that all trainings share the compiled attack


def train(*args, **more):
    return test_training_run.train(*args, **{"init": F, **more})


def log(workdir):
    return [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]


def same(a, b):
    np.testing.assert_array_equal(a.classifier.variables, b.classifier.variables)


def test_the_average_is_the_weighted_mean_of_all_weights(key):
    """a_t = (1 - d) / (1 - d^t) sum_i d^(t-i) w_i, and the weights are what they are without it, to the last bit."""
    d, tx = 0.7, classifier.optimiser("constant", learning_rate=0.3, epochs=1, steps_per_epoch=9)
    f = Classifier(jnp.ones((4, 2)), lambda w, x: x.ravel() @ w, 2)
    rng, seen = np.random.default_rng(0), []
    averaged, plain = classifier.create(f, tx, average=d), classifier.create(f, tx)
    assert "average" not in plain
    steps = [jax.jit(classifier.make_step(f, standard.build(), tx, average=a)) for a in (d, 0.0)]
    for t in range(1, 6):
        batch = Batch(rng.random((3, 2, 2, 1), np.float32), np.array([0, 1, 1]), np.arange(3))
        (averaged, _), (plain, _) = (s(key, state, batch) for s, state in zip(steps, (averaged, plain)))
        np.testing.assert_array_equal(averaged["variables"], plain["variables"])
        seen.append(np.asarray(plain["variables"], np.float64))
        wanted = (1 - d) / (1 - d**t) * sum(d ** (t - i) * w for i, w in enumerate(seen, 1))
        np.testing.assert_allclose(averaged["average"], wanted, rtol=1e-5)


def test_the_average_is_what_is_given_back_logged_and_gone_on_with(key, tmp_path):
    plain = train("standard", tmp_path / "plain", key, checkpoint_every=1)
    whole = train("standard", tmp_path / "whole", key, checkpoint_every=1, average=0.9)
    assert not np.array_equal(whole.classifier.variables, plain.classifier.variables)
    assert whole.recipe["average"] == 0.9 and not {"average", "fresh"} & plain.recipe.keys()
    assert log(tmp_path / "whole")[-1]["natural"] == classifier.accuracy(whole.classifier, toy(40, 1).take(4))
    train("standard", tmp_path / "parts", key, schedule="constant", epochs=1, average=0.9)
    same(train("standard", tmp_path / "parts", key, resume=True, average=0.9), whole)


def test_fresh_images_come_in_every_epoch_and_again_after_a_kill(key, tmp_path, monkeypatch):
    seen, named = [], Named("mnist_gen", 32, {"generator": G})
    draw = Generated.batches

    def watched(self, key, epoch, size):
        made = draw(self, key, epoch, size)
        return lambda step: (seen.append(made(step).x), made(step))[1]

    monkeypatch.setattr(Generated, "batches", watched)
    whole = train("standard", tmp_path / "whole", key, data=named, fresh=True)
    assert len(seen) == 3 * 4 and len({x.tobytes() for x in seen}) == 12
    assert whole.recipe["fresh"] is True
    train("standard", tmp_path / "parts", key, data=named, fresh=True, epochs=1)
    same(train("standard", tmp_path / "parts", key, data=named, fresh=True, resume=True), whole)


def test_the_log_attacks_as_the_end_does(key, tmp_path, monkeypatch):
    build, made = classifier.attacks.build, []
    monkeypatch.setattr(classifier.attacks, "build", lambda *a, **k: (made.append((a, k)), build(*a, **k))[1])
    trained = train("adv", tmp_path, key, steps=1, step_size=0.1, epsilon=0.3, evaluate_count=20, final_count=20)
    assert len(made) == 3 + 3  # epochs, then radii: all of a hundred steps of a sixth of the largest radius
    assert all(k["steps"] == 100 and k["step_size"] == pytest.approx(0.05) for _, k in made)
    last = log(tmp_path)[-1]
    assert last["robust"] == trained.recipe["pgd_100"]["0.3"] and 0 < last["robust"] < last["natural"]
    few = toy(40, 1).take(20)
    assert last["natural"] == classifier.accuracy(trained.classifier, few)  # of the images that were asked for
    assert last["robust"] == classifier.robust_accuracy(key, trained.classifier, few, LpBall("l2", 0.3))


def test_a_run_goes_on_for_more_epochs(key, tmp_path, capsys, monkeypatch):
    """A schedule that does not depend on the length gives the weights of one run; another says what it does."""
    monkeypatch.setenv(progress.SWITCH, "1")
    whole = train("standard", tmp_path / "whole", key, epochs=4)
    train("standard", tmp_path / "w", key, epochs=2)
    capsys.readouterr()
    more = train("standard", tmp_path / "w", key, epochs=4, evaluate_count=8, resume=True)
    same(more, whole)
    err = capsys.readouterr().err
    assert err.count("2 epochs are done, goes on to 4: as in one run of that length") == 1, err
    assert "extended" not in more.recipe and [r["epoch"] for r in log(tmp_path / "w")] == [1, 2, 3, 4]
    with pytest.raises(InputError, match="4 epochs, wanted 3; give --epochs 4 or more"):
        train("standard", tmp_path / "w", key, epochs=3, resume=True)
    with pytest.raises(InputError, match=r"other settings \(config.json: learning_rate\)"):
        train("standard", tmp_path / "w", key, epochs=5, learning_rate=0.5, resume=True)

    train("standard", tmp_path / "c", key, epochs=2, schedule="cosine")
    capsys.readouterr()
    more = train("standard", tmp_path / "c", key, epochs=3, schedule="cosine", resume=True)
    assert "until now its schedule cosine was that of 2, from here on it is that of 3" in capsys.readouterr().err
    assert more.recipe["extended"] == {"2": 2} and more.recipe["epochs"] == 3
    assert train("standard", tmp_path / "c", key, epochs=3, schedule="cosine", resume=True).recipe["extended"]


def test_two_trainings_in_one_folder(key, tmp_path):
    with alone(tmp_path), pytest.raises(InputError, match="another training is at work there") as e:
        train("standard", tmp_path, key)
    assert "\n" not in str(e.value)
    assert train("standard", tmp_path, key).recipe["natural"] > 0.5  # nobody is there any more
    script = f"import pathlib, irob.training.fit as f, os\nwith f.alone(pathlib.Path({str(tmp_path)!r})): os._exit(9)"
    subprocess.run([sys.executable, "-c", script])
    with alone(tmp_path):  # a lock dies with its process
        assert (tmp_path / LOCK).exists()


def test_an_epoch_is_a_line_unless_told_not_to(key, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(progress.SWITCH, "1")
    train("standard", tmp_path / "a", key, epochs=2)
    lines = [line for line in capsys.readouterr().err.splitlines() if "epoch" in line]
    assert len(lines) == 2
    for word in ("standard epoch 2/2: ", "loss 0.", "natural ", "robust ", " s"):
        assert word in lines[1], lines
    monkeypatch.setenv(progress.SWITCH, "0")
    train("standard", tmp_path / "b", key, epochs=1)
    assert "epoch" not in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "says"), [
    ("--schedule cosin", "did you mean 'cosine'"), ("--classifier smal_cnn", "did you mean 'small_cnn'"),
    ("--rule sdg", "did you mean 'sgd'"), ("--attack apgd_cee", "did you mean 'apgd_ce'"),
    ("--init no_such", "no_such"), ("--start nois", "did you mean 'noise'"), ("--norm l3", "did you mean"),
    ("--average 1", "wanted a decay in [0, 1)"), ("--average nan", "average: got nan"),
    ("--final-radii 1 -1", "final radii: got -1"),
    ("--steps 0", "steps: got 0"),
    ("--out file/below", "cannot be written"), ("--workdir file/below", "cannot be written"),
    ("--workdir done", "go on with --resume"), ("--workdir done --resume", "other settings"),
    ("--dataset mnist --fresh", "images of its own"), ("--seed 4294967296", "of at most 4294967295"),
    ("--epochs 99999999999999999999", "epochs: got 99999999999999999999"), ("--momentum 2", "momentum: got 2"),
    ("--count 0", "count: got 0"),
    ("--generator acgan_mnits --fresh", "did you mean 'acgan_mnist'"), ("--memory much", "memory: got 'much'"),
])
def test_what_needs_no_data_is_refused_before_they_are_made(argv, says, tmp_path, capsys, monkeypatch):
    """And nothing is left behind, folders neither."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "done" / "checkpoints" / "1").mkdir(parents=True)
    (tmp_path / "done" / "config.json").write_text('{"seed": 5}')
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(data, "load", lambda *a, **k: pytest.fail("data were made"))
    with pytest.raises(SystemExit) as e:
        door(adv.main, adv.Config, prog="train.adv", argv=argv.split())
    err = capsys.readouterr().err
    assert e.value.code == 2 and says in err and err.count("\n") == 1, err
    assert sorted(p for p in tmp_path.rglob("*") if p.name != LOCK) == before


def test_fresh_needs_a_generator(key, tmp_path):
    with pytest.raises(InputError, match="wanted the name of a generated one"):
        train("standard", tmp_path, key, fresh=True)
    with pytest.raises(InputError, match="cascade"):
        training.run.plan("lp_certify", "mnist_gen", fresh=True, cascade=2)
