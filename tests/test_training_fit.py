"""The training loop: a run that was killed and resumed ends in the weights of one that was not."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import checkpoint
from irob.core.check import InputError
from irob.training.fit import TrainingError, fit

# Linear regression by noisy gradient steps: every step uses its key, so a wrong key or order shows in the weights.
N, D = 40, 3


def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D)).astype(np.float32)
    return {"x": x, "y": x @ np.array([1.0, -2.0, 3.0], np.float32)}


def step(key, state, batch):
    def loss(w):
        return jnp.mean((batch["x"] @ w - batch["y"]) ** 2)

    value, grad = jax.value_and_grad(loss)(state["w"])
    w = state["w"] - 0.1 * grad + 0.01 * jax.random.normal(key, (D,))
    return {"w": w, "steps": state["steps"] + 1}, {"loss": value}


def start():
    return {"w": jnp.zeros(D), "steps": jnp.int32(0)}


def run(workdir, epochs, **keywords):
    options = {"batch_size": 8, "checkpoint_every": 1, "label": ""} | keywords
    function = options.pop("step", step)
    return fit(jax.random.key(5), start(), function, problem(), epochs=epochs, workdir=workdir, **options)


def records(workdir):
    return [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]


def test_learns_logs_and_counts_steps(tmp_path):
    state = run(tmp_path, 6, evaluate=lambda state, epoch: {"norm": float(jnp.linalg.norm(state["w"]))})
    np.testing.assert_allclose(state["w"], [1, -2, 3], atol=0.3)
    assert int(state["steps"]) == 6 * 5
    log = records(tmp_path)
    assert [r["epoch"] for r in log] == [1, 2, 3, 4, 5, 6]
    assert log[-1]["loss"] < 0.1 < log[0]["loss"]
    assert log[-1]["norm"] == pytest.approx(float(jnp.linalg.norm(state["w"])))


def test_order_is_a_permutation_that_the_key_decides(tmp_path):
    """Each epoch sees every example once, in an order of its own; another key gives another; every step has its key."""
    def spy(key, state, batch):
        seen = jax.lax.dynamic_update_slice(state["seen"], batch["i"], (state["step"] * 8,))
        drawn = state["drawn"].at[state["step"]].set(jax.random.uniform(key))
        return {"seen": seen, "drawn": drawn, "step": state["step"] + 1}, {"loss": 0.0}

    def run(seed):
        state = {"seen": jnp.full(2 * N, -1), "drawn": jnp.zeros(10), "step": jnp.int32(0)}
        data, workdir = {"i": np.arange(N)}, tmp_path / f"w{seed}"
        return fit(jax.random.key(seed), state, spy, data, epochs=2, batch_size=8, workdir=workdir, label="")

    first, other = run(0), run(1)
    a, b = np.asarray(first["seen"]), np.asarray(other["seen"])
    assert sorted(a[:N]) == sorted(a[N:]) == sorted(b[:N]) == list(range(N))
    assert not np.array_equal(a[:N], a[N:]) and not np.array_equal(a[:N], b[:N])
    assert len({*first["drawn"].tolist(), *other["drawn"].tolist()}) == 20


def test_resume_after_some_epochs(tmp_path):
    whole = run(tmp_path / "whole", 5)
    run(tmp_path / "pieces", 2)
    pieces = run(tmp_path / "pieces", 5, resume=True)
    np.testing.assert_array_equal(whole["w"], pieces["w"])
    drop = lambda log: [{k: v for k, v in r.items() if k != "seconds"} for r in log]  # noqa: E731
    assert drop(records(tmp_path / "whole")) == drop(records(tmp_path / "pieces"))


def test_interrupted_between_checkpoint_and_next_epochs_log(tmp_path):
    """Checkpoints every two epochs, stopped in epoch 4 after its third was logged: epochs 3 and 4 are done again."""
    def stop(state, epoch):
        if epoch == 4:
            raise KeyboardInterrupt
        return {}

    whole = run(tmp_path / "whole", 5, checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", 5, checkpoint_every=2, evaluate=stop)
    assert [r["epoch"] for r in records(tmp_path / "cut")] == [1, 2, 3]
    with open(tmp_path / "cut" / "log.jsonl", "a") as log:
        log.write('{"epoch": 4, "lo')  # a line cut short
    cut = run(tmp_path / "cut", 5, checkpoint_every=2, resume=True)
    np.testing.assert_array_equal(whole["w"], cut["w"])
    assert [r["epoch"] for r in records(tmp_path / "cut")] == [1, 2, 3, 4, 5]


def test_kill_in_the_middle_of_an_epoch(tmp_path):
    """kill -9 of a process that trains; the resumed run ends where an uninterrupted one ends."""
    script = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        import jax, test_training_fit as t
        def slow(key, state, batch):
            jax.debug.callback(lambda: time.sleep(0.05))
            return t.step(key, state, batch)
        t.run(__import__("pathlib").Path(sys.argv[1]), 50, step=slow)
    """)
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", script, str(killed)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while (checkpoint.latest(killed / "checkpoints") or 0) < 2:
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.12)  # into the third epoch
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = checkpoint.latest(killed / "checkpoints")
    assert 2 <= done < 50
    resumed, whole = run(killed, done + 2, resume=True), run(tmp_path / "whole", done + 2)
    np.testing.assert_array_equal(resumed["w"], whole["w"])


@pytest.mark.parametrize(("bad_epoch", "good"), [(0, "none yet"), (2, "epoch 2")])
def test_nan_stops_with_the_step_and_the_last_good_checkpoint(tmp_path, bad_epoch, good):
    def spoiled(key, state, batch):
        state, metrics = step(key, state, batch)
        return state, {"loss": jnp.where(state["steps"] == bad_epoch * 5 + 3, jnp.nan, metrics["loss"])}

    with pytest.raises(TrainingError, match=rf"step 3/5: loss is nan; last good checkpoint: {good}"):
        run(tmp_path, 4, step=spoiled)
    assert checkpoint.epochs(tmp_path / "checkpoints") == list(range(1, bad_epoch + 1))


def test_runs_are_not_mixed(tmp_path):
    run(tmp_path, 1, config={"seed": 0})
    with pytest.raises(InputError, match="--resume"):
        run(tmp_path, 2, config={"seed": 0})
    with pytest.raises(InputError, match="other settings"):
        run(tmp_path, 2, config={"seed": 1}, resume=True)


def test_keep_and_sizes(tmp_path):
    run(tmp_path, 4, keep=2)
    assert checkpoint.epochs(tmp_path / "checkpoints") == [3, 4]
    with pytest.raises(InputError, match="at most the 40 examples"):
        run(tmp_path / "b", 1, batch_size=41)
    assert not (tmp_path / "b").exists()
