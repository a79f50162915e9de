"""Coupled codes: every class keeps its law, the limit stays valid, and couplings are learned, kept and refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from irob import bounds, generators
from irob.commands import limit
from irob.core import weights
from irob.core.check import InputError
from irob.core.config import run
from irob.core.evidence import Report
from irob.evaluation.limits import coupled, label_upper
from irob.evaluation.limits.coupled import Coupling, coupling
from irob.evaluation.limits.label_upper import Drawing
from irob.generators import affine
from irob.math.orthogonal import cayley
from irob.training.models import coupling as training
from train import coupling as door


def test_cayley_is_a_rotation_that_keeps_lengths():
    w = np.random.default_rng(0).normal(size=(7, 7))
    q = cayley(w, np)
    np.testing.assert_allclose(q @ q.T, np.eye(7), atol=1e-14)
    assert np.linalg.det(q) == pytest.approx(1) and np.array_equal(cayley(0 * w, np), np.eye(7))
    np.testing.assert_allclose(cayley(jnp.asarray(w, jnp.float32)), q, atol=1e-5)
    np.testing.assert_allclose(cayley(w - w.T, np), cayley(2 * w, np))  # only the skew part counts


@pytest.fixture(scope="module")
def bare():
    """A generator that shows its code, whatever the class."""
    return generators.from_function(lambda v, z, y: z.reshape(1, 1, 3), None, 3, 4, (1, 1, 3))


@pytest.fixture(scope="module")
def turned():
    """Class 2 follows class 0, turned about; 1 and 3 are on their own."""
    return coupling({2: np.random.default_rng(1).normal(size=(3, 3))}, {2: 0}, latent_dim=3, num_classes=4)


def test_codes_of_every_class_are_standard_normal(bare, turned, key):
    x, y = coupled.draw(key, bare, turned, 8000)
    z = x.reshape(-1, 4, 3)
    assert np.array_equal(y[:8], [0, 1, 2, 3] * 2) and turned.sizes() == [2, 1, 1]
    for c in range(4):
        assert all(kstest(z[:, c, i], "norm").pvalue > 1e-3 for i in range(3))
        np.testing.assert_allclose(np.cov(z[:, c].T), np.eye(3), atol=0.1)
    np.testing.assert_allclose(z[:, 2], z[:, 0] @ np.asarray(turned.matrices[2]).T, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(z[:, 2], axis=1), np.linalg.norm(z[:, 0], axis=1), rtol=1e-5)
    others = np.corrcoef(z[:, [0, 1, 3]].reshape(-1, 9).T)
    assert np.abs(others - np.eye(9)).max() < 0.1  # codes that are not shared are independent


def test_an_image_depends_on_its_number_alone(bare, turned, key):
    whole, _ = coupled.draw(key, bare, turned, 880)
    np.testing.assert_allclose(coupled.draw(key, bare, turned, 80, start=400)[0], whole[400:480], atol=1e-6)


def test_two_gaussians(key):
    """N(mu, I) and N(-mu, I): mirrored codes give a smaller limit than independent ones, never below the optimum."""
    shift = jnp.zeros(20).at[0].set(1.0)
    g = generators.from_function(lambda v, z, y: (z + v * (1 - 2 * y)).reshape(4, 5, 1), shift, 20, 2, (4, 5, 1))
    mirror = Coupling(jnp.stack([jnp.eye(20), jnp.eye(20).at[0, 0].set(-1.0)]), (0, 0))
    job = label_upper.Job([0.25, 0.5, 0.75], grid=0)
    rows = label_upper.of_generator(key, g, job, 2000, how=Drawing(coupling=mirror))
    alone = label_upper.of_generator(key, g, job, 2000)
    x, y = coupled.draw(key, g, mirror, 2000)
    found = bounds.label_limit(x, y, job.epsilons, groups=np.arange(2000) // 2, joint=True)
    best = 1 - bounds.transport_gaussian(1.0, np.asarray(job.epsilons))
    for row, other, least, v in zip(rows, alone, best, found):
        assert least < row.value < other.value and row.certified and row.definition == "label"
        assert (row.value, row.detail.sample_limit, row.detail.groups) == (v.upper, v.sample, (2,))
        assert "float32" in row.detail.assumptions


def test_training_undoes_a_rotation(tmp_path):
    """Class 1 is class 0 with its code turned: the coupling turns it back, and all pairs are in conflict."""
    g = affine.build(key=jax.random.key(1), latent_dim=4, num_classes=2, singular_values=0.3)
    turn = cayley(np.array([[0, 1.0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.5], [0, 0, 0, 0]], np.float32))
    g = affine.build(variables={**g.variables, "matrix": jnp.stack([g.variables["matrix"][0],
                     g.variables["matrix"][0] @ turn])}, latent_dim=4, num_classes=2)
    generators.save(tmp_path / "g", g, options={"latent_dim": 4, "num_classes": 2, "image_shape": [4, 4, 1]})
    with pytest.raises(SystemExit, match="0"):
        run(door.main, door.Config, prog="train.coupling",
            argv=["--generator", str(tmp_path / "g"), "--out", str(tmp_path / "c"), "--pairs", "0-1", "--steps", "80",
                  "--epsilon", "0.1", "--softness", "0.1", "--batch-size", "32", "--learning-rate", "0.05"])
    share = json.loads((tmp_path / "c" / "config.json").read_text())["share in conflict"]["0-1"]
    assert share["identity"] < 0.5 and share["learned"] > 0.95
    learned = coupled.load(tmp_path / "c", g)
    assert learned.leaders == (0, 0)
    np.testing.assert_allclose(learned.matrices[1], turn.T, atol=0.1)
    with pytest.raises(SystemExit, match="0"):
        run(limit.main, limit.Config, prog="irob limit",
            argv=["--generator", str(tmp_path / "g"), "--coupling", str(tmp_path / "c"), "--samples", "400",
                  "--epsilon", "0.1", "--grid", "0", "--out", str(tmp_path / "out")])
    row, = Report.from_json((tmp_path / "out" / "limit.json").read_text()).rows
    assert row.detail.coupling == "c" and row.detail.sample_limit < 0.55 < row.value < 0.65


def test_the_shipped_coupling(key):
    """More images of one code are in conflict than of unrelated codes; other generators have none."""
    g = generators.load("acgan_mnist")
    name = coupled.shipped(g)
    shipped = coupled.load(name, g)
    m = np.asarray(shipped.matrices, np.float64)
    assert np.abs(m @ m.transpose(0, 2, 1) - np.eye(100)).max() < 1e-5
    x = coupled.draw(key, g, shipped, 400)[0].reshape(40, 10, -1)
    for follower, leader in enumerate(shipped.leaders):
        if follower != leader:
            own, foreign = (np.linalg.norm(x[:, leader] - np.roll(x[:, follower], k, 0), axis=1) for k in (0, 1))
            assert np.mean(own <= 6) > 0.05 + np.mean(foreign <= 6)
    assert coupled.shipped(generators.build("acgan", key=key)) is None


def test_what_does_not_fit_is_refused(bare, turned, key, tmp_path):
    with pytest.raises(InputError, match="a multiple of the 4"):
        label_upper.of_generator(key, bare, label_upper.Job([0.1]), 10, how=Drawing(coupling=turned))
    with pytest.raises(InputError, match="wanted neither"):
        label_upper.of_generator(key, bare, label_upper.Job([0.1]), 8, how=Drawing([0.25] * 4, coupling=turned))
    for skew, leaders in [({1: np.zeros((3, 3))}, {1: 1}), ({1: np.zeros((3, 3))}, {1: 7}),
                          ({1: np.zeros((2, 2))}, {1: 0}), ({1: np.full((3, 3), np.nan)}, {1: 0}), ({}, {1: 0})]:
        with pytest.raises(InputError, match="coupling: got"):
            coupling(skew, leaders, latent_dim=3, num_classes=4)
    weights.save(tmp_path, {"1": np.zeros((3, 3), np.float32)}, {"kind": "witness"})
    with pytest.raises(InputError, match="wanted a coupling"):
        coupled.load(tmp_path, bare)
    with pytest.raises(InputError, match="two different classes"):
        training.train(key, bare, 1, 1, training.Plan())
    for pairs in (["0-1", "1-2"], ["0"], ["a-b"]):
        with pytest.raises(InputError, match="pairs: got"):
            door.main(door.Config(pairs=pairs, out=str(tmp_path)))
