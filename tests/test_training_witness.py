"""Witnesses learn: a half-space turns to the direction that moves most, a network beats where it began."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob.classifiers import one_lipschitz
from irob.core.check import InputError
from irob.core.config import run
from irob.evaluation.limits import regions as witnesses
from irob.generators import affine
from irob.training import fit
from irob.training.models import witness
from train import witness as door

PLAN = witness.Plan(alpha=0.1, epsilons=(0.1,), widths=(), rows=1500, own=1, epochs=12, batch_size=250,
                    learning_rate=0.05, sharpness=0.05)


@pytest.fixture(scope="module")
def stretched():
    """An affine generator that moves images most along one direction; pixels stay within [0, 1]."""
    return affine.build(key=jax.random.key(0), latent_dim=3, image_shape=(3, 3, 1), singular_values=[0.2, 0.05, 0.03])


def test_a_half_space_finds_the_direction_that_moves_most(stretched, tmp_path):
    layers = witness.train(jax.random.key(1), stretched, PLAN, error_class=None, workdir=tmp_path)
    u = np.asarray(one_lipschitz.export(layers)["0"]["kernel"])[:, 0]
    top = np.linalg.svd(np.asarray(stretched.variables["matrix"])[0].reshape(9, 3))[0][:, 0]
    assert abs(u @ top) > 0.98


def test_a_run_that_was_stopped_ends_the_same(stretched, tmp_path):
    plan = dataclasses.replace(PLAN, widths=(8,), rows=500, epochs=6)
    options = {"error_class": None, "label": ""}
    whole = witness.train(jax.random.key(1), stretched, plan, workdir=tmp_path / "whole", **options)
    epochs = []
    with pytest.MonkeyPatch.context() as patch:
        epoch = fit._epoch

        def stop_after_five(*arguments, **keywords):
            epochs.append(0)
            if len(epochs) > 5:
                raise KeyboardInterrupt
            return epoch(*arguments, **keywords)

        patch.setattr(fit, "_epoch", stop_after_five)
        with pytest.raises(KeyboardInterrupt):
            witness.train(jax.random.key(1), stretched, plan, workdir=tmp_path / "cut", **options)
    again = witness.train(jax.random.key(1), stretched, plan, workdir=tmp_path / "cut", resume=True, **options)
    jax.tree.map(np.testing.assert_array_equal, again, whole)


def test_training_lowers_the_risk_and_stays_orthogonal(tmp_path, key):
    g = affine.build(key=key, latent_dim=4, num_classes=3, image_shape=(3, 3, 1), singular_values=0.1)
    plan = dataclasses.replace(PLAN, alpha=0.05, widths=(8,), learning_rate=0.03, epochs=8)
    x = [witness.bank(jax.random.fold_in(key, i), g, 2000, p) / np.float32(255)
         for i, p in enumerate(([0, 1, 0], [0.5, 0, 0.5]))]

    def risk(layers):
        return float(witness.objective(layers, *map(jnp.asarray, x), plan, 0.15, 1 / 3))

    start = one_lipschitz.init(key, 9, plan.widths)
    layers = witness.train(key, g, plan, error_class=1, workdir=tmp_path)
    assert risk(layers) < 0.9 * risk(start)
    assert abs(one_lipschitz.constants(layers)[0] - 1) < 1e-4
    with pytest.raises(InputError, match="prior"):
        witness.train(key, g, dataclasses.replace(plan, alpha=0.5), error_class=1, workdir=tmp_path)


def test_gradients_of_the_threshold_are_those_of_a_shift():
    """Moving all scores by c moves the threshold by c."""
    h = jnp.asarray(np.random.default_rng(0).normal(size=100), jnp.float32)
    assert float(witness.threshold(h, 0.1)) == np.sort(h)[90]
    assert float(jax.grad(lambda c: witness.threshold(h + c, 0.1))(0.0)) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_tangent_steps_stay_orthogonal_to_first_order(shape, key):
    w = one_lipschitz.orthogonal(jax.random.normal(key, shape), 40)
    g = witness.tangent(w, jax.random.normal(jax.random.fold_in(key, 1), shape))

    def off(w):
        square = w @ w.T if shape[0] < shape[1] else w.T @ w
        return float(jnp.abs(square - jnp.eye(4)).max())

    assert off(w + 1e-2 * g) < 20e-4
    assert off(witness.polish(w + 1e-2 * g)) < 1e-5


def test_the_door_writes_a_witness_that_loads(tmp_path, capsys, monkeypatch, stretched):
    from irob import generators

    monkeypatch.setattr(generators, "load", lambda name: stretched)
    options = ("--rows 300 --own 1 --epochs 1 --batch-size 100 --widths 4 --alpha 0.1 --error-class all "
               f"--workdir {tmp_path}").split()
    with pytest.raises(SystemExit) as end:
        run(door.main, door.Config, prog="door", argv=options)
    assert end.value.code == 0
    s = witnesses.load(tmp_path / "witness")
    assert s.names == ("errors in all classes",)
    assert s(jnp.zeros((3, 3, 1))).shape == (1,)


@pytest.mark.parametrize("flags", ["--family both", "--error-class 11", "--alpha 1.5", "--epochs 0", "--widths 3"])
def test_bad_flags_end_in_one_line(flags, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run(door.main, door.Config, prog="door", argv=[*flags.split(), "--workdir", str(tmp_path / "w")])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
