"""The paper's four architectures and 1-Lipschitz networks, and what holds for every classifier of the room."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import classifiers
from irob.core import layers
from irob.core.check import InputError

SHAPES = {"small_cnn": (28, 28, 1), "lp_cnn": (28, 28, 1), "big_cnn": (32, 32, 3), "lp_cnn_colour": (32, 32, 3),
          "one_lipschitz": (28, 28, 1)}
# By hand, from the layouts: sum over layers of kernel sizes and biases.
PARAMETERS = {
    "small_cnn": 320 + 9_248 + 18_496 + 36_928 + (1024 * 200 + 200) + (200 * 200 + 200) + 2_010,
    "lp_cnn": (16 * 16 + 16) + (16 * 16 * 32 + 32) + (7 * 7 * 32 * 100 + 100) + 1_010,
    "big_cnn": 896 + 16_416 + 18_496 + 65_600 + (4096 * 512 + 512) + (512 * 512 + 512) + 5_130,
    "lp_cnn_colour": (16 * 48 + 16) + (16 * 16 * 32 + 32) + (8 * 8 * 32 * 100 + 100) + 1_010,
    "one_lipschitz": (784 * 128 + 128) + (128 * 64 + 64) + (64 * 10 + 10),
}


def test_all_are_registered():
    assert set(classifiers.names()) == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_architecture(key, name):
    f = classifiers.build(name, 10, SHAPES[name], key=key)
    assert sum(a.size for a in jax.tree.leaves(f.variables)) == PARAMETERS[name]
    # weights that start at zero would hide a difference
    f = classifiers.build(name, 10, SHAPES[name], variables=jax.tree.map(
        lambda a: a + 0.01 * jax.random.normal(key, a.shape), f.variables))
    x = jax.random.uniform(jax.random.fold_in(key, 1), SHAPES[name])
    logits = f(x)
    assert logits.shape == (10,)
    np.testing.assert_array_equal(logits, f(x))  # no dropout at inference
    np.testing.assert_allclose(layers.run(layers.of(f), x), logits, rtol=1e-4, atol=1e-5)
    assert tuple(type(a).__name__ for a in layers.of(f)) == f.layers


def test_dropout_acts_in_training_only(key):
    f = classifiers.build("small_cnn", key=key)
    weights = jax.tree.map(lambda a: a + 0.05 * jax.random.normal(key, a.shape), f.variables)
    x = jnp.ones((1, 28, 28, 1)) / 2
    train = [f.module.apply(weights, x, train=True, rngs={"dropout": jax.random.fold_in(key, i)}) for i in range(2)]
    assert not np.allclose(train[0], train[1])


def test_small_cnn_starts_at_zero_logits(key):
    """The published initialiser; its consequence is a loss of log 10 and no gradient for the first attack."""
    f = classifiers.build("small_cnn", key=key)
    x = jax.random.uniform(key, (28, 28, 1))
    assert not np.any(f(x))
    assert not np.any(jax.grad(lambda x: jax.nn.logsumexp(f(x)) - f(x)[3])(x))


@pytest.mark.parametrize(("name", "fan"), [("small_cnn", 9 * 32), ("lp_cnn", 16 * 32)])
def test_convolutions_start_as_their_source_says(key, name, fan):
    kernel = classifiers.build(name, key=key).variables["params"]["conv_1_kernel"]
    assert abs(float(jnp.std(kernel)) / np.sqrt(2 / fan) - 1) < 0.05


def test_save_and_load(tmp_path, key):
    f = classifiers.build("lp_cnn", 3, (8, 8, 1), key=key)
    classifiers.save(tmp_path / "f", f, {"recipe": {"epochs": 0}})
    classifiers.save(tmp_path / "f" / "checkpoints" / "2", f, half=True)
    classifiers.save(tmp_path / "f" / "checkpoints" / "10", f, half=True)
    g = classifiers.load(tmp_path / "f")
    x = jax.random.uniform(key, (8, 8, 1))
    np.testing.assert_array_equal(f(x), g(x))
    assert (g.num_classes, g.image_shape, g.name, g.layers) == (3, (8, 8, 1), "lp_cnn", f.layers)
    assert jax.tree.structure(f) == jax.tree.structure(g)  # so that one compiled program serves both
    assert classifiers.checkpoints(tmp_path / "f") == ("2", "10")
    np.testing.assert_allclose(classifiers.load(f"{tmp_path / 'f'}@10")(x), f(x), atol=1e-2)
    assert json.loads((tmp_path / "f" / "config.json").read_text())["recipe"] == {"epochs": 0}
    with pytest.raises(InputError, match="no checkpoint '3'; it has 2, 10"):
        classifiers.load(f"{tmp_path / 'f'}@3")


def test_load_refuses_what_is_not_a_classifier(tmp_path, key):
    f = classifiers.build("lp_cnn", 3, (8, 8, 1), key=key)
    folder = classifiers.save(tmp_path / "f", f)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architecture": "lp_cmm"}))
    with pytest.raises(InputError, match="lp_cmm"):
        classifiers.load(folder)
    (folder / "config.json").write_text(json.dumps(config | {"num_classes": 4}))
    with pytest.raises(InputError, match="shape"):
        classifiers.load(folder)


def test_bad_input_is_one_line(key):
    with pytest.raises(InputError, match="did you mean 'small_cnn'"):
        classifiers.build("smal_cnn", key=key)
    with pytest.raises(InputError, match="divisible by 4"):
        classifiers.build("small_cnn", 10, (30, 30, 1), key=key)
    with pytest.raises(InputError, match="key"):
        classifiers.build("lp_cnn")
    with pytest.raises(InputError, match=r"\(3,\)"):
        classifiers.from_function(lambda v, x: x.ravel(), (), 3, (2, 2, 1))
