"""Where the truth is known, closed form, bound and attack must meet.

x = 1/2 + L Q z with orthonormal Q, and a classifier that errs on the half-space {x : w.(x - 1/2) >= L t}, w = Q e_1,
whose measure is alpha = Phi(-t).  Its adversarial risk is exactly Phi(Phi^-1(alpha) + epsilon / L).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from irob import attacks, bounds, lipschitz
from irob.core.threat import LpBall
from irob.core.types import Classifier
from irob.generators import affine

# 28 x 28 pixels share every latent unit, so that images stay in [0, 1].
L, D, SHAPE, ALPHA, N = 0.5, 4, (28, 28, 1), 0.1, 4000
EPSILONS = (0.2, 0.5)


@pytest.fixture(scope="module")
def case():
    """(generator, classifier, codes, images)."""
    g = affine.build(key=jax.random.key(1), latent_dim=D, image_shape=SHAPE, singular_values=L)
    # Q e_1 of the singular vectors: any unit vector in the image of the generator serves.
    w = g.variables["matrix"][0, ..., 0] / L
    threshold = float(-ndtri(ALPHA)) * L

    def logits(variables, x):
        """Class 0 is right; class 1 wins on the half-space."""
        return jnp.stack([jnp.float32(0), jnp.sum(variables * (x - affine.GREY)) - threshold])

    z = jax.random.normal(jax.random.key(2), (N, D))
    return g, Classifier(w, logits, 2, g.image_shape), z, jax.vmap(g, (0, None))(z, 0)


def truth(epsilon: float) -> float:
    return float(ndtr(ndtri(ALPHA) + epsilon / L))


@pytest.mark.parametrize("epsilon", [0.0, *EPSILONS])
def test_bound_is_the_closed_form(epsilon):
    assert bounds.adversarial_risk_lower(ALPHA, epsilon, L) == pytest.approx(truth(epsilon), abs=1e-12)
    assert bounds.intrinsic_robustness_upper(ALPHA, epsilon, L) == pytest.approx(1 - truth(epsilon), abs=1e-12)
    robust = bounds.intrinsic_robustness_upper_from_radius(ALPHA, epsilon / L)
    assert robust == pytest.approx(1 - truth(epsilon), abs=1e-12)


@pytest.mark.parametrize(("name", "options"), [("pgd", {"steps": 20}), ("in_distribution", {"steps": 200})])
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_attack_meets_the_bound(case, key, name, options, epsilon):
    """Neither above the closed form (the bound would be wrong) nor below it (the attack would be weak)."""
    g, classifier, z, x = case
    n = N if name == "pgd" else 400
    if name == "in_distribution":
        options = {**options, "generator": g}
    attack = attacks.build(name, LpBall("l2", epsilon), **options)
    result = attacks.run(attack, key, classifier, x[:n], jnp.zeros(n, jnp.int32), z[:n])
    deviation = np.sqrt(truth(epsilon) * (1 - truth(epsilon)) / n)
    assert abs(float(np.mean(result.success)) - truth(epsilon)) < 3 * deviation
    # Per example there is nothing random: the attack succeeds if and only if the half-space is within epsilon.
    w = np.asarray(g.variables["matrix"][0, ..., 0] / L)
    gap = float(-ndtri(ALPHA)) * L - np.sum(w * (np.asarray(x[:n]) - affine.GREY), axis=(1, 2, 3))
    clear = abs(gap - epsilon) > 0.06 * epsilon
    np.testing.assert_array_equal(result.success[clear], gap[clear] < epsilon)


@pytest.mark.parametrize("directions", ["ball", "orthant"])
@pytest.mark.parametrize("radius", [0.01, 0.5, 3.0])
def test_algorithm_1_returns_the_constant(case, key, directions, radius):
    """An isometry stretches every direction alike, so one neighbour is enough."""
    g, _, z, _ = case
    estimate = lipschitz.sampled(key, g, z[:20], 0, radius=radius, neighbours=1, directions=directions)
    np.testing.assert_allclose(estimate.value, L, rtol=1e-5 if radius > 0.1 else 1e-3)


def test_the_whole_chain(case, key):
    """Estimate, bound and attack from one end to the other: the bound is met by a real attack within 3 sigma."""
    g, classifier, z, x = case
    estimate = lipschitz.sampled(key, g, z[:100], 0, radius=2.0, neighbours=5)
    constant, achieved = estimate.quantile(0.97)
    assert achieved > 0.95
    bound = bounds.evidence(ALPHA, 0.5, constant, radius=2.0, side=estimate.side)
    assert bound.assumptions[0] == "r L >= epsilon holds" and not bound.certified
    attack = attacks.build("pgd", LpBall("l2", 0.5), steps=20)
    result = attacks.run(attack, key, classifier, x, jnp.zeros(N, jnp.int32))
    robust = 1 - float(np.mean(result.success))
    assert robust == pytest.approx(bound.value, abs=3 * np.sqrt(0.25 / N))
