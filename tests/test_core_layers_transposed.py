"""The transposed convolution: both formulations agree with each other and with the definition, gradients too."""

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import operations


def test_both_formulations_are_the_definition(key):
    k1, k2 = jax.random.split(key)
    x, kernel = jax.random.normal(k1, (2, 3, 5, 4)), jax.random.normal(k2, (4, 4, 4, 2))
    wanted = np.zeros((2, 6, 10, 2))
    for i in range(3):
        for j in range(5):
            for a in range(4):
                for b in range(4):
                    p, q = 2 * i - 1 + a, 2 * j - 1 + b
                    if 0 <= p < 6 and 0 <= q < 10:
                        wanted[:, p, q] += np.asarray(x[:, i, j]) @ np.asarray(kernel[3 - a, 3 - b])
    np.testing.assert_allclose(operations._overlap_add(x, kernel), wanted, atol=1e-5)
    np.testing.assert_allclose(operations._dilated(x, kernel), wanted, atol=1e-5)


def test_gradients_agree(key):
    x, kernel = jax.random.normal(key, (2, 3, 3, 4)), jax.random.normal(key, (4, 4, 4, 2))
    loss = lambda f: jax.grad(lambda x, k: jnp.sum(jnp.sin(f(x, k))), argnums=(0, 1))(x, kernel)  # noqa: E731
    for one, other in zip(loss(operations._overlap_add), loss(operations._dilated), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
