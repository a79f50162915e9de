"""The threat set: projections into ball and box, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.threat import LpBall
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
