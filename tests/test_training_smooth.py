"""Gaussian augmentation: the noise, the loss, and what stands in the recipe of the weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irob import classifiers, training
from irob.core.check import InputError
from irob.core.types import Dataset
from irob.training.methods import smooth, standard
from irob.training.source import Batch

W = np.array([1.0, 2.0, -1.0, 0.5]) / 2.5


def test_the_noise_is_gaussian_and_not_clipped(key):
    batch = Batch(jnp.full((50, 8, 8, 1), 0.9), jnp.zeros(50, int), jnp.arange(50))
    noisy = np.asarray(smooth.build(sigma=0.5).perturb(key, None, batch))
    assert stats.kstest((noisy - 0.9).ravel() / 0.5, "norm").pvalue > 1e-3
    assert noisy.max() > 1.5 and noisy.min() < 0


def test_the_loss_is_that_of_the_noisy_batch_alone(key):
    x, y = jax.random.uniform(key, (6, 3)), jnp.arange(6) % 3
    got = smooth.build(sigma=1.0).loss(lambda v: 2 * v, Batch(x, y, y), x + 1)
    np.testing.assert_allclose(got, standard.build().loss(lambda v: 2 * v, Batch(x + 1, y, y), None), rtol=1e-6)


def test_the_recipe_says_what_is_certified(key):
    x = np.random.default_rng(0).uniform(size=(20, 2, 2, 1)).astype(np.float32)
    signed = (x.reshape(-1, 4) - 0.5) @ W
    line = classifiers.from_function(lambda w, x: jnp.stack([-1, 1]) * (w @ (x.ravel() - 0.5)), jnp.asarray(W), 2)
    data = Dataset(x, (signed > 0).astype(np.int32), None, 2, (2, 2, 1), "toy")
    found = smooth.build(sigma=0.4).figures(key, line, data)
    assert list(found["certified"]) == ["0", "0.2", "0.4", "0.6", "0.8"] and found["certified_images"] == 20
    exact = [np.mean(np.abs(signed) > float(r)) for r in found["certified"]]
    assert all(0 <= e - v < 0.3 for e, v in zip(exact, found["certified"].values()))


def test_a_tiny_training_writes_weights_with_sigma(key, tmp_path):
    rng = np.random.default_rng(0)
    train, test = (Dataset(rng.uniform(size=(n, 28, 28, 1)).astype(np.float32), np.arange(n, dtype=np.int32) % 10, None,
                           10, (28, 28, 1), "toy") for n in (16, 4))
    training.train("smooth", train, key=key, test=test, classifier="lp_cnn", epochs=1, batch_size=8, sigma=0.25,
                   epsilon=0.0, evaluate_count=1, final_count=1, workdir=tmp_path, out=tmp_path / "classifier")
    recipe = json.loads((tmp_path / "classifier" / "config.json").read_text())["recipe"]
    assert recipe["method"] == "smooth" and recipe["sigma"] == 0.25
    assert list(recipe["certified"]) == ["0", "0.125", "0.25", "0.375", "0.5"] and recipe["certified_images"] == 1
    assert "sigma 0.25" in recipe["certified_by"]


def test_sigma_must_be_positive():
    for sigma in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="sigma"):
            smooth.build(sigma=sigma)
