"""Shortest steps onto a hyperplane within the box, against general solvers and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from irob.core.compile import jit
from irob.math.norms import DUAL, NORMS, norm
from irob.math.planes import step_onto

SIZE = {"l1": lambda d: np.abs(d).sum(), "l2": np.linalg.norm, "linf": lambda d: np.abs(d).max()}


def cases(count=50, d=8, seed=3):
    """Points of the box, normals, and gaps from easy to just reachable, of both signs."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        x, w = rng.uniform(size=d), rng.normal(size=d)
        sign = rng.choice([-1, 1])
        reach = np.maximum(sign * w * (1 - x), -sign * w * x).sum()
        yield x, w, sign * reach * (i + 1) / (count + 1)


def solved(x, w, gap, order):
    """The same problem by sequential quadratic programming (l2) or linear programming (l1, linf)."""
    d = len(x)
    if order == "l2":
        result = optimize.minimize(
            lambda v: v @ v / 2,
            np.zeros(d),
            jac=lambda v: v,
            bounds=list(zip(-x, 1 - x)),
            constraints={"type": "eq", "fun": lambda v: w @ v - gap, "jac": lambda v: w},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert result.success
        return result.x
    # Variables (v, t): t bounds every |v_i| (linf, one t) or each its own (l1).
    t = np.ones((d, 1)) if order == "linf" else np.eye(d)
    above = np.block([[np.eye(d), -t], [-np.eye(d), -t]])
    k = t.shape[1]
    result = optimize.linprog(
        np.r_[np.zeros(d), np.ones(k)],
        A_ub=above,
        b_ub=np.zeros(2 * d),
        A_eq=np.r_[w, np.zeros(k)][None],
        b_eq=[gap],
        bounds=[*zip(-x, 1 - x), *[(0, None)] * k],
    )
    assert result.status == 0
    return result.x[:d]


@pytest.mark.parametrize("order", NORMS)
def test_agrees_with_a_general_solver(order):
    step = jit(lambda x, w, gap: step_onto(x, w, gap, order=order))
    for x, w, gap in cases():
        d = np.asarray(step(*(jnp.asarray(a, jnp.float32) for a in (x, w, gap))), np.float64)
        assert np.all((x + d > -1e-6) & (x + d < 1 + 1e-6))
        np.testing.assert_allclose(w @ d, gap, rtol=1e-5, atol=1e-6)
        oracle = solved(x, w, gap, order)
        np.testing.assert_allclose(SIZE[order](d), SIZE[order](oracle), rtol=1e-5, atol=1e-6)
        if order == "l2":  # the one with a unique solution
            np.testing.assert_allclose(d, oracle, atol=2e-5)


@pytest.mark.parametrize("order", NORMS)
def test_free_of_the_box_the_length_is_the_gap_over_the_dual_norm(order, key):
    w = jax.random.normal(key, (7, 3))
    d = step_onto(jnp.full((7, 3), 0.5), w, 0.01, order=order)
    np.testing.assert_allclose(norm(d, order), 0.01 / norm(w, DUAL[order]), rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(w * d), 0.01, rtol=1e-5)


@pytest.mark.parametrize("order", NORMS)
def test_out_of_reach_goes_to_the_corner(order, key):
    x, w = jax.random.uniform(key, (12,)), jax.random.normal(key, (12,))
    w = w.at[0].set(0.0)
    d = step_onto(x, w, 1e3, order=order)
    corner = jnp.where(w > 0, 1.0, jnp.where(w < 0, 0.0, x))
    np.testing.assert_allclose(x + d, corner, atol=1e-6)


@pytest.mark.parametrize("order", NORMS)
def test_scale_zero_and_zero_gap(order, key):
    x, w = jax.random.uniform(key, (12,)), jax.random.normal(key, (12,))
    usual = step_onto(x, w, 0.4, order=order)
    for scale in (1e-30, 1e30):
        np.testing.assert_allclose(step_onto(x, scale * w, scale * 0.4, order=order), usual, atol=1e-5)
    assert not np.any(step_onto(x, jnp.zeros(12), 0.4, order=order))
    assert not np.any(step_onto(x, w, 0.0, order=order))


@pytest.mark.parametrize("order", ["l2", "linf"])
def test_normals_of_many_scales(order, key):
    """Weights from 1 down to 1e-7 and points on the faces: the multiplier still settles on the plane."""
    keys = jax.random.split(key, 3)
    w = 10 ** jax.random.uniform(keys[0], (500,), minval=-7.0, maxval=0.0) * jax.random.rademacher(keys[1], (500,))
    x = jnp.round(jax.random.uniform(keys[2], (500,)), 1)
    reach = jnp.sum(jnp.where(w > 0, w * (1 - x), -w * x))
    for share in (0.01, 0.5, 0.9, 0.999):
        d = step_onto(x, w, share * reach, order=order)
        np.testing.assert_allclose(jnp.sum(w * d), share * reach, rtol=1e-5)
