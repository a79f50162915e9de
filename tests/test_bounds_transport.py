"""The least adversarial error of two classes, against brute force, assignment and two Gaussians."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from irob import bounds
from irob.core.check import InputError


def sample(n, mean, d=1, seed=0):
    rng = np.random.default_rng(seed)
    shift = np.eye(1, d)[0] * mean
    return rng.normal(size=(n, d)) + shift, rng.normal(size=(n, d)) - shift


@pytest.mark.parametrize(("norm", "metric"), [("l1", "cityblock"), ("l2", "euclidean"), ("linf", "chebyshev")])
def test_matching_is_the_cheapest_assignment(norm, metric):
    a, b = sample(60, 0.8, d=3)
    for t in bounds.transport(a, b, [0.0, 0.2, 0.5, 1.0, 3.0], norm=norm):
        cost = (cdist(a, b, metric) > 2 * t.epsilon).astype(float)
        coupled = cost[linear_sum_assignment(cost)].sum() / 60  # C, the cost of the best coupling
        assert t.error == pytest.approx((1 - coupled) / 2)
        assert t.error == t.matching / 120


@pytest.mark.parametrize("seed", range(5))
def test_no_labelling_of_the_balls_does_better(seed):
    """Every choice of which examples are robustly right: two of different classes within 2 epsilon cannot both be."""
    a, b = sample(5, 0.5, d=2, seed=seed)
    for t in bounds.transport(a, b, [0.2, 0.5, 0.8]):
        clash = cdist(a, b) <= 2 * t.epsilon
        best = max(sum(right) for right in itertools.product((0, 1), repeat=10)
                   if not np.any(clash[np.ix_(np.array(right[:5]) > 0, np.array(right[5:]) > 0)]))
        assert t.error == pytest.approx(1 - best / 10)


def test_two_gaussians_attain_it():
    radii = [0.25, 0.5, 0.9, 1.5]
    wanted = bounds.transport_gaussian(1.0, np.array(radii))
    assert wanted == pytest.approx([0.2266, 0.3085, 0.4602, 0.5], abs=5e-5)
    found = bounds.transport(*sample(1500, 1.0), radii)
    assert [t.error for t in found] == pytest.approx(wanted, abs=0.03)
    assert all(t.certified <= w for t, w in zip(found, wanted, strict=True))
    # a classifier attains it: the sign, wrong within epsilon of 0
    x = np.concatenate(sample(20000, 1.0, seed=7) * np.array([[[1.0]], [[-1.0]]]))
    assert [np.mean(x <= e) for e in radii[:3]] == pytest.approx(wanted[:3], abs=0.01)


def test_at_zero_a_finite_sample_says_nothing_and_the_certified_end_says_so():
    t, = bounds.transport(*sample(300, 1.0), [0.0])
    assert t.error == 0.0 == t.certified < bounds.transport_gaussian(1.0, 0.0) == pytest.approx(ndtr(-1.0))


def test_the_certified_end_covers_the_truth():
    truth = bounds.transport_gaussian(1.0, 0.6)
    ends = [bounds.transport(*sample(100, 1.0, seed=s), [0.6], confidence=0.8)[0].certified for s in range(200)]
    assert np.mean(np.array(ends) <= truth) >= 0.8
    assert max(ends) > 0.2  # and is no empty statement


def test_more_confidence_and_fewer_examples_lower_the_certified_end():
    def end(n, c):
        return bounds.transport(*sample(n, 1.0), [0.9], confidence=c)[0].certified

    assert end(400, 0.5) > end(400, 0.95) > end(400, 0.999)
    t, = bounds.transport(*sample(400, 1.0), [0.9])
    assert t.error - t.certified == pytest.approx(np.sqrt(np.log(20) / 1600))


def test_images_and_touching_balls_count():
    a, b = np.zeros((1, 2, 2, 1), np.float32), np.zeros((1, 2, 2, 1), np.float32)
    b[0, 0, 0, 0] = 1.0
    assert [t.error for t in bounds.transport(a, b, [0.4999, 0.5])] == [0.0, 0.5]  # closed balls


@pytest.mark.parametrize(("change", "said"), [
    ({"a": np.zeros((2, 3))}, "got shapes (2, 3) and (4, 3)"), ({"a": np.zeros(4), "b": np.zeros(4)}, "one shape"),
    ({"a": np.zeros((0, 3)), "b": np.zeros((0, 3))}, "equally many"), ({"epsilons": [-0.1]}, "epsilon: got -0.1"),
    ({"norm": "l3"}, "unknown norm 'l3'"), ({"confidence": 0.0}, "confidence"), ({"confidence": None}, "confidence"),
])
def test_bad_input_is_named_in_one_line(change, said):
    with pytest.raises(InputError) as e:
        bounds.transport(**({"a": np.zeros((4, 3)), "b": np.ones((4, 3)), "epsilons": [0.5]} | change))
    assert said in str(e.value) and "\n" not in str(e.value)


def test_bad_input_of_the_closed_form():
    with pytest.raises(InputError, match="mean: got -1"):
        bounds.transport_gaussian(-1.0, 0.5)
    with pytest.raises(InputError, match="epsilon"):
        bounds.transport_gaussian(1.0, [-0.5])


def test_dense_graphs_of_many_examples_take_no_exponential_time():
    """A graph on which scipy 1.17's maximum_bipartite_matching does not return within five minutes."""
    t, = bounds.transport(*sample(1500, 1.0, seed=2), [0.9])
    assert t.error == pytest.approx(0.4602, abs=0.03)
