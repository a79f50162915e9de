"""Latent laws: the map from normal codes, its slope from below and from above, and what it does to a limit."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irob import bounds, generators, lipschitz
from irob.core import latents, layers
from irob.core.check import InputError
from irob.core.types import Generator
from irob.lipschitz.slopes import chords

LAWS = {
    "normal": (latents.Normal(1.0, 3.0), stats.norm(1, 3)),
    "uniform": (latents.Uniform(-10.0, 5.0), stats.uniform(-10, 15)),
    "truncated": (latents.Truncated(0.7), stats.truncnorm(-0.7, 0.7)),
    "hardly truncated": (latents.Truncated(6.0), stats.truncnorm(-6, 6)),
}
EACH = pytest.mark.parametrize(("law", "scipys"), LAWS.values(), ids=LAWS)
SHAPE = (1, 1, 2)


def identity(law):
    """g(u) = u."""
    g = generators.from_layers((layers.Reshape(SHAPE),), latent_dim=2, num_classes=1, image_shape=SHAPE)
    return dataclasses.replace(g, latent=law)


@EACH
def test_the_map_carries_the_normal_law_to_this_one(law, scipys):
    z = np.linspace(-6, 6, 241)
    u = law.exact(z)
    np.testing.assert_allclose(np.minimum(scipys.cdf(u), scipys.sf(u)), stats.norm.cdf(-np.abs(z)), rtol=1e-6)
    np.testing.assert_allclose(law.gaussian(u)[60:-60], z[60:-60], atol=1e-9)
    np.testing.assert_allclose(law(jnp.asarray(z, jnp.float32)), u, atol=2e-6 * max(1, np.abs(u).max()))
    assert latents.law(law.record()) == law


@EACH
def test_slopes_are_those_of_the_map(law, scipys):
    z = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(law.slope(z), (law.exact(z + 1e-5) - law.exact(z - 1e-5)) / 2e-5, rtol=1e-4)
    forward = jax.vmap(jax.grad(law))(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(forward, law.slope(z), rtol=1e-3, atol=1e-6)
    assert np.all(law.slope(z) <= law.steepest) and law.slope(0.0) >= law.steepest * (1 - 1e-11)


@EACH
def test_chords_are_enclosed(law, scipys):
    rng = np.random.default_rng(0)
    a, delta = 3 * rng.normal(size=60), 10 ** rng.uniform(-3, 1, size=60)
    low, high = chords(law, a, delta)
    for share in (-1, -0.9, -0.4, -0.05, 0.05, 0.3, 0.7, 1):
        slope = (law.exact(a + share * delta) - law.exact(a)) / (share * delta)
        noise = 1e-14 * (1 + np.abs(law.exact(a))) / (0.05 * delta)
        assert np.all(low <= slope + noise) and np.all(slope <= high + noise)


def test_uniform_codes_have_the_constant_of_the_quantile_map(key):
    """g(u) = u on [0,1]^d: (2 pi)^(-1/2) in z, nearly attained at z = 0 and nowhere exceeded."""
    g, known = identity(latents.Uniform(0.0, 1.0)), 1 / math.sqrt(2 * math.pi)
    z = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    z[0] = 0
    below = lipschitz.sampled(key, g, z, 0, radius=0.05, neighbours=50).value
    above = [lipschitz.certified(g, z, 0, radius=0.05, method=m).value for m in ("local", "product")]
    assert np.all(below <= above[0] * (1 + 1e-4)) and np.all(above[0] <= above[1] * (1 + 1e-9))
    assert known < above[0][0] < known * (1 + 1e-9) and known < above[1][0] < known * (1 + 1e-9)
    assert known * (1 - 1e-3) < below[0] < known * (1 + 1e-4)
    slopes = stats.norm.pdf(np.maximum(np.abs(z) - 0.05, 0)).max(1)  # at the nearest point to 0 in reach
    assert np.all(above[0] >= stats.norm.pdf(z).max(1)) and np.all(above[0] <= slopes * (1 + 1e-9))


def test_a_limit_of_uniform_codes_is_that_of_the_composed_generator():
    """A half-space of uniform codes grows as the theorem says, or more: {u_1 <= alpha} to {u_1 <= alpha + epsilon}."""
    known = 1 / math.sqrt(2 * math.pi)
    for alpha, epsilon in ((0.015, 0.02), (0.3, 0.1), (0.45, 0.1)):
        assert 1 - (alpha + epsilon) <= bounds.intrinsic_robustness_upper(alpha, epsilon, known)
    near = bounds.intrinsic_robustness_upper(0.4995, 0.001, known)
    assert near == pytest.approx(1 - 0.5005, abs=1e-9)  # attained where the map is steepest


def test_a_law_known_by_name_alone_draws_no_codes():
    g = Generator((), lambda _, z, y: z.reshape(SHAPE), 2, 1, SHAPE, latent="sphere")
    assert g(jnp.ones(2), 0).ravel().tolist() == [1, 1]
    with pytest.raises(InputError, match="sphere.*wanted one that is made of a normal code"):
        latents.require(g.latent)
    for wrong in ({"law": "cauchy"}, {"law": "uniform", "c": 1}):
        with pytest.raises(InputError, match="wanted a law"):
            latents.law(wrong)
    for make in (lambda: latents.Uniform(1.0, 1.0), lambda: latents.Truncated(0.0), lambda: latents.Normal(math.inf)):
        with pytest.raises(InputError):
            make()
