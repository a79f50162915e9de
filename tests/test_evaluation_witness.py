"""Scores are 1-Lipschitz as computed, thresholds cover, and samples do not depend on chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irob import generators
from irob.classifiers import one_lipschitz
from irob.core import weights
from irob.core.check import InputError
from irob.core.compile import jit
from irob.evaluation.limits import regions
from irob.generators import affine

SHIPPED = regions.shipped(generators.load("acgan_mnist"))


@pytest.fixture(scope="module")
def every():
    """Scores of every kind on images of 4x4 pixels."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(300, 4, 4, 1))
    y = rng.integers(3, size=300)
    nets = [one_lipschitz.export(one_lipschitz.init(jax.random.key(i), 16, (8,))) for i in range(3)]
    stretched = [{**n, "0": {**n["0"], "kernel": 3 * n["0"]["kernel"]}} for n in nets]
    return [*regions.candidates(regions.moments(x, y, 3)), regions.networks(nets, ("a", "b", "c")),
            regions.networks(stretched, ("all",), classwise=True)]


def test_no_score_of_any_kind_stretches(every, key):
    a, b = jax.random.uniform(key, (2, 3000, 4, 4, 1))
    b = a + (b - a) * jnp.geomspace(1e-2, 1, 3000)[:, None, None, None]
    length = np.linalg.norm(np.asarray(a - b).reshape(3000, -1), axis=1, keepdims=True)
    for s in every:
        f = jit(jax.vmap(s))
        ratio = np.abs(np.asarray(f(a)) - np.asarray(f(b))) / length
        assert ratio.max() <= 1 + 1e-4, s.kind
        assert ratio.max() > 0.2, s.kind


def test_moments_are_those_of_all_images():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(500, 2, 2, 1)), rng.integers(3, size=500)
    mean, covariance = regions.moments(x, y, 3).whole()
    np.testing.assert_allclose(mean, x.reshape(500, 4).mean(0))
    np.testing.assert_allclose(covariance, np.cov(x.reshape(500, 4).T, bias=True))


@pytest.mark.parametrize(("n", "alpha", "confidence"), [(1000, 0.015, 0.95), (777, 0.3, 0.999), (60, 0.5, 0.9)])
def test_thresholds_agree_with_scipy(n, alpha, confidence):
    """The order statistic is the highest for which "the quantile is at least t" passes at that level."""
    x = np.random.default_rng(2).normal(size=n)
    t = regions.threshold(x, alpha, confidence)
    higher = np.sort(x)[np.searchsorted(np.sort(x), t) + 1]
    # mu(s >= t) < alpha would put fewer than the counted draws above t, but for a chance of 1 - confidence.
    above, more = np.sum(x >= t), np.sum(x >= higher)
    assert stats.binom.sf(above - 1, n, alpha) <= 1 - confidence
    assert stats.binom.sf(more - 1, n, alpha) > 1 - confidence


def test_too_few_samples_say_how_many():
    with pytest.raises(InputError, match="wanted at least 5"):
        regions.threshold(np.zeros(3), 0.5, 0.95)


def test_samples_do_not_depend_on_chunks(key):
    g = affine.build(key=key, latent_dim=2, num_classes=3, image_shape=(2, 2, 1))
    x, y = regions.draw(key, g, 50, regions.Images(), chunk=50)
    again, labels = regions.draw(key, g, 50, regions.Images(), chunk=7)
    np.testing.assert_allclose(x, again, atol=1e-6)
    np.testing.assert_array_equal(y, labels)
    _, skewed = regions.draw(key, g, 3000, regions.Images(), priors=(0.0, 0.25, 0.75), chunk=50)
    assert np.abs(np.bincount(skewed, minlength=3) / 3000 - [0, 0.25, 0.75]).max() < 0.03


@pytest.mark.parametrize("s", SHIPPED, ids=lambda s: f"{s.kind} {s.names[0]}")
def test_shipped_scores_are_exact_to_the_slack(s, key):
    """float32 against float64 on images, the whole network again by numpy."""
    x = np.asarray(jax.random.uniform(key, (200, 28, 28, 1)))
    got = np.asarray(jit(jax.vmap(s))(x))
    tree = jax.tree.map(lambda a: np.asarray(a, np.float64), s.variables["layers"])
    for k, constant in enumerate(np.asarray(s.variables["constants"], np.float64)):
        h = x.reshape(200, -1).astype(np.float64)
        for i in range(len(tree)):
            h = h @ tree[str(i)]["kernel"][k] + tree[str(i)]["bias"][k]
            h = np.sort(h.reshape(200, -1, 2), axis=2).reshape(200, -1) if i + 1 < len(tree) else h
        np.testing.assert_allclose(got[:, k], h[:, 0] / constant, atol=regions.SLACK / 2)
        norms = [np.linalg.svd(tree[str(i)]["kernel"][k])[1].max() for i in range(len(tree))]
        assert np.prod(norms) <= constant
        assert constant < 1.01


def test_only_witnesses_are_loaded(tmp_path):
    weights.save(tmp_path, {"0": {"kernel": np.zeros((2, 1), np.float32)}}, {"kind": "classifier"})
    with pytest.raises(InputError, match="wanted a witness"):
        regions.load(tmp_path)
