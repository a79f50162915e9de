"""The threat set: projections into ball and box, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.threat import LatentBall, LpBall, ManifoldBall, ThreatRecord
from irob.core.types import Generator, Proposal
from irob.math.norms import NORMS


@jit
def _both(ball, x, x_adv):
    p = ball.project(x, x_adv)
    return p, ball.project(x, p), ball.contains(x, p, 1e-6 * (1 + ball.epsilon))


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1), epsilon=st.sampled_from([0.0, 0.1, 1.0, 30.0]), scale=st.sampled_from([1e-3, 1, 50])
)
def test_projection_is_feasible_and_idempotent(norm, seed, epsilon, scale):
    rng = np.random.default_rng(seed)
    x = np.clip(rng.uniform(-0.3, 1.3, (4, 4, 1)), 0, 1).astype(np.float32)
    x_adv = (x + scale * rng.normal(size=x.shape)).astype(np.float32)
    p, again, inside = _both(LpBall(norm, jnp.float32(epsilon)), x, x_adv)
    assert inside
    np.testing.assert_allclose(again, p, atol=2e-6)
    if epsilon == 0:
        np.testing.assert_array_equal(p, x)


@pytest.mark.parametrize("norm", NORMS)
def test_draws_are_inside(norm):
    ball = LpBall(norm, 0.7)
    x = jnp.linspace(0, 1, 12).reshape(2, 2, 3)
    draws = jax.vmap(lambda k: ball.sample(k, x))(jax.random.split(jax.random.key(0), 50))
    assert jax.vmap(lambda d: ball.contains(x, d, 1e-6))(draws).all()


def test_contains_refuses():
    ball = LpBall("l2", 1.0)
    x = jnp.full(4, 0.5)
    assert ball.contains(x, x.at[0].set(1.0))
    assert not ball.contains(x, x.at[0].set(1.1))  # out of the box
    assert not ball.contains(x, x.at[0].set(jnp.nan))
    assert not LpBall("l2", 0.4).contains(x, x.at[0].set(1.0))


def test_epsilon_is_a_leaf():
    """A curve over epsilon is one vmap, and a new radius does not trace again."""
    traces = []

    @jax.jit
    def radius(ball):
        traces.append(1)
        return ball.distance(jnp.zeros(2), ball.project(jnp.full(2, 0.5), jnp.ones(2) * 9))

    assert radius(LpBall("l2", 0.25)) != radius(LpBall("l2", 0.5))
    assert len(traces) == 1
    curve = jax.vmap(lambda e: LpBall("l2", e).project(jnp.zeros(2), jnp.ones(2)))(jnp.array([0.0, 1.0, 9.0]))
    np.testing.assert_allclose(jnp.linalg.norm(curve, axis=1), [0, 1, np.sqrt(2)], rtol=1e-6)


@pytest.mark.parametrize("epsilon", [-1.0, float("nan"), np.float32(-0.5), "wide"])
def test_bad_radius(epsilon):
    with pytest.raises(InputError, match="epsilon: got"):
        LpBall("l2", epsilon)


def test_bad_names_and_bounds():
    with pytest.raises(InputError, match="did you mean 'linf'"):
        LpBall("inf", 1.0)
    with pytest.raises(InputError, match="bounds"):
        LpBall("l2", 1.0, (1.0, 0.0))
    with pytest.raises(InputError, match="epsilon"):
        LpBall("l2", jnp.array(-1.0)).validate()


DOUBLE = Generator(jnp.float32(2.0), lambda v, z, y: 0.5 + v * z.reshape(1, 2, 1), 2, 1, (1, 2, 1), name="double")
THREATS = [LpBall("l2", 0.5), ManifoldBall(DOUBLE, 0.5), LatentBall(DOUBLE, 0.5)]


@pytest.mark.parametrize("threat", THREATS, ids=lambda t: t.name)
def test_a_threat_changes_its_strength_alone(threat):
    weak = threat.at(0.25)
    assert type(weak) is type(threat) and weak.strength == 0.25 and str(weak) == f"{threat.name} 0.25"
    assert jax.tree.structure(weak) == jax.tree.structure(threat)
    assert weak.record() == ThreatRecord(threat.name, 0.25, threat.norm) != threat.record()
    for bad in (-1.0, float("nan")):
        with pytest.raises(InputError, match="got"):
            threat.at(bad)


@pytest.mark.parametrize("threat", THREATS, ids=lambda t: t.name)
def test_what_a_smaller_strength_allows_a_nested_threat_allows(threat):
    x, z = jnp.full((1, 2, 1), 0.5), jnp.zeros(2)
    drawn = 0.4 * jax.random.normal(jax.random.key(1), (60, 2))
    proposal = Proposal(jax.vmap(lambda m: DOUBLE(m, 0))(drawn), drawn)

    def allowed(strength):
        ball = threat.at(strength)

        def one(move):
            image = DOUBLE(move, 0) if threat.moves(proposal).ndim == 2 else move
            return ball.allows(move, image, ball.moved(x, z, move, image))
        return np.asarray(jax.vmap(one)(threat.moves(proposal)))

    small, large = allowed(0.15), allowed(0.3)
    assert threat.nested and np.all(small <= large) and 0 < small.sum() < large.sum() < 60


def test_balls_on_a_manifold_by_hand():
    """g doubles: a code 0.1 away moves the image by 0.2."""
    x, z = jnp.full((1, 2, 1), 0.5), jnp.zeros(2)
    move = jnp.array([0.1, 0.0])
    manifold, latent = THREATS[1:]
    image = manifold.render(x, 0, move)
    np.testing.assert_allclose(image.ravel(), [0.7, 0.5], rtol=1e-6)
    np.testing.assert_allclose(manifold.moved(x, z, move, image), 0.2, rtol=1e-6)
    np.testing.assert_allclose(latent.moved(x, z, move, latent.render(x, 0, move)), 0.1, rtol=1e-6)
    outside = latent.render(x, 0, jnp.array([0.4, 0.0]))  # 1.3 is no pixel
    assert not latent.allows(move, outside, jnp.float32(0.4))
    with pytest.raises(InputError, match="wants codes"):
        latent.moves(Proposal(x[None]))
    with pytest.raises(InputError, match="about the code"):
        latent.moved(x, None, move, image)


def test_spellings_that_people_use():
    ball = LpBall("Linf", "8/255")
    assert (ball.norm, ball.epsilon) == ("linf", 8 / 255) and LpBall("L2", 1.0).at("1/2").epsilon == 0.5
