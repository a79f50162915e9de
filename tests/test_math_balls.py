"""Projections: feasible, idempotent, nearest; draws: inside and uniform in radius."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from irob.core.compile import jit
from irob.math import balls, norms
from tests.twins.apgd import onto_l1_box

# XLA flushes subnormal numbers to zero, and so the sixth of the smallest normal one, as which six equal entries enter
# a norm: nothing but 0 is drawn below 1e-30.
ENTRIES = st.floats(-50, 50, width=32, allow_subnormal=False).map(lambda a: a if abs(a) > 1e-30 else 0.0)
VECTORS = hnp.arrays(np.float32, 6, elements=ENTRIES)
RADII = st.sampled_from([0.0, 1e-3, 0.5, 3.0, 40.0])
project = functools.cache(lambda order: jit(functools.partial(balls.project, order=order)))


@pytest.mark.parametrize("order", norms.NORMS)
@settings(max_examples=60, deadline=None)
@example(v=np.full(6, 9, np.float32), epsilon=1e-3)
@given(v=VECTORS, epsilon=RADII)
def test_feasible_and_idempotent(order, v, epsilon):
    p = project(order)(v, epsilon)
    assert np.all(np.isfinite(p))
    assert norms.norm(p, order) <= epsilon + 1e-6 * (1 + epsilon)
    np.testing.assert_allclose(project(order)(p, epsilon), p, atol=1e-6 * (1 + epsilon))
    if norms.norm(v, order) <= epsilon:
        np.testing.assert_array_equal(p, v)


@pytest.mark.parametrize("order", norms.NORMS)
@settings(max_examples=60, deadline=None)
@given(v=VECTORS, u=VECTORS, epsilon=RADII)
def test_nearest(order, v, u, epsilon):
    """The variational inequality (v - p) . (u - p) <= 0 for every u in the ball: it characterises the nearest point."""
    p = np.asarray(project(order)(v, epsilon), np.float64)
    length = np.linalg.norm(u, {"l1": 1, "l2": 2, "linf": np.inf}[order])
    u = u.astype(np.float64) * min(1.0, epsilon / max(length, 1e-30))
    assert (v - p) @ (u - p) <= 1e-4 * (1 + np.abs(v).max()) * (1 + epsilon)


@pytest.mark.parametrize("seed", range(5))
def test_l1_against_bisection(seed):
    """sum max(|v_i| - theta, 0) = epsilon solved by a root finder."""
    v = np.random.default_rng(seed).normal(size=50)
    theta = scipy.optimize.brentq(lambda t: np.maximum(np.abs(v) - t, 0).sum() - 3.0, 0, np.abs(v).max())
    wanted = np.sign(v) * np.maximum(np.abs(v) - theta, 0)
    np.testing.assert_allclose(balls.project_l1(jnp.asarray(v, jnp.float32), 3.0), wanted, atol=1e-6)


@pytest.mark.parametrize("order", norms.NORMS)
def test_draws_are_uniform_in_radius(order):
    """In a ball of dimension d the norm of a uniform draw is distributed as U^(1/d)."""
    draws = jax.vmap(lambda k: balls.sample(k, (2, 2), 2.0, order))(jax.random.split(jax.random.key(0), 4000))
    radius = np.asarray(jax.vmap(lambda v: norms.norm(v, order))(draws)) / 2
    assert radius.max() <= 1 + 1e-6
    assert scipy.stats.kstest(radius, lambda r: np.clip(r, 0, 1) ** 4).pvalue > 1e-3
    np.testing.assert_allclose(draws.mean(0), 0, atol=0.08)


def test_the_projection_onto_l1_ball_and_box_is_the_nearest_point():
    """Against a general solver in 8 dimensions, and against the published breakpoints in 200."""
    def solved(v, x, epsilon):
        # u = a - b with a, b >= 0 makes the problem smooth.
        found = scipy.optimize.minimize(
            lambda u: np.sum((u[:8] - u[8:] - v) ** 2), np.zeros(16), method="SLSQP",
            bounds=[*((0, 1 - c) for c in x), *((0, c) for c in x)],
            constraints={"type": "ineq", "fun": lambda u: epsilon - u.sum()}, options={"maxiter": 500, "ftol": 1e-12})
        return found.x[:8] - found.x[8:]

    rng = np.random.default_rng(0)
    for _ in range(5):
        v, x, epsilon = rng.normal(size=8), rng.uniform(size=8), rng.uniform(0.1, 2)
        got = np.asarray(balls.project_l1_box(jnp.asarray(v), epsilon, -x, 1 - x))
        np.testing.assert_allclose(got, solved(v, x, epsilon), atol=1e-4)
        assert np.abs(got).sum() <= epsilon + 1e-5
    for scale in (0.1, 1, 30):
        v, x = scale * rng.normal(size=200), rng.uniform(size=200)
        got = balls.project_l1_box(jnp.asarray(v, jnp.float32), 5.0, jnp.asarray(-x), jnp.asarray(1 - x))
        np.testing.assert_allclose(got, onto_l1_box(v, 5.0, -x, 1 - x), atol=3e-6 * max(scale, 1))
    assert not np.any(balls.project_l1_box(jnp.ones(3), 0.0, -jnp.ones(3), jnp.ones(3)))
