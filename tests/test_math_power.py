"""Power iteration against an exact singular value decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob.math.power import top_singular


def test_against_svd():
    """A nonlinear map whose Jacobian has a clear gap: value to 1e-5, vector up to sign."""
    weights = jax.random.normal(jax.random.key(0), (30, 8))
    x = jax.random.normal(jax.random.key(1), (8,))

    def f(x):
        return jnp.tanh(weights @ x).reshape(5, 6)

    sigma, v = top_singular(f, x, jnp.ones(8), steps=60)
    _, s, vt = np.linalg.svd(np.asarray(jax.jacobian(f)(x)).reshape(30, 8))
    assert float(sigma) == pytest.approx(s[0], rel=1e-5)
    assert abs(float(v @ vt[0])) == pytest.approx(1.0, abs=1e-3)


def test_never_above_and_never_falling():
    matrix = jax.random.normal(jax.random.key(2), (6, 6))
    top = np.linalg.norm(np.asarray(matrix, np.float64), 2)
    found = [float(top_singular(lambda x: matrix @ x, jnp.zeros(6), jnp.ones(6), steps=n)[0]) for n in (0, 1, 3, 10)]
    assert np.all(np.diff(found) >= -1e-5) and max(found) <= top * (1 + 1e-5)


def test_a_flat_function():
    sigma, v = top_singular(lambda x: 0 * x, jnp.ones(3), jnp.ones(3), steps=5)
    assert float(sigma) == 0 and np.isfinite(v).all()
