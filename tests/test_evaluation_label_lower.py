"""The lower end: exact shares where they are known, coverage, choice apart from measurement, chunks without effect."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from irob import certify, classifiers, generators
from irob.core import layers, weights
from irob.core.check import InputError
from irob.evaluation.limits import label_lower
from irob.generators import from_function


def line(variables, z, y):
    """Two classes at 0.4 and 0.6 of one pixel, sigma 0.02."""
    return jnp.full((1, 1, 1), jnp.clip(0.4 + 0.2 * y + 0.02 * z[0], 0, 1))


def threshold(at: float, name: str) -> label_lower.Candidate:
    """Class 1 above `at`: its radius is the distance to it."""
    net = (layers.Flatten(), layers.Dense(np.array([[0.0, 1.0]], np.float32), np.array([0.0, -at], np.float32)))
    return label_lower.Candidate(name, classifiers.from_layers(net, 2, (1, 1, 1)), certify.build("lipschitz"))


@pytest.fixture(scope="module")
def generator():
    return from_function(line, {}, 1, 2, (1, 1, 1))


def share(at: float, epsilon: float) -> float:
    """Kept with certainty: half of the images on each side, by the normal distribution."""
    low, high = (at - epsilon - 0.4) / 0.02, (0.6 - at - epsilon) / 0.02
    return float((norm.cdf(low) + norm.cdf(high)) / 2)


def test_the_end_is_below_the_exact_share_and_near_it(generator):
    epsilons = (0.05, 0.08, 0.1)
    found = label_lower.rows(jax.random.key(0), generator, epsilons=epsilons, samples=4000, choice=200,
                             candidates=[threshold(0.5, "middle")])
    assert [r.epsilon for r in found] == list(epsilons)
    for row, e in zip(found, epsilons):
        assert row.value <= share(0.5, e) <= row.high
        assert row.value > share(0.5, e) - 0.03
        assert (row.quantity, row.side, row.certified, row.n) == ("label robustness", "lower", True, 4000)
        assert row.definition == "label"
        assert row.detail.kept / 4000 == pytest.approx(row.value, abs=0.03)


def test_each_epsilon_has_the_classifier_that_keeps_most_there(generator):
    """At 0.15 the classes cannot both be kept: giving one up is better, and is found."""
    rivals = [threshold(0.5, "middle"), threshold(0.41, "one class")]
    found = label_lower.rows(jax.random.key(0), generator, epsilons=(0.05, 0.15), samples=1000, choice=300,
                             candidates=rivals)
    assert [r.model for r in found] == ["middle", "one class"]
    assert found[1].value <= share(0.41, 0.15) < 0.5 < found[0].value


def test_joint_confidence_covers(generator, monkeypatch):
    """Counts drawn with the exact shares: all lower ends of a run hold together as often as they say."""
    rng, epsilons, missed, runs = np.random.default_rng(0), (0.09, 0.1, 0.11), 0, 200
    candidates = [threshold(0.5, "middle")]
    exact = np.array([share(0.5, e) for e in epsilons])
    monkeypatch.setattr(label_lower, "count", lambda *_, **__: [(rng.binomial(100, exact), 100)])
    for _ in range(runs):
        found = label_lower.rows(jax.random.key(0), generator, epsilons=epsilons, samples=100, confidence=0.8,
                                 candidates=candidates)
        missed += any(r.value > p for r, p in zip(found, exact))
    assert 0.05 * runs < missed < 0.2 * runs


def test_images_in_blocks_are_the_same_images(generator, monkeypatch):
    one, c = jax.random.key(3), threshold(0.5, "middle")
    both = [c, dataclasses.replace(c, most=100)]
    whole = label_lower.count(one, generator, both, (0.09,), 300)
    monkeypatch.setattr(label_lower, "BLOCK", 70)
    parts = label_lower.count(one, generator, both, (0.09,), 300)
    assert [(int(h[0]), n) for h, n in whole] == [(int(h[0]), n) for h, n in parts]
    assert [n for _, n in whole] == [300, 100]


def test_certificates_of_some_confidence_pay_for_it(generator, monkeypatch):
    smooth = certify.build("smoothing", key=jax.random.key(0), sigma=0.1, confidence=0.99)
    rival = label_lower.Candidate("smoothed", threshold(0.5, "middle").classifier, smooth, most=100)
    monkeypatch.setattr(label_lower, "count", lambda *_, **__: [(np.array([100]), 100)])
    (found,) = label_lower.rows(jax.random.key(0), generator, epsilons=(0.03,), candidates=[rival])
    assert found.value == pytest.approx(0.05 ** (1 / 100) - 0.01, abs=1e-6)


def test_no_candidate_gives_no_row_and_wrong_numbers_are_refused(generator):
    assert label_lower.rows(jax.random.key(0), generator) == []
    for wrong in ({"epsilons": ()}, {"confidence": 1.0}, {"samples": 0}, {"epsilons": (0.0,)}):
        with pytest.raises(InputError, match=next(iter(wrong)).rstrip("s")):
            label_lower.rows(jax.random.key(0), generator, **wrong)


def test_shipped_classifiers_keep_what_their_recipes_say():
    """On 400 fresh images: within four standard deviations of the shares on 20,000, which are what was aimed at."""
    g = generators.load("acgan_mnist")
    shipped = label_lower.shipped(g)
    assert [c.name for c in shipped] == [f"mnist_gen_one_lipschitz_{aim}" for aim in (1, 2, 3)]
    found = label_lower.count(jax.random.key(5), g, shipped, (1.0, 2.0, 3.0), 400)
    for i, (candidate, (hits, n), least) in enumerate(zip(shipped, found, (0.95, 0.65, 0.31))):
        recipe = json.loads((weights.SHIPPED / candidate.name / weights.CONFIG).read_text())["recipe"]
        assert recipe["epsilon"] == i + 1
        for k, stated in enumerate(recipe["certified"].values()):
            assert abs(hits[k] / n - stated) < 4 * (stated * (1 - stated) / n) ** 0.5
        assert recipe["certified_at_least"][f"{i + 1}"] > least
