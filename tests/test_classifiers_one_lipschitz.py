"""Networks that never stretch: verified on pairs, in their gradients, and by the norms of what is stored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob.classifiers import one_lipschitz
from irob.core import weights
from irob.core.check import InputError
from irob.core.compile import jit


@pytest.fixture
def layers(key):
    drawn = one_lipschitz.init(key, 24, (16, 8), heads=3)
    shifted = {k: {**v, "bias": jax.random.normal(key, v["bias"].shape)} for k, v in drawn.items()}
    return one_lipschitz.export(shifted)


def test_no_score_stretches_any_pair(layers, key):
    a, b = jax.random.normal(key, (2, 5_000, 24))
    b = a + b * jnp.geomspace(1e-2, 3, 5_000)[:, None]
    f = jit(one_lipschitz.scores)
    moved = jnp.abs(f(layers, a) - f(layers, b))
    ratio = np.asarray(moved / jnp.linalg.norm(a - b, axis=1, keepdims=True))
    assert (ratio <= one_lipschitz.constants(layers) + 1e-4).all()
    assert ratio.max() > 0.5  # and it is no dead network


def test_gradients_are_units(layers, key):
    """Wide to narrow orthogonal layers lose some length, those of a square network none."""
    x = jax.random.normal(key, (200, 24))
    square = one_lipschitz.export(one_lipschitz.init(key, 24, (24, 24)))
    gradients = jit(jax.vmap(jax.grad(lambda v: one_lipschitz.scores(square, v)[0])))(x)
    np.testing.assert_allclose(jnp.linalg.norm(gradients, axis=1), 1.0, atol=2e-3)


def test_the_constant_is_that_of_the_stored_numbers(layers, tmp_path):
    weights.save(tmp_path, layers, {}, half=True)
    read, _ = weights.load(tmp_path)
    for k in layers:
        np.testing.assert_array_equal(read[k]["kernel"], layers[k]["kernel"])
        np.testing.assert_array_equal(read[k]["bias"], layers[k]["bias"])
    found = one_lipschitz.constants(read)
    assert ((found > 1 - 2e-3) & (found < 1 + 2e-3)).all()
    stretched = {**layers, "0": {**layers["0"], "kernel": 2 * layers["0"]["kernel"]}}
    np.testing.assert_allclose(one_lipschitz.constants(stretched), 2 * found, rtol=1e-6)


def test_the_classifier_never_stretches(key):
    module = one_lipschitz.OneLipschitz(3, (16, 8))
    a, b = jax.random.uniform(key, (2, 500, 4, 4, 1))
    params = module.init(key, a)["params"]
    params = {**params, "kernel_0": 3.0 * params["kernel_0"]}  # training moves weights away from orthogonal
    f = jit(lambda x: module.apply({"params": params}, x))
    moved = jnp.linalg.norm(f(a) - f(b), axis=1)
    assert (moved <= jnp.linalg.norm((a - b).reshape(500, -1), axis=1) * (1 + 1e-4)).all()


def test_odd_widths_are_refused(key):
    with pytest.raises(InputError, match="even"):
        one_lipschitz.init(key, 16, (5,))
