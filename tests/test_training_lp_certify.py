"""LP-Certify: it trains, goes on after a kill as if there had been none, certifies, and bounds what PGD finds."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks
from irob.classifiers.net import FLATTEN, RELU, Conv, Dense, Net
from irob.core import layers
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.core.types import Classifier, Dataset
from irob.training import classifier as training
from irob.training.fit import Run
from irob.training.method import Network, Stage, mean_cross_entropy
from irob.training.methods import lp_certify
from irob.training.settings import Settings
from irob.training.source import Batch, of

BALL = LpBall("l2", 0.3)


def tiny(key):
    """Nearly the paper's network, for images 4x4."""
    module = Net((Conv(8, 2, stride=2), RELU, Conv(12, 2, stride=1), RELU, FLATTEN, Dense(3)))
    return Classifier(module.init(key, jnp.zeros((1, 4, 4, 1))), module, 3, (4, 4, 1))


def bars(n, seed):
    """Three classes: a bright column, a bright row, neither, with noise."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 3).astype(np.int32)
    x = 0.3 * rng.random((n, 4, 4, 1), dtype=np.float32)
    x[y == 0, :, 1] += 0.6
    x[y == 1, 2] += 0.6
    return Dataset(x, y, None, 3, (4, 4, 1))


def trained(key, workdir, *, epochs, resume=False, projections=10, norm="l2"):
    """Twelve epochs' worth of learning rates whatever `epochs`, so that a shorter run is the beginning of a longer."""
    method = lp_certify.build(LpBall(norm, BALL.epsilon), projections=projections)
    tx = training.optimiser("cosine", learning_rate=0.02, epochs=12, steps_per_epoch=15, rule="adam")
    return training.train(
        key, tiny(key), method, bars(150, 0), tx=tx, run=Run(epochs, 10, workdir, resume, checkpoint_every=1),
        evaluation=training.Evaluation(bars(60, 1), method.threat, 60), settings=Settings(epsilon_warmup=4.0))


def test_trains_resumes_identically_and_certifies_below_pgd(key, tmp_path):
    f = trained(key, tmp_path / "whole", epochs=12)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["certified"] > 0.8
    assert all(r["certified"] <= r["robust"] + 1e-9 <= r["natural"] + 2e-9 for r in log)
    trained(key, tmp_path / "cut", epochs=5)
    again = trained(key, tmp_path / "cut", epochs=12, resume=True)
    jax.tree.map(np.testing.assert_array_equal, f.variables, again.variables)
    test = bars(60, 2)
    sure = lp_certify.certified(f, test, BALL)
    found = attacks.run(attacks.build("pgd", BALL, steps=40), key, f, test.x, test.y)
    assert sure.sum() > 30
    assert not (sure & found.success).any()
    constant, prediction = lp_certify.constant(f, test, BALL)
    np.testing.assert_array_equal(constant & (prediction == test.y), sure)
    assert len(lp_certify.select(test, ~constant)) == 60 - constant.sum()


def test_loss_bounds_every_adversarial_loss(key):
    """With exact inner bounds the loss is at least the cross entropy at any point of the balls."""
    f, data = tiny(key), bars(30, 3)
    predict, batch = Network(f), Batch(data.x, data.y, data.y)
    exact = lp_certify.build(BALL, projections=0)
    drawn = lp_certify.build(BALL, projections=400)
    worst = float(exact.loss(predict, batch, key))
    x_adv = jax.vmap(BALL.sample)(jax.random.split(key, 30), jnp.asarray(data.x))
    assert worst >= float(mean_cross_entropy(predict(x_adv), data.y))
    assert worst >= float(mean_cross_entropy(predict(data.x), data.y)) + 0.01
    assert float(drawn.loss(predict, batch, key)) == pytest.approx(worst, rel=0.05)
    small = lp_certify.build(LpBall("l2", 1e-6), projections=0).loss(predict, batch, key)
    assert float(small) == pytest.approx(float(mean_cross_entropy(predict(data.x), data.y)), rel=1e-4)


def test_loss_and_gradient_are_those_of_the_published_order(key):
    """Against the twin in PyTorch, with exact inner bounds; no code is shared."""
    torch = pytest.importorskip("torch")
    from tests.twins import dual as twin

    f, data = tiny(key), bars(12, 4)
    exact = lp_certify.build(BALL, projections=0)
    given = layers.of(f)

    def loss(kernels):
        now = dataclasses.replace(f, variables={"params": {**f.variables["params"], **kernels}})
        return exact.loss(Network(now), Batch(jnp.asarray(data.x), jnp.asarray(data.y), None), key)

    kernels = {k: v for k, v in f.variables["params"].items() if k.endswith("kernel")}
    got, gradient = jax.jit(jax.value_and_grad(loss))(kernels)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 2, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 12, 2), torch.nn.ReLU(),
                              torch.nn.Flatten(), torch.nn.Linear(12, 3))
    with torch.no_grad():
        for there, here in ((0, 0), (2, 2), (5, 5)):
            kernel = np.asarray(given[here].kernel)
            net[there].weight.copy_(torch.tensor(kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T))
            net[there].bias.copy_(torch.tensor(np.asarray(given[here].bias)))
    x, y = torch.tensor(data.x.transpose(0, 3, 1, 2)), torch.tensor(data.y).long()
    radius = float(BALL.epsilon)
    wanted = torch.nn.functional.cross_entropy(-twin.margins(net, x, y, radius, twin.bounds(net, x, radius)), y)
    wanted.backward()
    assert float(got) == pytest.approx(wanted.item(), rel=1e-4)
    np.testing.assert_allclose(gradient["dense_0_kernel"], net[5].weight.grad.numpy().T, atol=1e-4)
    np.testing.assert_allclose(gradient["conv_1_kernel"], net[2].weight.grad.numpy().transpose(2, 3, 1, 0), atol=1e-4)
    np.testing.assert_allclose(gradient["conv_0_kernel"], net[0].weight.grad.numpy().transpose(2, 3, 1, 0), atol=1e-4)


def test_a_cascade_goes_on_with_what_is_not_certified(key, capsys):
    """Images that are certified as one class, be it right or wrong, are trained on no more."""
    data, test = bars(30, 5), bars(12, 6)
    method = lp_certify.build(BALL, cascade=2)
    f, stage = tiny(key), Stage(method, of(data), test)
    constant = lp_certify.constant(f, data, BALL)[0]
    following = method.next_stage(f, stage)
    np.testing.assert_array_equal(following.source.x, data.x[~constant])
    left, right = following.carried
    assert len(left) == 12 - lp_certify.constant(f, test, BALL)[0].sum()
    assert right == lp_certify.certified(f, test, BALL).sum()
    assert (following.number, following.start, following.test) == (2, None, test)
    assert method.next_stage(f, following) is None  # two were asked for
    assert lp_certify.build(BALL).next_stage(f, stage) is None
    sure = tiny(key)
    sure = dataclasses.replace(sure, variables=jax.tree.map(jnp.zeros_like, f.variables))
    sure.variables["params"]["dense_0_bias"] = jnp.array([1.0, 0.0, 0.0])
    assert method.next_stage(sure, stage) is None  # all images are certified as the first class
    said = capsys.readouterr().err
    assert "certified accuracy of the cascade 0.3333 at epsilon 0.3; 0 training images are left" in said


def test_radius_grows_from_the_first_to_the_full():
    method = lp_certify.build(LpBall("l2", 2.0), first_epsilon=0.05)
    assert [round(float(method.ramp(f).threat.epsilon), 4) for f in (0.0, 0.5, 1.0)] == [0.05, 1.025, 2.0]


def test_bad_settings_are_one_line():
    for make, says in [
        (lambda: lp_certify.build(LpBall("l1", 1.0)), "norm l1"),
        (lambda: lp_certify.build(LpBall("l2", 0.0)), "epsilon"),
        (lambda: lp_certify.build(LpBall("l2", 1.0), projections=-1), "projections"),
        (lambda: lp_certify.build(LpBall("l2", 1.0), first_epsilon=0), "first epsilon"),
        (lambda: training.optimiser(rule="adm"), "did you mean 'adam'"),
    ]:
        with pytest.raises(InputError, match=says) as e:
            make()
        assert "\n" not in str(e.value)
