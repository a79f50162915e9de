"""BigGAN's training: spectral normalisation against an exact SVD, a step that learns, and a run that resumes."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import generators
from irob.core.check import InputError
from irob.core.types import Dataset
from irob.training import fit as fit_module
from irob.training.models import biggan, spectral
from train import biggan as door

SMALL = biggan.Recipe(width=1, num_classes=10, batch_size=4, discriminator_steps=2, average_start=1,
                      generator_rate=2e-3, discriminator_rate=2e-3)


def test_sigma_is_the_largest_singular_value(key):
    params = {"a": {"kernel": jax.random.normal(key, (3, 3, 4, 5)), "bias": jnp.ones(5)}, "table": jnp.ones((2, 3))}
    vectors = spectral.start(key, params, lambda name: name == "kernel")
    assert len(vectors) == 1
    done, vectors = spectral.normalised(params, vectors, steps=300)
    matrix = np.asarray(params["a"]["kernel"]).reshape(-1, 5)
    np.testing.assert_allclose(np.asarray(done["a"]["kernel"]).reshape(-1, 5) * np.linalg.norm(matrix, 2), matrix,
                               rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(done["a"]["bias"], params["a"]["bias"])
    np.testing.assert_array_equal(done["table"], params["table"])
    # The gradient goes through sigma: scaling a weight changes nothing.
    slope = jax.grad(lambda p: jnp.sum(jnp.sin(spectral.normalised(p, vectors)[0]["a"]["kernel"])))(params)
    assert abs(float(jnp.sum(slope["a"]["kernel"] * params["a"]["kernel"]))) < 1e-4


def blocks(n=16):
    """Three classes that differ in colour."""
    y = (np.arange(n) % 3).astype(np.int32)
    x = np.zeros((n, 32, 32, 3), np.float32)
    x[np.arange(n), :, :, y] = 1
    return x, y


def test_a_step_learns(key):
    x, y = blocks(8)
    state = biggan.create(key, SMALL)
    step = compiled_step(SMALL)
    first, history = state, []
    for i in range(10):
        state, metrics = step(jax.random.fold_in(key, i), state, {"x": x, "y": y})
        history.append({k: float(v) for k, v in metrics.items()})
    assert all(np.isfinite(list(m.values())).all() for m in history)
    # The discriminator pulls the two apart.
    assert sum(m["real_loss"] + m["generated_loss"] for m in history[-3:]) < sum(
        m["real_loss"] + m["generated_loss"] for m in history[:3])
    for role in ("generator", "discriminator"):
        pairs = zip(jax.tree.leaves(first[role]["params"]), jax.tree.leaves(state[role]["params"]))
        assert sum(float(jnp.abs(a - b).max()) > 0 for a, b in pairs) > 10, role
    assert int(state["count"]) == 10
    # One step after its start the average has moved by 1e-4 of the way.
    before, after = (np.asarray(s["average"]["rgb"]["kernel"]) for s in (first, state))
    assert np.abs(after - before).max() > 0
    assert np.abs(after - np.asarray(state["generator"]["params"]["rgb"]["kernel"])).max() > 0


def test_the_kept_generator_is_normalised_and_measured(key):
    state = biggan.create(key, SMALL)
    g = biggan.generator_of(key, state, SMALL, batches=3)
    for name in ("conv_0", "conv_1", "skip"):
        kernel = np.asarray(g.variables["params"]["block_1"][name]["kernel"])
        assert np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2) == pytest.approx(1, abs=0.02)
    # Statistics are those of the codes: standardised activations of a fresh batch have about mean 0, deviation 1.
    z = jax.random.normal(jax.random.key(9), (300, 128))
    y = jnp.arange(300) % SMALL.num_classes
    images = jax.jit(jax.vmap(g))(z, y)
    trained, _ = jax.jit(lambda v: g.module.apply(v, z, y, train=True, mutable=["batch_stats"]))(g.variables)
    assert np.abs(2 * images - 1 - trained).mean() < 0.05
    stale = {**g.variables, "batch_stats": state["generator"]["batch_stats"]}
    wrong = dataclasses.replace(g, variables=stale)
    assert np.abs(2 * jax.jit(jax.vmap(wrong))(z, y) - 1 - trained).mean() > 0.1


def test_bad_settings_are_said(key, tmp_path):
    for bad, word in (({"width": 0}, "width"), ({"average": 1.0}, "average"), ({"start": "xavier"}, "start"),
                      ({"generator_rate": 0}, "generator rate"), ({"dtype": "float16"}, "dtype")):
        with pytest.raises(InputError, match=word):
            biggan.Recipe(**bad)
    gray = Dataset(np.zeros((4, 28, 28, 1), np.float32), np.zeros(4, np.int32), None, 10, (28, 28, 1), "gray")
    with pytest.raises(InputError, match=r"images \(28, 28, 1\), wanted \(32, 32, 3\)"):
        biggan.train(key, gray, SMALL, epochs=1, workdir=tmp_path)


def quick(f, **_):
    """Compiled with little optimisation: the compiler is what takes the time here."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def compiled_step(recipe):
    return quick(make_step(recipe))


make_step = biggan.make_step


def test_the_door_trains_and_resumes(tmp_path, monkeypatch):
    """Two passes at once, and one after the other, end in the same weights."""
    monkeypatch.setattr(biggan, "make_step", compiled_step)
    monkeypatch.setattr(biggan, "jit", quick)
    monkeypatch.setattr(fit_module, "jit", lambda step, **_: step)
    x, y = blocks()
    np.savez(tmp_path / "train.npz", x=(255 * x).astype(np.uint8), y=y.astype(np.uint8))

    def train(name, epochs, resume=False):
        door.main(door.Config(
            data_dir=str(tmp_path), epochs=epochs, batch_size=4, discriminator_steps=2, width=1, checkpoint_every=1,
            average_start=1, generator_rate=2e-3, discriminator_rate=2e-3,  # as SMALL, whose program is compiled
            workdir=str(tmp_path / name / "run"), out=str(tmp_path / name / "g"), resume=resume))
        return (tmp_path / name / "g" / "weights.safetensors").read_bytes()

    first = train("a", 1)
    assert (tmp_path / "a/run/samples/001.png").is_file()
    with pytest.raises(InputError, match="go on with --resume"):
        train("a", 2)
    assert train("a", 2, resume=True) == train("b", 2) != first
    config = json.loads((tmp_path / "a/g/config.json").read_text())
    assert config["recipe"]["loss"] == "hinge" and config["architecture"] == "biggan"
    g = generators.load(tmp_path / "a/g")
    assert (g.num_classes, g.image_shape, g.latent_dim) == (10, (32, 32, 3), 128)
