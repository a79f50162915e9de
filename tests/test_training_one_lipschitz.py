"""Certified classifiers learn: closed forms of the loss, a run that was stopped, a door whose weights certify."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import certify, classifiers, generators
from irob.classifiers import one_lipschitz as networks
from irob.core.config import run
from irob.core.threat import LpBall
from irob.generators import affine
from irob.math.operator_norm import operator_norm
from irob.training import fit
from irob.training.models import bank, one_lipschitz
from train import one_lipschitz as door

PLAN = one_lipschitz.Plan(0.1, (8,), softness=0.2, sharpness=0.05, rows=600, epochs=3, batch_size=100,
                          learning_rate=0.02)


@pytest.fixture(scope="module")
def separated():
    """Three classes of small images that overlap a little."""
    return affine.build(key=jax.random.key(0), latent_dim=3, num_classes=3, image_shape=(3, 3, 1), singular_values=0.05)


def test_the_loss_is_cross_entropy_at_one_end_and_the_share_of_errors_at_the_other():
    z, y = jnp.array([1.0, 0.2, -0.5]), 0
    r = one_lipschitz.radii(z, y)
    np.testing.assert_allclose(r[1:], (z[0] - z[1:]) / np.sqrt(2), rtol=1e-6)
    shifted = jnp.where(jnp.arange(3) == y, 0.0, 0.3 - r) / 0.2
    assert float(one_lipschitz.relaxed(r, 0.3, 0.2, 0.0)) == pytest.approx(-float(jax.nn.log_softmax(shifted)[0]))
    assert float(one_lipschitz.relaxed(r, 0.3, 0.2, 1.0)) == pytest.approx(1 - float(jax.nn.softmax(shifted)[0]))
    sharp = [float(one_lipschitz.relaxed(r, e, 1e-4, 1.0)) for e in (0.55, 0.58)]  # the radius is 0.566
    assert sharp == [0.0, 1.0]


def test_labels_of_a_bank_are_those_that_its_images_were_drawn_with(separated, key):
    """The same codes in one class alone give the same images, where the labels say so."""
    each = np.stack([bank.bank(key, separated, 90, p) for p in np.eye(3)])
    x, y = bank.bank(key, separated, 90, np.full(3, 1 / 3)), bank.labels(key, 90, np.full(3, 1 / 3))
    np.testing.assert_array_equal(x, each[y, np.arange(90)])
    assert set(y) == {0, 1, 2}


def test_a_run_that_was_stopped_ends_the_same(separated, tmp_path):
    whole = one_lipschitz.train(jax.random.key(1), separated, PLAN, workdir=tmp_path / "whole", label="")
    epoch, done = fit._epoch, []
    with pytest.MonkeyPatch.context() as patch:
        def stop_after_one(*arguments, **keywords):
            done.append(0)
            if len(done) > 1:
                raise KeyboardInterrupt
            return epoch(*arguments, **keywords)

        patch.setattr(fit, "_epoch", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            one_lipschitz.train(jax.random.key(1), separated, PLAN, workdir=tmp_path / "cut", label="")
    again = one_lipschitz.train(jax.random.key(1), separated, PLAN, workdir=tmp_path / "cut", resume=True, label="")
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    for layer in whole.values():
        assert operator_norm(layer["kernel"]) == pytest.approx(1, abs=1e-4)


def test_the_door_writes_a_classifier_that_certifies_what_its_recipe_says(separated, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(generators, "load", lambda name: separated)
    options = ("--rows 600 --epochs 3 --batch-size 100 --widths 8 --epsilon 0.1 --softness 0.2 --sharpness 0.05 "
               f"--learning-rate 0.02 --samples 400 --workdir {tmp_path}").split()
    with pytest.raises(SystemExit) as end:
        run(door.main, door.Config, prog="door", argv=options)
    assert end.value.code == 0
    recipe = json.loads((tmp_path / "classifier" / "config.json").read_text())["recipe"]
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged[-1]["certified"] > logged[0]["certified"] - 0.02
    assert abs(recipe["certified"]["0.1"] - logged[-1]["certified"]) < 0.1
    f = classifiers.load(tmp_path / "classifier")
    assert f.module == networks.build(3, (3, 3, 1), widths=(8,), project=False)
    x = bank.bank(jax.random.key(9), separated, 400, np.full(3, 1 / 3)) / np.float32(255)
    y = bank.labels(jax.random.key(9), 400, np.full(3, 1 / 3))
    found = certify.run(certify.build("lipschitz"), f, x.reshape(-1, 3, 3, 1), y, LpBall("l2", 0.1))
    assert abs(found.certified.mean() - recipe["certified"]["0.1"]) < 0.12
    assert recipe["certified_at_least"]["0.1"] < recipe["certified"]["0.1"] <= recipe["natural"]


@pytest.mark.parametrize("flags", ["--epsilon 0", "--widths 511", "--widths 8", "--boundedness 2", "--epochs 0"])
def test_bad_flags_end_in_one_line(flags, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run(door.main, door.Config, prog="door", argv=[*flags.split(), "--workdir", str(tmp_path / "w")])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_aims_are_checked():
    for wrong in ({"epsilon": float("nan")}, {"widths": ()}, {"sharpness": 0.0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", " ")):
            dataclasses.replace(PLAN, **wrong)
