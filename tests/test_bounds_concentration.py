"""Concentration by regions: Gaussians with half-spaces attain it; regions' distances are never too large."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import chi

from irob import bounds
from irob.bounds.concentration import fit_balls
from irob.bounds.regions import Balls, HalfSpace, OutsideBoxes, principal
from irob.core.check import InputError

FAMILIES = [("half-spaces", "l2"), ("half-spaces", "linf"), ("balls", "l2"), ("boxes", "linf")]


def gaussian(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize(("alpha", "wanted"), [(0.05, 0.2595), (0.5, 0.8413)])
def test_half_spaces_attain_the_limit_of_a_gaussian(alpha, wanted):
    assert wanted == pytest.approx(ndtr(ndtri(alpha) + 1), abs=5e-5)
    x = gaussian(20000, 10)
    for norm in ("l2", "linf"):  # a coordinate's half-space grows no faster in linf than in l2
        search = bounds.RegionSearch(extra=np.eye(10) if norm == "linf" else None)
        found, = bounds.concentration(x, alpha, [1.0], norm=norm, search=search)
        assert found.adversarial_risk == pytest.approx(wanted, abs=0.02 if norm == "linf" else 0.012)
        assert found.risk == pytest.approx(alpha, abs=0.01)
        assert found.adversarial_low < found.adversarial_risk < found.adversarial_high


@pytest.mark.parametrize(("d", "inside", "outside"), [(2, 0.582, 0.351), (10, 0.459, 0.377), (100, 0.422, 0.397)])
def test_balls_and_their_complements_grow_more_than_half_spaces(d, inside, outside):
    x = gaussian(20000, d, seed=1)
    for measure, complement, wanted in ((0.05, False, inside), (0.95, True, outside)):
        radius = chi(d).ppf(measure)
        ball = Balls(np.zeros((1, d)), np.array([radius]), complement)
        away = ball.distance(x)
        assert np.mean(away <= 0) == pytest.approx(0.05, abs=0.006)
        assert np.mean(away <= 1) == pytest.approx(wanted, abs=0.012)
        assert np.mean(away <= 1) > 0.2595


def test_fitted_balls_lie_between_the_limit_and_a_centred_ball():
    found, = bounds.concentration(gaussian(4000, 2), 0.05, [1.0], family="balls")
    assert 0.2595 - 0.02 < found.adversarial_risk < 0.582


def test_one_ball_is_the_best_of_all_centres_and_radii():
    x = gaussian(40, 2, seed=3)
    distance = np.linalg.norm(x[:, None] - x, axis=-1)
    best = min(np.sum(row <= np.sort(row)[5] + 0.3) for row in distance)
    found, = fit_balls(x, 6 / 40, [0.3], 1)
    away = found.distance(x)
    assert (np.sum(away <= 0), np.sum(away <= 0.3 + 1e-8)) == (6, best)


def test_two_balls_find_two_small_clusters():
    rng = np.random.default_rng(0)
    far = [rng.normal(size=(20, 2)) * 0.1 + c for c in ((50.0, 0.0), (0.0, 50.0))]
    x = np.concatenate([gaussian(160, 2), *far])
    found, = fit_balls(x, 0.2, [5.0], 2, centres=200)
    away = found.distance(x)
    assert np.array_equal(np.flatnonzero(away <= 5), np.arange(160, 200))
    assert len(fit_balls(x, 0.2, [5.0], 1, centres=200)[0].radii) == 1


@pytest.mark.parametrize(("family", "norm"), FAMILIES)
def test_regions_hold_alpha_and_grow_with_epsilon(family, norm):
    x = np.random.default_rng(2).uniform(size=(600, 6))
    found = bounds.concentration(x, 0.1, [0.0, 0.05, 0.1, 0.3], family=family, norm=norm,
                                 search=bounds.RegionSearch(neighbours=10))
    assert [c.epsilon for c in found] == [0.0, 0.05, 0.1, 0.3]
    fit = [c.fit_adversarial_risk for c in found]
    assert all(a <= b for a, b in itertools.pairwise(fit))
    for c in found:
        assert c.fit_risk >= 0.1 - 1e-12 and c.risk <= c.adversarial_risk and c.fit_risk <= c.fit_adversarial_risk
        assert c.risk_low <= c.risk <= c.risk_high and c.n == 300


def test_boxes_are_worth_something_where_coordinates_never_vary():
    """A pixel that is always black puts every image on the edge of the box; that edge is not within epsilon of E."""
    x = np.concatenate([np.random.default_rng(2).uniform(size=(2000, 3)), np.zeros((2000, 4))], axis=1)
    found, = bounds.concentration(x, 0.05, [0.02], family="boxes", norm="linf", search=bounds.RegionSearch(regions=1))
    assert found.fit_adversarial_risk < 0.3
    assert found.adversarial_risk < 0.35


def test_box_region_of_a_uniform_cube_against_its_closed_form():
    region = OutsideBoxes(np.full((1, 2), 0.5), np.full((1, 2), 0.4))
    x = np.random.default_rng(0).uniform(size=(20000, 2))
    assert np.mean(region.distance(x) <= 0) == pytest.approx(1 - 0.8**2, abs=0.01)
    assert np.mean(region.distance(x) <= 0.1) == pytest.approx(1 - 0.6**2, abs=0.01)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_distances_are_never_above_those_to_points_of_the_region(norm):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(50, 3)) * 2
    cloud = rng.uniform(-8, 8, size=(40000, 3))  # its points in E are no nearer than E is
    c = rng.normal(size=(3, 3)) * 2
    w = rng.normal(size=3)
    regions = {"l2": [HalfSpace(w / np.linalg.norm(w), 1.5), Balls(c, np.array([1.0, 2.0, 0.5])),
                      Balls(c, np.array([3.0, 2.0, 2.5]), complement=True)],
               "linf": [HalfSpace(w / np.abs(w).sum(), 1.5), OutsideBoxes(c, rng.uniform(1, 3, size=(3, 3)))]}[norm]
    order = 2 if norm == "l2" else np.inf
    for region in regions:
        inside = cloud[region.distance(cloud) <= 0]
        nearest = np.array([np.linalg.norm(inside - p, ord=order, axis=1).min() for p in x])
        away = region.distance(x)
        assert np.all(away <= nearest + 1e-9)
        if len(getattr(region, "half", ())) == 0 and not getattr(region, "complement", False):
            assert np.all(nearest - away < 0.8)  # and for these it is exact, up to the cloud's gaps


def test_certified_only_where_the_measure_surely_reaches_alpha():
    x = gaussian(4000, 2)
    plain, = bounds.concentration(x, 0.05, [1.0])
    safe, = bounds.concentration(x, 0.05, [1.0], search=bounds.RegionSearch(aim=0.07))
    assert not plain.certified and plain.risk_low < 0.05
    assert safe.certified and safe.risk_low >= 0.05 and safe.adversarial_risk > plain.adversarial_risk


def test_a_certified_end_holds_for_the_true_measures():
    """The true growth of the very region stays below its limit in about 95 % of repetitions, and more."""
    held = 0
    for seed in range(40):
        c, = bounds.concentration(gaussian(400, 2, seed), 0.2, [0.5])
        b = c.region.b / np.linalg.norm(c.region.w)
        held += c.risk_low <= ndtr(-b) and ndtr(0.5 - b) <= c.adversarial_high
    assert held >= 36


def test_results_depend_on_the_seed_alone():
    x = gaussian(400, 3).astype(np.float32)
    a, b, other = (bounds.concentration(x.reshape(400, 3, 1, 1), 0.1, 1.0, search=bounds.RegionSearch(seed=s))[0]
                   for s in (0, 0, 1))
    assert (a.risk, a.adversarial_risk, a.region.b) == (b.risk, b.adversarial_risk, b.region.b)
    assert a.region.b != other.region.b


@pytest.mark.parametrize(("shape", "gram"), [((200, 8), 2000), ((20, 50), 2000), ((60, 50), 30)])
def test_principal_directions_are_those_of_the_singular_vectors(shape, gram):
    x = np.random.default_rng(5).normal(size=shape) * np.linspace(5, 0.1, shape[1])
    _, _, vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    w = principal(x, 4, gram=gram)
    assert np.allclose(np.linalg.norm(w, axis=0), 1)
    assert np.allclose(np.abs(np.sum(w * vt[:4].T, axis=0)), 1, atol=1e-6)


def test_many_dimensions_and_equal_points_do_not_break_the_directions():
    x = np.random.default_rng(5).normal(size=(30, 6000)).astype(np.float32)
    assert principal(x, 5).shape == (6000, 5)
    assert np.all(np.isfinite(principal(np.ones((30, 6000)), 5)))
    c, = bounds.concentration(np.ones((8, 3)), 0.5, [0.1])
    assert c.risk == c.adversarial_risk == 1.0


@pytest.mark.parametrize(("change", "said"), [
    ({"x": np.zeros(3)}, "x: got shape (3, 1)"), ({"x": 1.0}, "x: got shape ()"),
    ({"x": np.zeros((3, 2))}, "at least 4 points"),
    ({"x": np.full((8, 2), np.nan)}, "all finite"), ({"alpha": 0.0}, "alpha: got 0"), ({"alpha": 1.5}, "alpha"),
    ({"alpha": 0.001}, "wanted at least 2000 for regions"), ({"aim": 0.01}, "aim: got 0.01"),
    ({"epsilons": [-1.0]}, "epsilon: got -1"), ({"epsilons": ["a"]}, "epsilon: got 'a'"),
    ({"family": "half"}, "did you mean 'half-spaces'"), ({"family": "balls", "norm": "linf"}, "wanted l2 for balls"),
    ({"norm": "l1"}, "norm: got 'l1'"), ({"confidence": 1.0}, "confidence: got 1.0"),
    ({"confidence": "x"}, "confidence: got 'x'"), ({"gamma": 0.1}, "give uncertainty"), ({"gamma": -1}, "gamma"),
    ({"uncertainty": np.zeros(3)}, "wanted 100 numbers"), ({"uncertainty": np.full(100, 3.0)}, "in [0, 2]"),
    ({"family": "boxes", "norm": "linf", "uncertainty": np.zeros(100)}, "for boxes"), ({"regions": 0}, "regions"),
    ({"components": 0}, "components: got 0"), ({"centres": 0}, "centres: got 0"), ({"neighbours": 0}, "neighbours"),
])
def test_bad_input_is_named_in_one_line(change, said):
    good = {"x": gaussian(100, 2), "alpha": 0.1, "epsilons": [0.5]}
    search = {f.name: change[f.name] for f in dataclasses.fields(bounds.RegionSearch) if f.name in change}
    good |= {k: v for k, v in change.items() if k not in search}
    with pytest.raises(InputError) as e:
        bounds.concentration(**good, search=bounds.RegionSearch(**search))
    assert said in str(e.value) and "\n" not in str(e.value)


def test_regions_are_the_sets_they_are_called():
    x = np.random.default_rng(6).normal(size=(500, 2)) * 2
    c, r, half = np.array([[0.0, 0.0], [1.5, 0.0]]), np.array([2.0, 1.0]), np.array([[1.0, 2.0], [2.0, 1.0]])
    in_ball = np.any(np.linalg.norm(x[:, None] - c, axis=-1) <= r, axis=1)
    in_box = np.any(np.all(np.abs(x[:, None] - c) <= half, axis=-1), axis=1)
    assert np.array_equal(Balls(c, r).distance(x) <= 0, in_ball)
    assert np.array_equal(Balls(c, r, complement=True).distance(x) <= 0, ~in_ball)
    assert np.array_equal(OutsideBoxes(c, half).distance(x) <= 0, ~in_box)


@pytest.mark.parametrize("aim", [0.1, 0.1049, 0.105])
def test_half_spaces_hold_no_more_points_than_they_must(aim):
    found, = bounds.concentration(gaussian(400, 2), 0.1, [1.0], search=bounds.RegionSearch(aim=aim))
    assert found.fit_risk == np.ceil(200 * aim) / 200
