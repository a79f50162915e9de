"""Layers against XLA's plain operations, in value and in every derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import classifiers
from irob.core import layers, operations
from irob.core.check import InputError
from irob.core.compile import jit


def plain_conv(x, kernel, bias, stride, padding):
    sides = padding if isinstance(padding, str) else ((padding, padding),) * 2
    y = jax.lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + bias


def plain_max_pool(x):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


@pytest.mark.parametrize("side", [8, 11])
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 1, 0), (3, 1, 1), (3, 2, 1), (4, 2, 1), (4, 2, 0), (4, 2, "SAME"), (6, 3, 2)])
def test_conv_is_the_plain_one_in_value_and_gradients(key, size, stride, padding, side):
    a, b, c = jax.random.split(key, 3)
    x, kernel = jax.random.normal(a, (2, side, side, 3)), jax.random.normal(b, (size, size, 3, 5))
    bias = jax.random.normal(c, (5,))
    ours, vjp = jax.vjp(lambda *p: operations.conv(*p, stride, padding), x, kernel, bias)
    wanted, plain_vjp = jax.vjp(lambda *p: plain_conv(*p, stride, padding), x, kernel, bias)
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)
    g = jax.random.normal(jax.random.fold_in(key, 9), ours.shape)
    for got, plain in zip(vjp(g), plain_vjp(g), strict=True):
        np.testing.assert_allclose(got, plain, rtol=1e-4, atol=1e-4)


def test_conv_has_forward_derivatives(key):
    x, kernel, bias = jnp.ones((1, 5, 5, 2)), jax.random.normal(key, (3, 3, 2, 4)), jnp.ones(4)
    t = jax.random.normal(jax.random.fold_in(key, 1), x.shape)
    _, got = jax.jvp(lambda x: operations.conv(x, kernel, bias), (x,), (t,))
    np.testing.assert_allclose(got, plain_conv(t, kernel, 0 * bias, 1, 0), rtol=1e-4, atol=1e-5)


def test_the_gradient_in_a_loop_keeps_the_layout_that_is_fast(key):
    """XLA's CPU back end has a fast convolution for HWIO kernels only, and rewrites others outside of loops only."""
    kernel, bias = jax.random.normal(key, (3, 3, 4, 8)), jnp.zeros(8)

    def loop(conv):
        step = jax.grad(lambda v: (conv(v, kernel, bias) ** 2).sum())
        return lambda x: jax.lax.scan(lambda v, _: (v - step(v), None), x, length=3)[0]

    x = jnp.ones((2, 8, 8, 4))
    ours = jit(loop(operations.conv)).compiled().lower(x).compile().as_text()
    plain = jit(loop(lambda *p: plain_conv(*p, 1, 0))).compiled().lower(x).compile().as_text()
    assert "01oi" not in ours
    if jax.default_backend() == "cpu" and "01oi" not in plain:
        pytest.fail("XLA now rewrites layouts inside loops: the derivative of operations.conv can be the plain one")


def test_max_pool_is_the_plain_one(key):
    x = jax.random.normal(key, (2, 6, 4, 3))
    np.testing.assert_array_equal(operations.max_pool(x), plain_max_pool(x))
    g = jax.random.normal(jax.random.fold_in(key, 1), (2, 3, 2, 3))
    ours, plain = (jax.vjp(pool, x)[1](g)[0] for pool in (operations.max_pool, plain_max_pool))
    np.testing.assert_array_equal(ours, plain)


def test_avg_pool_has_the_mean_of_the_image(key):
    x = jax.random.normal(key, (1, 4, 4, 2))
    np.testing.assert_allclose(operations.avg_pool(x).mean((1, 2)), x.mean((1, 2)), rtol=1e-5)


def test_pooling_refuses_odd_sides():
    with pytest.raises(InputError, match="5x4"):
        operations.max_pool(jnp.ones((1, 5, 4, 1)))


def test_layers_are_pytrees_and_one_example_callables(key):
    net = (layers.Conv(jnp.ones((2, 2, 1, 3)), jnp.zeros(3), 2, 1), layers.ReLU(), layers.MaxPool(), layers.AvgPool(),
           layers.Flatten(), layers.Dense(jnp.ones((3, 2)), jnp.ones(2)))
    assert len(jax.tree.leaves(net)) == 4
    out = jax.jit(layers.run)(net, jnp.ones((6, 6, 1)))
    # 4x4 after the padded convolution; its 2x2 maxima are all 4 but at the corners' blocks, whose inner pixel is 4
    np.testing.assert_allclose(out, 3 * 4 + 1)


def test_of_lists_layers_or_says_why_not():
    net = (layers.Flatten(), layers.Dense(jnp.eye(4), jnp.zeros(4)))
    assert layers.of(classifiers.from_layers(net, 4)) == net
    with pytest.raises(InputError, match="from_layers"):
        layers.of(classifiers.from_function(lambda v, x: x.ravel(), (), 4))
