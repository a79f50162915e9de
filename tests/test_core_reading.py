"""Layers that are read from a model's program compute what the model computes, or it is refused."""

import importlib.util
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from irob import certify, classifiers
from irob.core import layers, reading
from irob.core.check import InputError
from irob.core.threat import LpBall

SHAPE, K = (8, 6, 2), 3
RNG = np.random.default_rng(0)


def statistics(tree):
    """Random weights everywhere, variances positive."""
    return jax.tree.map(lambda a: jnp.asarray(RNG.uniform(0.2, 1.0, a.shape) * RNG.choice([0.5, 1.0]), a.dtype), tree)


def linen():
    net = nn.Sequential([
        nn.Conv(4, (3, 3), strides=2), nn.BatchNorm(use_running_average=True), nn.relu,
        lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
        lambda x: x.reshape(len(x), -1), nn.Dense(K)])
    return classifiers.wrap(net, variables=statistics(net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 2)))),
                            image_shape=(8, 8, 2), mean=(0.4, 0.5), std=(0.2, 0.3))


def nnx_net():
    keys = nnx.Rngs(0)
    net = nnx.Sequential(
        nnx.Conv(2, 4, (3, 3), padding="VALID", rngs=keys), nnx.BatchNorm(4, rngs=keys), nnx.leaky_relu,
        lambda x: nnx.max_pool(x, (2, 2), (2, 2)), nnx.Dropout(0.5, rngs=keys), lambda x: x.reshape(len(x), -1),
        nnx.Linear(24, K, rngs=keys), jnp.tanh)
    nnx.update(net, statistics(nnx.state(net, (nnx.Param, nnx.BatchStat))))
    return classifiers.wrap(net, image_shape=SHAPE)


def equinox():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 2)
    net = eqx.nn.Sequential([
        eqx.nn.Conv2d(2, 4, 3, key=keys[0]), eqx.nn.Lambda(jax.nn.relu), eqx.nn.AvgPool2d(2, 2),
        eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(24, K, key=keys[1])])
    return classifiers.wrap(net, image_shape=SHAPE)


def torch_net():
    if importlib.util.find_spec("torchax") is None:
        pytest.skip("torchax is not installed")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 4, stride=2, padding=1, bias=False), torch.nn.BatchNorm2d(4), torch.nn.LeakyReLU(0.1),
        torch.nn.Conv2d(4, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Dropout(), torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, K))
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    return net.eval()


def exported():
    net = torch_net()
    import torch

    size = torch.export.Dim("n")
    program = torch.export.export(net, (torch.zeros(2, 2, 8, 6),), dynamic_shapes=({0: size},))
    return classifiers.wrap(program, image_shape=SHAPE)


MODELS = {
    "linen": linen, "nnx": nnx_net, "equinox": equinox, "exported": exported,
    "torch": lambda: classifiers.wrap(torch_net(), image_shape=SHAPE, mean=0.4, std=0.25),
    "rows": lambda: classifiers.wrap(  # permuted numbers, a kernel on the left, a constant minus the model
        lambda x: 1 - jnp.arange(3 * 96.0).reshape(3, 96) / 100 @ x.transpose(2, 1, 0).ravel(), image_shape=SHAPE),
}


@pytest.mark.parametrize("kind", MODELS)
def test_layers_compute_what_the_model_does(kind):
    """On images of a seed of its own, where `read` compared others; and no layer is superfluous."""
    f = MODELS[kind]()
    found = layers.of(f)
    x = RNG.normal(0.5, 0.4, (5, *f.image_shape)).astype(np.float32)
    want = jax.vmap(f)(x)
    got = jax.vmap(lambda x: layers.run(found, x))(x)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
    layers.shapes(found, f.image_shape)
    kinds = [type(layer).__name__ for layer in found]
    assert all(a != "Scale" or b not in ("Dense", "Scale") for b, a in itertools.pairwise(kinds))


def test_a_certificate_of_what_was_read():
    """The margin of a plane under linf: w . x - epsilon |w|_1."""
    w = jnp.asarray(RNG.normal(size=(96, 2)), jnp.float32)
    f = classifiers.wrap(lambda x: x.ravel() @ w, image_shape=SHAPE)
    x = RNG.uniform(0.2, 0.8, (4, *SHAPE)).astype(np.float32)
    gap = np.asarray(x.reshape(4, -1), np.float64) @ np.asarray(w[:, 0] - w[:, 1], np.float64)
    y = (gap < 0).astype(np.int32)
    got = certify.run(certify.build("interval"), f, x, y, LpBall("linf", 0.01)).margin
    want = abs(gap) - 0.01 * np.abs(w[:, 0] - w[:, 1]).sum()
    assert np.all(got <= want + 1e-6)
    np.testing.assert_allclose(got, want, atol=5e-3)  # rounded outwards


@pytest.mark.parametrize(("function", "said"), [
    (lambda x: jnp.sort(x.ravel()), "operation sort"),
    (lambda x: x.ravel() + jnp.tanh(x.ravel()), "branches"),
    (lambda x: x.ravel() * x.ravel(), "branches"),
    (lambda x: jax.nn.relu(x.ravel()[:4]), "operation (slice|gather|dynamic_slice)"),
    (lambda x: jnp.maximum(x.ravel(), 0.1), "operation max"),
    (lambda x: x.transpose(2, 0, 1).ravel(), "permutation"),
    (lambda x: jnp.ones(3), "depend on the image"),
    (lambda x: x.sum(2) @ jnp.ones(6), "product|permut"),
    (lambda x: x.astype(jnp.bfloat16).ravel(), "operation convert_element_type"),
    (lambda x: nn.max_pool(x, (3, 3), (1, 1)).ravel(), "2x2 blocks"),
    (lambda x: x @ "a", "fails on an image"),
])
def test_what_is_no_chain_of_known_layers_is_refused(function, said):
    with pytest.raises(InputError, match=said) as e:
        reading.read(function, SHAPE)
    assert "\n" not in str(e.value)


def test_a_function_of_a_known_name_is_not_taken_for_it():
    @jax.jit
    def leaky_relu(x, slope):
        return jnp.where(x >= 0, x, -slope * x)

    with pytest.raises(InputError, match="operation ge"):
        reading.read(lambda x: leaky_relu(x.ravel(), 0.1), SHAPE)


def test_layers_that_differ_are_refused(monkeypatch):
    monkeypatch.setattr(layers.ReLU, "__call__", lambda self, x: 1.01 * jax.nn.relu(x))
    with pytest.raises(InputError, match="differ from the model"):
        reading.read(lambda x: jax.nn.relu(x.ravel()), SHAPE)
