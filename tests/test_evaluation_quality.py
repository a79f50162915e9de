"""Quality of a generator: closed forms on toy models, and the neighbours against another library."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import KDTree

from irob import classifiers, data, generators
from irob.core import layers
from irob.core.check import InputError
from irob.core.types import Classifier, Dataset
from irob.evaluation import quality
from irob.math import neighbours


def test_neighbours_against_a_tree():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(70, 3)) + 100, rng.normal(size=(90, 3)) + 100
    tree = KDTree(b)
    for chunk in (1, 16, 500):
        np.testing.assert_allclose(neighbours.nearest(a, b, chunk=chunk), tree.query(a)[0], atol=1e-6)
        np.testing.assert_allclose(neighbours.radii(b, 4, chunk=chunk), tree.query(b, 5)[0][:, 4], atol=1e-6)
        # in the union of balls: some b_j sees a_i no farther than its own third neighbour
        radius = tree.query(b, 4)[0][:, 3]
        inside = (np.linalg.norm(a[:, None] - b[None], axis=-1) <= radius).any(axis=1).mean()
        assert neighbours.coverage(a, b, 3, chunk=chunk) == inside
    assert 0 < inside < 1


def test_equal_points():
    """Copies are neighbours at distance zero; a point is no neighbour of itself."""
    b = np.array([[1.0, 2.0]] * 3 + [[4.0, 6.0]])
    assert neighbours.radii(b, 1).tolist() == [0, 0, 0, 5]
    assert neighbours.radii(b, 3).tolist() == [5, 5, 5, 5]
    with pytest.raises(ValueError, match="got 4, wanted 1 to 3"):
        neighbours.radii(b, 4)


def test_collapse_and_noise_are_told_apart():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(600, 2))
    good = quality.diversity(rng.normal(size=(300, 2)), real)
    collapsed = quality.diversity(0.01 * rng.normal(size=(300, 2)), real)
    noise = quality.diversity(20 * rng.normal(size=(300, 2)), real)
    assert good["precision"] > 0.9 and good["recall"] > 0.9 and good["n"] == 300
    assert collapsed["precision"] > 0.8 and collapsed["recall"] < 0.05
    assert noise["precision"] < 0.1 and noise["nearest"] > 10 * noise["real"]["nearest"]
    same = quality.diversity(real[:300], real)
    assert {k: same[k] for k in ("precision", "recall", "nearest")} == same["real"]


def corner(variables, z, y):
    """Class y lights pixel y; the first code dims it; a class-1 image lights pixel 2 instead when z_1 < 0."""
    wrong = (y == 1) & (z[1] < 0)
    return jnp.zeros(4).at[jnp.where(wrong, 2, y)].set(variables + 0.4 * jax.nn.sigmoid(z[0])).reshape(2, 2, 1)


GENERATOR = generators.from_function(corner, jnp.float32(0.5), 2, 3, (2, 2, 1))
CLASSIFIER = classifiers.from_layers((layers.Flatten(), layers.Dense(jnp.eye(4)[:, :3], jnp.zeros(3))), 3, (2, 2, 1))


def test_intended_labels_have_their_closed_form(key):
    """Classes 0 and 2 are always right, class 1 for z_1 >= 0: one half; five sixths in all."""
    result = quality.quality(key, GENERATOR, CLASSIFIER, None, 1200)
    zero, one, two = result["intended"]["per_class"]
    overall = result["intended"]["overall"]
    assert zero["share"] == two["share"] == 1 and zero["high"] == 1 and zero["low"] == pytest.approx(
        0.025 ** (1 / zero["n"]))
    assert one["low"] < 0.5 < one["high"] and overall["low"] < 5 / 6 < overall["high"]
    assert zero["n"] + one["n"] + two["n"] == overall["n"] == 1200
    assert overall["correct"] == zero["correct"] + one["correct"] + two["correct"]
    assert "diversity" not in result and "real" not in result


def test_diversity_is_taken_in_the_features(key):
    """The features of this classifier are the pixels."""
    y = np.arange(90) % 3
    real = Dataset(np.asarray(jax.vmap(GENERATOR)(jax.random.normal(key, (90, 2)), y)), y, None, 3, (2, 2, 1), "toy")
    result = quality.quality(jax.random.key(1), GENERATOR, CLASSIFIER, real, 60)
    assert result["diversity"]["n"] == 45 and result["real"]["classifier"]["n"] == 90
    x = quality.seen(CLASSIFIER, real.x)[1]
    np.testing.assert_allclose(x, real.x.reshape(90, 4))
    lines = quality.summary(result)
    assert any(line.startswith("precision") for line in lines) and any("worst class: 1" in line for line in lines)


class Two(nn.Module):
    """A user's Linen model that cannot list its layers."""

    @nn.compact
    def __call__(self, x):
        h = nn.tanh(nn.Dense(5)(x.reshape(len(x), -1)))
        return nn.Dense(3)(h)


def test_features_of_all_kinds_of_models(key):
    x = jax.random.uniform(key, (2, 2, 1))
    abstract = jax.eval_shape(lambda: classifiers.build("lp_cnn", 10, (28, 28, 1), key=key).variables)
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) / 20, a.dtype), abstract)
    shipped_kind = classifiers.build("lp_cnn", 10, (28, 28, 1), variables=weights)
    big = jax.random.uniform(key, (28, 28, 1))
    logits, features = quality.penultimate(shipped_kind, big)
    np.testing.assert_allclose(logits, shipped_kind(big), rtol=1e-5, atol=1e-6)
    assert features.shape == (100,) and features.min() >= 0
    module = Two()
    variables = module.init(key, x[None])
    logits, features = quality.penultimate(Classifier(variables, module, 3), x)
    want = jnp.tanh(x.ravel() @ variables["params"]["Dense_0"]["kernel"] + variables["params"]["Dense_0"]["bias"])
    np.testing.assert_allclose(features, want, rtol=1e-5)
    opaque = classifiers.from_function(lambda v, x: x.ravel()[:3] * v, jnp.float32(2.0), 3)
    assert (quality.penultimate(opaque, x)[1] == 2 * x.ravel()[:3]).all()


def test_wrong_inputs(key):
    real = data.load("synthetic", "test", count=50)
    with pytest.raises(InputError, match=r"real images \(28, 28, 1\), wanted the generator's \(2, 2, 1\)"):
        quality.quality(key, GENERATOR, CLASSIFIER, real, 10)
    two = classifiers.from_layers((layers.Flatten(), layers.Dense(jnp.eye(4)[:, :2], jnp.zeros(2))), 2)
    with pytest.raises(InputError, match="got 3 generated classes, wanted the classifier's 2"):
        quality.quality(key, GENERATOR, two, None, 10)
    with pytest.raises(InputError, match="count"):
        quality.quality(key, GENERATOR, CLASSIFIER, None, 0)
    with pytest.raises(InputError, match="diversity: got 2 generated"):
        quality.diversity(np.zeros((2, 1)), np.zeros((9, 1)))
