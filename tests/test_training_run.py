"""One call trains: by name, by a user's own method, in stages; and the doors, wherever they are called from."""

import ast
import dataclasses
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import classifiers, training
from irob.commands import train as doors
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.core.types import Dataset, Proposal, value
from irob.generators import affine
from irob.training import settings
from irob.training.method import Method, mean_cross_entropy
from irob.training.proxy import Mixture
from irob.training.run import plan
from irob.training.search import AttackSearch
from irob.training.source import Batch, of

ROOT = pathlib.Path(__file__).parents[1]
OUTSIDE = "tests.outside.smoothed_labels:build"


def toy(n, seed=0):
    """Two classes, told apart by the first pixel."""
    x = np.random.default_rng(seed).random((n, 2, 2, 1), np.float32)
    return Dataset(x, (x[:, 0, 0, 0] > 0.5).astype(np.int32), x.reshape(n, 4), 2, (2, 2, 1), "toy")


def net():
    return classifiers.from_function(lambda w, x: (x.ravel() - 0.5) @ w, jnp.zeros((4, 2)), 2, (2, 2, 1))


def train(method, workdir, key, data=None, **more):
    options = {"init": net(), "epochs": 3, "batch_size": 8, "evaluate_count": 4, "final_count": 0, "epsilon": 0.05,
               "learning_rate": 1.0, "schedule": "constant"}
    data = toy(48) if data is None else data
    return training.train(method, data, key=key, test=toy(40, 1), workdir=workdir, **{**options, **more})


def test_a_model_of_ones_own_by_a_method_of_ones_own(key, tmp_path):
    """Neither stands in irob: a JAX function trained by a function of another module."""
    trained = train(OUTSIDE, tmp_path, key, share=0.3)
    assert trained.recipe["natural"] > 0.8 and trained.recipe["share"] == 0.3 and trained.recipe["method"] == OUTSIDE
    assert not np.array_equal(trained.classifier.variables, net().variables)
    config, _ = doors.door(OUTSIDE)
    assert config(share=0.2).share == 0.2 and config.__doc__ == "Label smoothing (Szegedy et al., 2016)."
    helps = {f.name: f.metadata["custom_args"]["help"] for f in dataclasses.fields(config)}
    assert helps["share"] == "of the target that all classes get alike." and {"epochs", "out"} <= helps.keys()


def test_a_mixture_trains(key, tmp_path):
    trained = train("standard", tmp_path, key, data=Mixture(of(toy(24)), of(toy(30, 2)), 0.5))
    assert trained.recipe["natural"] > 0.8


@value("stages")
class Staged(Method):
    """Standard training that stops after some stages, each of them from the weights of the last."""

    stages: int
    staged = True

    def loss(self, network, batch, adversarial):
        return mean_cross_entropy(network(adversarial), batch.y)

    def next_stage(self, trained, stage):
        if stage.number == self.stages:
            return None
        return dataclasses.replace(stage, number=stage.number + 1, start=trained)


def test_a_method_goes_on_in_stages(key, tmp_path):
    trained = train(Staged(3), tmp_path / "w", key, out=None)
    assert [p.name for p in sorted((tmp_path / "w").iterdir())] == ["1", "2", "3"]
    lengths = [float(jnp.linalg.norm(t.classifier.variables)) for t in (*trained.earlier, trained)]
    assert 0 < lengths[0] < lengths[1] < lengths[2]  # on from where the last one ended
    again = train(Staged(3), tmp_path / "w", key, resume=True)
    np.testing.assert_array_equal(again.classifier.variables, trained.classifier.variables)


def test_what_cannot_be_trained_is_one_line(key, tmp_path):
    for make, says in [
        (lambda: plan("avd"), "did you mean 'adv'"),
        (lambda: plan("tests.outside.smoothed_labels:biuld"), "no function 'biuld'"),
        (lambda: plan("no_such_module:build"), "cannot be imported"),
        (lambda: plan("tests.outside.smoothed_labels:no_method"), "got float, wanted an irob.training.method.Method"),
        (lambda: plan("adv", bta=1), "unknown setting 'bta'"),
        (lambda: plan("adv", attack="apgd_cee"), "did you mean 'apgd_ce'"),
        (lambda: plan("adv", attack="autoattack"), "ensemble"),
        (lambda: plan("adv", attack="manifold"), "--generator"),
        (lambda: training.train("adv", toy(8), key=key, workdir=tmp_path / "w"), "test: got no data set"),
        (lambda: train("adv", tmp_path / "w", key, out=tmp_path / "o"), "irob cannot write"),
        (lambda: training.train("adv", toy(8), key=0, workdir=tmp_path / "w"), "typed key"),
    ]:
        with pytest.raises(InputError, match=says) as e:
            make()
        assert "\n" not in str(e.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("own", ["train.py", "train/__init__.py"])
def test_a_users_own_train_hides_no_method(own, tmp_path):
    file = tmp_path / own
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise SystemExit('the wrong train')\n")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "irob", "train", "adv", "--epsilon", "-1"], cwd=tmp_path, env=env,
                          capture_output=True, text=True)
    assert done.returncode == 2 and "epsilon: got -1" in done.stderr, done.stderr


def test_both_doors_are_one():
    import train.adv
    import train.gan
    from irob.commands.training import gan

    assert train.gan.Config is gan.Config and train.gan.main is gan.main
    assert {f.name for f in dataclasses.fields(train.adv.Config)} == {
        *(f.name for f in dataclasses.fields(settings.of("adv"))), *doors.FILES}
    assert {p.stem for p in (ROOT / "train").glob("[a-z]*.py")} == set(doors.names())


def test_no_function_of_training_has_more_than_eight_parameters():
    for file in (ROOT / "irob/training").rglob("*.py"):
        if file.name == "witness.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name != "build":
                a = node.args
                assert len(a.posonlyargs + a.args + a.kwonlyargs) <= 8, f"{file.name}: {node.name}"


@pytest.mark.parametrize("name", ["on_manifold", "in_distribution"])
def test_an_attack_in_the_latent_space_is_an_inner_search(name, key):
    """It sees the codes of the batch, and what it finds is in the ball."""
    g = affine.build(key=key, num_classes=2, latent_dim=3, image_shape=(2, 2, 1))
    z, y = jax.random.normal(key, (6, 3)), jnp.arange(6) % 2
    batch = Batch(jnp.clip(jax.vmap(g)(z, y), 0, 1), y, jnp.arange(6), z)
    f = classifiers.from_function(lambda w, x: x.ravel() @ w, jax.random.normal(key, (4, 2)), 2, (2, 2, 1))
    method = plan("adv", epsilon=0.3, steps=4, attack=name, generator=g).method
    seen = method.perturb(key, f, batch)
    assert jax.vmap(LpBall("l2", 0.3).contains)(batch.x, seen).all()
    assert float(jnp.abs(seen - batch.x).max()) > 1e-3
    with pytest.raises(InputError, match="wanted a data set or source that has them"):
        method.perturb(key, f, dataclasses.replace(batch, z=None))


def test_of_several_proposals_the_worst_within_the_ball_is_taken(key):
    """Nothing (NaN), a step that helps the classifier, two that hurt it, of which one leaves the ball."""
    class Proposer:
        threat, needs_generator = LpBall("linf", 0.1), False

        def perturb(self, key, classifier, x, y, *, z=None):
            return Proposal(jnp.stack([x * jnp.nan, x + 0.1, x - 0.05, x - 0.5]))

    batch = Batch(jnp.full((3, 2, 2, 1), 0.6), jnp.ones(3, int), jnp.arange(3))
    f = classifiers.from_function(lambda w, x: jnp.stack([jnp.zeros(()), x.sum()]), (), 2, (2, 2, 1))
    np.testing.assert_allclose(AttackSearch(Proposer()).worst(key, f, batch), 0.5, atol=1e-6)
