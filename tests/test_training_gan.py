"""The GAN's step against the recipe written out plainly, and both doors from data files to weights."""

import gzip
import json
import struct
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irob import generators
from irob.core import weights
from irob.core.check import InputError
from irob.core.types import Dataset
from irob.training.models import gan


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {"x": rng.random((8, 28, 28, 1), np.float32), "y": np.arange(8, dtype=np.int32)}


def plain(key, state, batch):
    """Two separate updates, the generator run twice, losses written with probabilities."""
    from irob.generators import acgan

    g, d = acgan.GeneratorNet(), acgan.discriminator()
    x, y = batch["x"] * 2 - 1, batch["y"]
    z = jax.random.normal(key, (len(y), 100))
    onehot = jax.nn.one_hot(y, 10)

    def call(net, params, stats, *inputs):
        return net.apply({"params": params, "batch_stats": stats}, *inputs, train=True, mutable=["batch_stats"])

    def judge(params, stats, images, real):
        (logit, classes), _ = call(d, params, stats, images)
        p = nn.sigmoid(logit)
        adversarial = -jnp.mean(jnp.log(p if real else 1 - p))
        return adversarial - jnp.mean(jnp.sum(onehot * jnp.log(nn.softmax(classes)), axis=1))

    def make(params):
        return call(g, params, state["generator"]["batch_stats"], z, y)[0]

    tx = optax.adam(2e-4, b1=0.5, b2=0.999)
    gs, ds = state["generator"], state["discriminator"]
    fake = make(gs["params"])
    stats = ds["batch_stats"]
    grads = jax.grad(lambda p: judge(p, stats, x, True) + judge(p, stats, fake, False))(ds["params"])
    d_params = optax.apply_updates(ds["params"], tx.update(grads, tx.init(ds["params"]))[0])
    grads = jax.grad(lambda p: judge(d_params, stats, make(p), True))(gs["params"])
    g_params = optax.apply_updates(gs["params"], tx.update(grads, tx.init(gs["params"]))[0])
    return g_params, d_params


def test_step_is_the_published_recipe(batch, key):
    """Weights move by up to 2e-4 in Adam's first step; the two agree far better than that.

    Left out are biases that a batch-norm takes away again: their gradient is rounding, and Adam makes a step of it.
    """
    state = gan.create(key, "acgan")
    after, metrics = jax.jit(gan.make_step("acgan"))(key, state, batch)
    g_params, d_params = jax.jit(plain)(key, state, batch)
    for role, wanted in (("generator", g_params), ("discriminator", d_params)):
        got, wanted, before = map(weights.flatten, (after[role]["params"], wanted, state[role]["params"]))
        for name in sorted(got.keys() - {f"{layer}/bias" for layer in ("fc_0", "fc_3", "deconv_0", "conv_2")}):
            moved = np.mean(np.abs(got[name] - before[name]))
            assert moved > 1e-4, (role, name)
            assert np.mean(np.abs(got[name] - wanted[name])) < 0.02 * moved, (role, name)
    assert np.isclose(metrics["discriminator_loss"], 2 * np.log(2) + 2 * np.log(10), rtol=0.2)
    assert set(metrics) == {"discriminator_loss", "generator_loss", "class_loss_real", "class_loss_generated"}


def test_state_survives_a_step_of_the_same_shape(batch, key):
    """What a step returns has the structure of what it took, statistics moved: `fit` and resume rely on it."""
    state = jax.eval_shape(lambda: gan.create(jax.random.key(0), "gan"))
    after, metrics = jax.eval_shape(gan.make_step("gan"), key, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(lambda a: a.shape, after) == jax.tree.map(lambda a: a.shape, state)
    assert set(metrics) == {"discriminator_loss", "generator_loss"}


def test_wrong_data_is_refused(tmp_path, key):
    options = {"epochs": 1, "batch_size": 2, "learning_rate": 2e-4, "workdir": tmp_path / "w"}
    colour = Dataset(np.zeros((4, 32, 32, 3), np.float32), np.zeros(4, np.int32), None, 10, (32, 32, 3), "cifar10")
    with pytest.raises(InputError, match=r"got images \(32, 32, 3\), wanted \(28, 28, 1\)"):
        gan.train(key, "acgan", colour, **options)
    many = Dataset(np.zeros((4, 28, 28, 1), np.float32), np.zeros(4, np.int32), None, 47, (28, 28, 1), "letters")
    with pytest.raises(InputError, match="got 47 classes, wanted at most 10"):
        gan.train(key, "acgan", many, **options)
    assert not (tmp_path / "w").exists()


def idx(folder, n=32):
    """A tiny data set in MNIST's format."""
    rng = np.random.default_rng(1)
    for stem in ("train", "t10k"):
        images = rng.integers(0, 256, (n, 28, 28), np.uint8).tobytes()
        with gzip.open(folder / f"{stem}-images-idx3-ubyte.gz", "wb") as f:
            f.write(struct.pack(">4I", 2051, n, 28, 28) + images)
        with gzip.open(folder / f"{stem}-labels-idx1-ubyte.gz", "wb") as f:
            f.write(struct.pack(">2I", 2049, n) + (np.arange(n) % 10).astype(np.uint8).tobytes())


@pytest.mark.parametrize("name", ["acgan", "gan"])
def test_door(tmp_path, name):
    idx(tmp_path)
    flags = ["--data-dir", ".", "--epochs", "1", "--batch-size", "16", "--workdir", "w", "--out", "o", "--half"]
    done = door(name, flags, tmp_path)
    assert done.returncode == 0, done.stderr
    generator = generators.load(tmp_path / "o")
    assert generator.name == name
    assert generator(jnp.zeros(100), 0).shape == (28, 28, 1)
    assert (tmp_path / "w/samples/001.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "w/log.jsonl").read_text())
    assert record["epoch"] == 1 and np.isfinite(record["generator_loss"])
    recipe = json.loads((tmp_path / "o/config.json").read_text())["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["seed"]) == (1, 16, 0)
    assert recipe["figures"]["generator_loss"] == record["generator_loss"]


def test_door_says_what_is_missing_in_one_line(tmp_path):
    done = door("acgan", ["--data-dir", "nowhere", "--workdir", "w", "--out", "o"], tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "nowhere" in done.stderr
    assert not list(tmp_path.iterdir())


def door(name, flags, cwd):
    command = [sys.executable, "-m", f"train.{name}", *flags]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=200)
