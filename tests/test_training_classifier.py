"""State, step and evaluation of classifier training; the doors on a tiny data set."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irob import classifiers, data
from irob.core.config import run
from irob.core.threat import LpBall
from irob.core.types import Classifier
from irob.training import classifier as training
from irob.training.fit import Run
from irob.training.methods import adv, standard
from irob.training.source import Batch
from train import adv as adv_door
from train import standard as standard_door
from train import trades as trades_door

TINY = ["--dataset", "synthetic", "--classifier", "lp_cnn", "--count", "64", "--batch-size", "16", "--epochs", "2",
        "--evaluate-count", "8", "--final-count", "8", "--checkpoint-every", "1", "--learning-rate", "0.01"]


def test_optimiser_is_pytorchs_momentum():
    """v <- 0.9 v + (g + decay w), w <- w - rate v, by hand over two steps."""
    tx = training.optimiser("constant", learning_rate=0.1, weight_decay=0.01, epochs=1, steps_per_epoch=2)
    w, v = np.array([1.0, -2.0]), np.zeros(2)
    params, state = {"w": jnp.asarray(w)}, tx.init({"w": jnp.asarray(w)})
    for g in (np.array([0.5, 0.25]), np.array([-1.0, 3.0])):
        updates, state = tx.update({"w": jnp.asarray(g)}, state, params)
        params = optax.apply_updates(params, updates)
        v = 0.9 * v + g + 0.01 * w
        w = w - 0.1 * v
    np.testing.assert_allclose(params["w"], w, rtol=1e-6)


def test_attack_sees_inference_mode_and_update_sees_training_mode(key):
    seen = []

    class Module:
        def apply(self, variables, x, train=False, rngs=None):
            seen.append((train, rngs is not None))
            return x.reshape(len(x), -1)[:, :2] * variables

    method = adv.build(LpBall("l2", 0.1), steps=1, step_size=0.1)
    tx = training.optimiser(epochs=1, steps_per_epoch=1)
    step = training.make_step(Classifier(None, Module(), 2), method, tx)
    state = {"variables": jnp.ones(()), "optimiser": tx.init(jnp.ones(()))}
    step(key, state, Batch(np.ones((2, 2, 2, 1), np.float32) / 2, np.zeros(2, np.int32), np.arange(2)))
    assert (False, False) in seen and (True, True) in seen
    assert set(seen) == {(False, False), (True, True)}


def test_epsilon_warmup_grows_the_ball(key):
    class Module:
        def apply(self, variables, x, train=False, rngs=None):
            return x.reshape(len(x), -1) * variables

    class Probe(adv.Adversarial):
        def loss(self, network, batch, adversarial):
            return jnp.sum((adversarial - batch.x) ** 2) ** 0.5 + 0 * network(batch.x).sum()

        def ramp(self, factor):
            return Probe(super().ramp(factor).search)

    probe = Probe(adv.build(LpBall("l2", 0.2), steps=4, step_size=0.1).search)
    tx = training.optimiser(epochs=1, steps_per_epoch=8)
    step = training.make_step(Classifier(None, Module(), 2), probe, tx, warm_up=4)
    state = {"variables": jnp.ones(()), "optimiser": tx.init(jnp.ones(()))}
    batch = Batch(np.full((1, 1, 2, 1), 0.5, np.float32), np.zeros(1, np.int32), np.zeros(1, np.int32))
    lengths = []
    for i in range(6):
        state, metrics = step(jax.random.fold_in(key, i), state, batch)
        lengths.append(float(metrics["loss"]))
    np.testing.assert_allclose(lengths, [0.05, 0.1, 0.15, 0.2, 0.2, 0.2], atol=1e-3)


def test_standard_training_learns(key, tmp_path):
    train, test = (data.load("synthetic", split, count=256, num_classes=2) for split in ("train", "test"))
    tx = training.optimiser("cosine", learning_rate=0.05, epochs=4, steps_per_epoch=16)
    start = classifiers.build("lp_cnn", 2, train.image_shape, key=key)
    trained = training.train(key, start, standard.build(), train, tx=tx, run=Run(4, 16, tmp_path),
                             evaluation=training.Evaluation(test, LpBall("l2", 0.1), 8))
    assert training.accuracy(start, test) < 0.7
    assert training.accuracy(trained, test) > 0.9
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["natural"] == training.accuracy(trained, test.take(8))
    assert all(0 <= line["robust"] <= 1 for line in lines)


@pytest.mark.parametrize(("door", "name", "inner"), [
    (standard_door, "standard", []),
    (adv_door, "adv", ["--steps", "2", "--step-size", "0.1", "--epsilon", "0.2", "--epsilon-warmup", "1"]),
    (trades_door, "trades", ["--steps", "2", "--step-size", "0.02", "--norm", "linf", "--epsilon", "0.03"]),
])
def test_doors(door, name, inner, tmp_path):
    argv = [*TINY, *inner, "--export-every", "1", "--workdir", str(tmp_path / "w"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        run(door.main, door.Config, prog=f"python -m train.{name}", argv=argv)
    assert end.value.code == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["recipe"]["method"] == name and config["recipe"]["epochs"] == 2
    assert len(config["recipe"]["pgd_100"]) == 3 and config["provenance"]["seed"] == 0
    assert classifiers.load(tmp_path / "w" / "exports" / "1").num_classes == 10
    classifiers.load(tmp_path / "out")


def test_resumed_run_ends_in_the_same_weights(tmp_path, monkeypatch):
    """Stopped after an epoch and resumed: the weights of an uninterrupted run, to the last bit."""
    def go(workdir, *more):
        argv = [*TINY, "--steps", "2", "--step-size", "0.1", "--epsilon", "0.2", "--final-count", "0",
                "--workdir", str(tmp_path / workdir), *more]
        with pytest.raises((SystemExit, RuntimeError)) as end:
            run(adv_door.main, adv_door.Config, prog="python -m train.adv", argv=argv)
        return getattr(end.value, "code", None)

    assert go("whole") == 0
    measure = training.accuracy
    monkeypatch.setattr(training, "accuracy", lambda *a: (_ for _ in ()).throw(RuntimeError("killed"))
                        if (tmp_path / "parts" / "log.jsonl").exists() else measure(*a))
    assert go("parts") is None
    monkeypatch.setattr(training, "accuracy", measure)
    assert go("parts", "--resume") == 0
    whole, parts = (classifiers.load(tmp_path / d / "classifier") for d in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole.variables, parts.variables)


@pytest.mark.parametrize(("argv", "says"), [
    (["--epsilon", "-1"], "epsilon"),
    (["--epsilon", "nan"], "epsilon"),
    (["--dataset", "mnist_gne"], "mnist_gen"),
    (["--classifier", "smal_cnn"], "small_cnn"),
    (["--schedule", "cosin"], "cosine"),
    (["--norm", "l3"], "l2"),
    (["--steps", "0"], "steps"),
    (["--init", "no_such"], "no_such"),
    (["--batch-size", "100000"], "batch size"),
])
def test_bad_flags_are_one_line_and_status_2(argv, says, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run(adv_door.main, adv_door.Config, prog="python -m train.adv",
            argv=[*TINY, "--workdir", str(tmp_path / "w"), *argv])
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert says in err and err.count("\n") == 1
    assert not list(tmp_path.rglob("*.safetensors"))
