"""Noise by counter against scipy and a double-precision twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from irob.math import noise


def draws(key, count, shape=(9,)):
    return np.asarray(jax.jit(jax.vmap(lambda j: noise.normal(noise.seed(key), j, shape)))(jnp.arange(count)))


def test_the_cipher_is_that_of_jax(key):
    k, count = noise.seed(key), jnp.arange(1000, dtype=jnp.uint32)
    a, b = noise.threefry(*k, count[::-1], count)
    np.testing.assert_array_equal(jnp.concatenate([a, b]), threefry_2x32(k, jnp.concatenate([count[::-1], count])))


def test_it_is_box_and_muller_of_its_words(key):
    a, b = (np.asarray(w, np.float64) for w in noise.words(noise.seed(key), 3, 5000))
    x = np.asarray(noise.normal(noise.seed(key), 3, (10_000,)))
    radius = np.sqrt(-2 * np.log((np.floor(a / 2**8) + 0.5) / 2**24))
    quadrant, rest = np.floor(b / 2**30), np.floor(np.mod(b, 2**30) / 2**6) / 2**24
    angle = np.pi / 2 * (quadrant + rest - 0.5)
    np.testing.assert_allclose(x[:5000], radius * np.cos(angle), atol=3e-6)
    np.testing.assert_allclose(x[5000:], radius * np.sin(angle), atol=3e-6)


def test_it_is_standard_normal_far_into_the_tails(key):
    x = draws(key, 2000, (500,)).ravel()
    assert stats.kstest(x, "norm").pvalue > 1e-3
    for t in (1.0, 2.0, 3.0, 4.0):
        assert stats.binomtest(int(np.sum(np.abs(x) > t)), x.size, 2 * stats.norm.sf(t)).pvalue > 1e-3


def test_coordinates_and_draws_are_uncorrelated(key):
    x = draws(key, 20_000, (8,))
    now, later, square = x[:-1], x[1:], (x[:-1] ** 2 - 1) / np.sqrt(2)
    apart = ~np.eye(8, dtype=bool)  # a coordinate with its own square has the variance 5, not 1
    for a, b in [(now, now), (now, square), (square, square)]:
        assert np.abs(a.T @ b / len(a))[apart].max() < 4.5 / np.sqrt(len(a))
    assert np.abs(now.T @ later / len(now)).max() < 4.5 / np.sqrt(len(now))


def test_a_draw_depends_on_key_and_number_alone(key):
    x = draws(key, 10)
    np.testing.assert_allclose(x[7], noise.normal(noise.seed(key), 7, (9,)), rtol=1e-6)
    np.testing.assert_array_equal(x[:4], draws(key, 4))
    both = jax.vmap(lambda k, j: noise.normal(noise.seed(k), j, (9,)))(jax.random.split(key, 3), jnp.arange(3))
    np.testing.assert_allclose(both[2], noise.normal(noise.seed(jax.random.split(key, 3)[2]), 2, (9,)), rtol=1e-6)
    assert np.abs(x - draws(jax.random.key(1), 10)).min() > 0


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3, 1), ()])
def test_any_shape(key, shape):
    assert noise.normal(noise.seed(key), 0, shape).shape == shape
