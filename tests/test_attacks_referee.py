"""The referee believes nothing: it projects, recomputes, rejects, and remembers the clean point."""

import jax.numpy as jnp
import numpy as np
import pytest

from irob.attacks.referee import judge, margin
from irob.core.threat import LatentBall, LpBall, ManifoldBall
from irob.core.types import Classifier, Generator, Proposal

SHAPE = (1, 2, 1)
# Class 1 where the first pixel exceeds 0.5.
CLASSIFIER = Classifier({}, lambda v, x: jnp.array([0.5, 1.0]) * jnp.array([1.0, x.ravel()[0]]), 2, SHAPE)
IDENTITY = Generator({}, lambda v, z, y: z.reshape(SHAPE), 2, 2, SHAPE)


def image(*pixels):
    return jnp.array(pixels, jnp.float32).reshape(SHAPE)


def verdict(x, y, *proposals, epsilon=0.3, **keywords):
    return judge(CLASSIFIER, LpBall("l2", epsilon), x, y, Proposal(jnp.stack(proposals)), **keywords)[0]


def test_margin_is_positive_where_wrong():
    assert margin(jnp.array([1.0, 3.0, 2.0]), 1) == -1
    assert margin(jnp.array([1.0, 3.0, 2.0]), 0) == 2


def test_a_claim_outside_the_ball_is_projected():
    """The proposal at distance 0.5 is wrong; its projection at 0.3 is not."""
    result = verdict(image(0.1, 0.5), 0, image(0.6, 0.5))
    assert not result.success
    np.testing.assert_allclose(result.distance, 0.3, rtol=1e-5)


def test_nearest_success_wins():
    result = verdict(image(0.4, 0.5), 0, image(0.65, 0.5), image(0.55, 0.5), image(0.6, 0.5))
    assert result.success
    np.testing.assert_allclose(result.x_adv.ravel(), [0.55, 0.5])


def test_nan_is_thrown_away():
    result = verdict(image(0.4, 0.5), 0, image(jnp.nan, 0.5))
    assert not result.success
    np.testing.assert_allclose(result.x_adv.ravel(), [0.4, 0.5])


def test_naturally_wrong_is_a_success_at_distance_zero():
    result = verdict(image(0.9, 0.5), 0, image(0.95, 0.5))
    assert result.success and result.distance == 0
    np.testing.assert_allclose(result.x_adv.ravel(), [0.9, 0.5])


def latent(z, x_claimed, z_adv, **keywords):
    proposal = Proposal(jnp.stack([x_claimed]), jnp.stack([z_adv]))
    x = image(*z)
    return judge(CLASSIFIER, ManifoldBall(IDENTITY, 0.3), x, 0, proposal, jnp.array(z), **keywords)[0]


def test_in_distribution_is_judged_by_its_own_image():
    """The claimed image is misclassified, the generator's image of the claimed code is not."""
    result = latent([0.4, 0.5], image(0.6, 0.5), jnp.array([0.41, 0.5]))
    assert not result.success
    np.testing.assert_allclose(result.x_adv.ravel(), [0.41, 0.5])


def test_in_distribution_is_rejected_outside_and_never_projected():
    """At distance 0.4 of 0.3: projecting would give a wrong image off the manifold."""
    result = latent([0.4, 0.5], image(0.8, 0.5), jnp.array([0.8, 0.5]))
    assert not result.success
    np.testing.assert_allclose(result.x_adv.ravel(), [0.4, 0.5])
    np.testing.assert_allclose(result.z_adv, [0.4, 0.5])


def test_in_distribution_success_keeps_its_code():
    result = latent([0.4, 0.5], image(0.4, 0.5), jnp.array([0.6, 0.5]))
    assert result.success
    np.testing.assert_allclose(result.z_adv, [0.6, 0.5])
    np.testing.assert_allclose(result.distance, 0.2, rtol=1e-5)


def test_nan_logits_are_reported():
    broken = Classifier({}, lambda v, x: jnp.full(2, jnp.nan) * x.sum(), 2, SHAPE)
    x = image(0.1, 0.1)
    _, finite = judge(broken, LpBall("l2", 1.0), x, 0, Proposal(x[None]))
    assert not finite


@pytest.mark.parametrize(("eta", "success"), [(0.1, False), (0.3, True)])
def test_a_latent_ball_is_about_the_code(eta, success):
    """The code moves by 0.2 and its image is wrong: allowed where eta is larger, whatever the image's distance."""
    z, moved = jnp.array([0.4, 0.5]), jnp.array([0.6, 0.5])
    proposal = Proposal(image(0.6, 0.5)[None], moved[None])
    result, _ = judge(CLASSIFIER, LatentBall(IDENTITY, eta), image(*z), 0, proposal, z)
    assert result.success == success
    np.testing.assert_allclose(result.z_adv, moved if success else z)
    np.testing.assert_allclose(result.distance, 0.2 if success else 0.0, rtol=1e-5)
