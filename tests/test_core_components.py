"""Labels of several components, such as a letter in many fonts: codes and constants by component, risk by label."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from irob import attacks, bounds, generators, lipschitz
from irob.core.check import InputError
from irob.core.threat import LpBall, ManifoldBall
from irob.data import generated
from irob.evaluation.limits import constants, label_upper, lower, sampled, upper
from irob.evaluation.limits.regions import Images, draw
from irob.evaluation.verbs import estimate

LABEL_OF = (0, 1, 0)


@pytest.fixture(scope="module")
def fonts():
    """Three components of two labels: far apart, each a small isotropic cloud whose first pixel names it."""
    def apply(v, z, y):
        return (v[y] + 0.02 * jnp.tanh(z)).reshape(1, 1, 2)

    g = generators.from_function(apply, jnp.array([[0.1, 0.5], [0.5, 0.5], [0.9, 0.5]]), 2, 3, (1, 1, 2))
    return dataclasses.replace(g, num_classes=2, label_of=LABEL_OF)


def least_growth(alpha, t, p, steps=400):
    """min over r of sum p_i h(r_i) with sum p_i r_i = alpha: by trying every r of a grid for two components."""
    r = np.linspace(0, min(1, alpha / p[0]), steps)
    other = (alpha - p[0] * r) / p[1]
    fits = (other >= 0) & (other <= 1)
    return np.min(p[0] * norm.cdf(norm.ppf(r[fits]) + t[0]) + p[1] * norm.cdf(norm.ppf(other[fits]) + t[1]))


@pytest.mark.parametrize(("alpha", "t", "p"), [
    (0.05, (1.0, 1.0, 1.0), None), (0.3, (0.2, 1.0, 2.0), None), (0.6, (0.7, 0.1, 0.4), (0.2, 0.5, 0.3))])
def test_risk_may_be_spread_over_the_components_of_a_label(alpha, t, p):
    """Two components of label 0 and one of label 1, against brute force."""
    priors = np.full(3, 1 / 3) if p is None else np.asarray(p)
    first = priors[[0, 2]].sum()
    grown = first * least_growth(alpha, (t[0], t[2]), priors[[0, 2]] / first) + priors[1] * norm.cdf(
        norm.ppf(alpha) + t[1])
    found = bounds.intrinsic_robustness_upper_from_radius(alpha, list(t), p, family=LABEL_OF)
    assert found == pytest.approx(1 - grown, abs=1e-9)
    overall, each = (bounds.intrinsic_robustness_upper_from_radius(alpha, list(t), p, family=f)
                     for f in ("overall", "per_class"))
    assert each - 1e-12 <= found <= overall + 1e-12


def test_names_of_families_are_groupings():
    values = [(a, t) for a, t in itertools.product((0.015, 0.4), ([1.0, 0.5, 2.0], [0.1, 0.1, 0.1]))]
    for name, labels in (("overall", [5, 5, 5]), ("per_class", [2, 0, 1])):
        for a, t in values:
            found = [bounds.intrinsic_robustness_upper_from_radius(a, t, family=f) for f in (name, labels)]
            assert found[0] == pytest.approx(found[1], abs=1e-12)
    growth = np.random.default_rng(0).lognormal(size=(3, 400))
    between = [bounds.with_confidence(growth, 0.1, family=f, order=bounds.OrderChoice(delta=0.05)).value
               for f in ("per_class", LABEL_OF, "overall")]
    assert between == sorted(between)
    with pytest.raises(InputError, match="got 2 labels, wanted one for each of 3 components"):
        bounds.intrinsic_robustness_upper(0.1, 1.0, [1.0, 1.0, 1.0], family=[0, 1])


def test_samplers_draw_components_and_data_have_labels(fonts, key):
    data = generated.dataset(fonts, "test", 300)
    cloud = np.round((data.x[:, 0, 0, 0] - 0.1) / 0.4).astype(int)
    assert set(cloud) == {0, 1, 2} and data.num_classes == 2 and data.z is None
    np.testing.assert_array_equal(data.y, np.asarray(LABEL_OF)[cloud])
    x, y = draw(key, fonts, 300, Images())
    np.testing.assert_array_equal(y, np.asarray(LABEL_OF)[np.round((x[:, 0, 0, 0] - 0.1) / 0.4).astype(int)])
    z, c = constants.draw(key, fonts, 6)
    assert c.tolist() == [0, 1, 2, 0, 1, 2] and fonts.labels(c).tolist() == [0, 1, 0, 0, 1, 0]
    assert lipschitz.sampled(key, fonts, z, c, radius=0.1, neighbours=3).value.shape == (6,)
    with pytest.raises(InputError, match=r"wanted \[0, 2\]"):
        lipschitz.sampled(key, fonts, z, c + 1, radius=0.1, neighbours=3)


def test_limits_run_over_labels(fonts, key):
    """Images of the two components of a label conflict with no one of their own."""
    job = label_upper.Job((0.15, 0.25), grid=0)
    rows = label_upper.of_generator(key, fonts, job, 300)
    assert rows[0].detail.matching == 0 and 90 <= rows[1].detail.matching <= 110  # neighbours are 0.4 apart
    plan = constants.ConstantsPlan(sampled=6, ascent=60, certified=0, compared=0, neighbours=3, epsilons=(0.02,))
    found = constants.measure(key, fonts, plan)
    assert found.groups("per_class") == LABEL_OF and len(found.by_class(found.y)) == 3
    rows = upper.rung_rows(found, [sampled.Risk(0.3, "test")], dataset="fonts")
    value = {(r.detail.rung, r.detail.family): r.value for r in rows}
    assert value["escape", "per_class"] <= value["escape", "overall"]
    sizes = estimate.EstimatePlan(2, 3, trials=1, protocol="corrected")
    assert [r.detail.class_index for r in estimate.estimate(key, fonts, sizes).rows] == [0, 1, 2]
    wanted = lower.BracketPlan(alphas=(0.2,), epsilons=(0.02,), choice=200, calibration=400, samples=400, latent=0)
    found = lower.bracket(key, fonts, wanted, witnesses=())
    assert all(len(r.detail.class_risks) == 2 for r in found if r.detail.family == "per_class")


def test_a_move_of_codes_wants_the_component(fonts, key):
    with pytest.raises(InputError, match="got 3 components of 2 labels; the threat manifold l2 knows the label"):
        ManifoldBall(fonts, 0.1)
    data = generated.dataset(fonts, "test", 8)
    with pytest.raises(InputError, match="3 components of 2 labels"):
        attacks.build("manifold", LpBall("l2", 0.1), generator=fonts)
    assert data.y.max() == 1
