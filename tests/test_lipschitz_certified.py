"""Certified constants: never below a chord, exact where it is known, and they name what they do not know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import generators
from irob.core import layers
from irob.core.check import InputError
from irob.core.types import Generator
from irob.generators import acgan, affine, gan
from irob.lipschitz import EscapePlan, certified, certified_radius, escape_radius, maximised, sampled
from irob.lipschitz.norms import map_norm, norm
from irob.lipschitz.parts import split
from irob.lipschitz.slopes import chords


class Listed:
    """A generator's module whose variables are its layers, so that one program serves all weights; one class."""

    def __call__(self, variables, z, y):
        return layers.run(variables, z)

    def to_layers(self, variables, y):
        return variables


LISTED = Listed()


def net(key, kind: str) -> Generator:
    """Random layers 5 -> ... -> 8x8x1."""
    k = jax.random.split(key, 8)

    def normal(i, *shape):
        return jax.random.normal(k[i], shape)

    act = {"relu": layers.ReLU(), "leaky": layers.LeakyReLU(0.2), "tanh": layers.Tanh(), "clip": layers.Clip(-1, 1)}
    middle = act[kind]
    parts = (
        layers.Dense(normal(0, 5, 12) / 2, normal(1, 12)), layers.batch_norm(normal(2, 12), normal(3, 12), 0.1, 2.0),
        middle, layers.Dense(normal(4, 12, 12) / 3, normal(5, 12) / 2), middle, layers.Reshape((2, 2, 3)),
        layers.ConvTranspose(normal(6, 4, 4, 3, 3) / 4, jnp.zeros(3)), middle,
        layers.Conv(normal(7, 3, 3, 3, 1) / 3, jnp.ones(1), 1, 1), middle,
        layers.Scale(jnp.float32(0.5), jnp.float32(0.5)),
    )
    return Generator(parts, LISTED, 5, 1, (4, 4, 1))


@jax.jit
def image(g, z):
    """f[n,m,5] -> f[n,m,16]."""
    return jax.vmap(jax.vmap(lambda z: g(z, 0).ravel()))(z)


@pytest.mark.parametrize("build", [acgan.build, gan.build])
def test_listed_layers_are_the_generator(key, build):
    g = build(key=key)
    z = jax.random.normal(key, (100,))
    y = g.num_classes - 1
    np.testing.assert_allclose(layers.run(layers.of_generator(g, y), z), g(z, y), atol=2e-6)


def test_affine_is_exact(key):
    g = affine.build(key=key, latent_dim=4, singular_values=[4.0, 3.0, 2.0, 1.0])
    z = jax.random.normal(key, (2, 4))
    for method in ("local", "product", "best"):
        np.testing.assert_allclose(certified(g, z, 0, radius=0.5, method=method).value, 4.0, rtol=5e-4)
    np.testing.assert_allclose(certified_radius(g, z, 0, epsilon=2.0), 0.5, rtol=5e-4)


@pytest.mark.parametrize("kind", ["relu", "leaky", "tanh", "clip"])
def test_no_chord_is_steeper(key, kind):
    """25,000 random chords for each activation, and the steepest that ascent finds."""
    for seed, radius in enumerate((0.01, 0.1, 0.5, 2.0, 10.0)):
        k = jax.random.fold_in(key, seed)
        g = net(k, kind)
        z = jax.random.normal(k, (5, 5))
        found = certified(g, z, 0, radius=radius)
        assert found.side == "upper"
        v = jax.random.normal(jax.random.fold_in(k, 1), (5, 1000, 5))
        length = radius * jax.random.uniform(jax.random.fold_in(k, 2), (5, 1000, 1))
        v = v * length / jnp.linalg.norm(v, axis=-1, keepdims=True)
        gap = np.linalg.norm(image(g, z[:, None] + v) - image(g, z[:, None]), axis=-1)
        # float32 noise of the images is 1e-6
        assert np.all(gap <= found.value[:, None] * length[..., 0] + 5e-6)
        ascent = maximised(k, g, z, 0, radius=radius, restarts=16).value  # many kinks, many basins
        drawn = sampled(k, g, z, 0, radius=radius, neighbours=50).value
        # An ascent in float32 overshoots by its noise over the length of its chord, which is no shorter than 1e-3.
        assert np.all(found.value >= ascent * (1 - 1e-4)) and np.all(ascent >= drawn * (1 - 1e-3))


def test_the_shipped_acgan(key):
    """certified >= maximised >= sampled, and no image leaves within the certified radius."""
    g = generators.load("acgan_mnist")
    z, y = jax.random.normal(key, (2, 100)), np.array([3, 8])
    for radius, worst in ((0.01, 1.2), (0.1, 4.0)):
        top = certified(g, z, y, radius=radius).value
        ascent = maximised(key, g, z, y, radius=radius, steps=15, restarts=2).value
        drawn = sampled(key, g, z, y, radius=radius, neighbours=200).value
        assert np.all(drawn <= ascent) and np.all(ascent <= top) and np.all(top <= worst * ascent)
    found = escape_radius(key, g, z, y, epsilon=1.0, plan=EscapePlan(steps=10, restarts=2)).upper
    kept = certified_radius(g, z, y, epsilon=1.0, steps=2)
    assert np.all(0.4 * found <= kept) and np.all(kept <= found)


def test_small_balls_give_the_largest_singular_value(key):
    g = net(key, "tanh")
    z = jax.random.normal(key, (3, 5))
    jacobian = jax.vmap(jax.jacobian(lambda z: g(z, 0).ravel()))(z)
    wanted = np.linalg.svd(np.asarray(jacobian), compute_uv=False)[:, 0]
    np.testing.assert_allclose(certified(g, z, 0, radius=1e-5).value, wanted, rtol=2e-3)


def test_nothing_leaves_within_the_certified_radius(key):
    g = net(key, "relu")
    z = jax.random.normal(key, (3, 5))
    rho = certified_radius(g, z, 0, epsilon=0.3)
    v = jax.random.normal(jax.random.fold_in(key, 1), (3, 2000, 5))
    v = v / jnp.linalg.norm(v, axis=-1, keepdims=True) * rho[:, None, None]
    assert np.max(np.linalg.norm(image(g, z[:, None] + v) - image(g, z[:, None]), axis=-1)) <= 0.3 * (1 + 1e-5)


def test_slopes_enclose_chords():
    rng = np.random.default_rng(0)
    a, delta = rng.normal(size=20000) * 2, rng.exponential(size=20000) * 2
    moved = a + delta * rng.uniform(-1, 1, 20000)
    for act in (layers.ReLU(), layers.LeakyReLU(0.3), layers.Tanh(), layers.Clip(-0.5, 1.0)):
        f = {"Tanh": np.tanh, "ReLU": lambda x: np.maximum(x, 0), "LeakyReLU": lambda x: np.maximum(x, 0.3 * x),
             "Clip": lambda x: np.clip(x, -0.5, 1.0)}[type(act).__name__]
        slope = (f(moved) - f(a)) / (moved - a)
        low, high = chords(act, a, delta)
        assert np.all(slope >= low - 1e-8) and np.all(slope <= high + 1e-8)


def test_norms_are_from_above_and_close(key):
    matrix = np.asarray(jax.random.normal(key, (200, 260)))
    exact = np.linalg.norm(matrix, 2)
    assert exact <= norm(matrix) <= 1.01 * exact
    layer = layers.ConvTranspose(jax.random.normal(key, (4, 4, 2, 8)), jnp.zeros(8))
    part = split((layers.Dense(jnp.ones((3, 2048)), jnp.zeros(2048)), layers.Reshape((32, 32, 2)), layer), 3)[1]
    small = split((layers.Dense(jnp.ones((3, 128)), jnp.zeros(128)), layers.Reshape((8, 8, 2)), layer), 3)[1]
    explicit = np.linalg.norm(small.map.push(np.eye(128)), 2)
    assert explicit <= map_norm(part.map) <= 1.1 * explicit  # the larger image lies between, and is bounded by symbols


def test_sorting_has_the_product_only(key):
    q = jnp.linalg.qr(jax.random.normal(key, (6, 6)))[0]
    g = Generator((layers.Dense(q, jnp.zeros(6)), layers.GroupSort(), layers.Dense(2 * q, jnp.zeros(6)),
                   layers.Reshape((2, 3, 1))), LISTED, 6, 1, (2, 3, 1))
    np.testing.assert_allclose(certified(g, jnp.zeros((1, 6)), 0, radius=1.0).value, 2.0, rtol=1e-3)
    with pytest.raises(InputError, match="GroupSort"):
        certified(g, jnp.zeros((1, 6)), 0, radius=1.0, method="local")


def test_what_it_does_not_know_is_named(key):
    g = Generator((layers.Reshape((2, 2, 1)), layers.MaxPool()), LISTED, 4, 1, (1, 1, 1))
    with pytest.raises(InputError, match="MaxPool"):
        certified(g, jnp.zeros((1, 4)), 0, radius=1.0)
    with pytest.raises(InputError, match="radius"):
        certified(affine.build(key=key), jnp.zeros((1, 10)), 0, radius=0.0)
    opaque = Generator({}, lambda v, z, y: z.reshape(2, 2, 1), 4, 1, (2, 2, 1))
    with pytest.raises(InputError, match="lists no layers"):
        certified(opaque, jnp.zeros((1, 4)), 0, radius=1.0)
