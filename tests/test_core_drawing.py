"""Codes that are not those of the images, and images of another scale, are refused at every edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks, generators
from irob.core import drawing
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.core.types import Classifier, Generator

SHAPE = (4, 4, 1)


def draw(a, z, y):
    """Images in (0, 1), one pattern a class."""
    return jax.nn.sigmoid(a[y] @ z).reshape(SHAPE)


G = Generator(jax.random.normal(jax.random.key(0), (2, 16, 5)), draw, 5, 2, SHAPE)
F = Classifier(jax.random.normal(jax.random.key(1), (2, 16)), lambda w, x: w @ (x.ravel() - 0.5), 2, SHAPE)


@pytest.fixture(scope="module")
def data():
    z = np.random.default_rng(2).normal(size=(40, 5)).astype(np.float32)
    y = np.arange(40, dtype=np.int32) % 2
    return drawing.images(G, z, y), y, z


STORED = {
    "as they are": lambda x: x,
    "rounded to 8 bits": lambda x: np.round(x * 255).astype(np.uint8) / np.float32(255),
    "cut to 8 bits": lambda x: (x * 255).astype(np.uint8) / np.float32(255),
    "half precision": lambda x: x.astype(np.float16).astype(np.float32),
    "bfloat16": lambda x: np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32),
}


@pytest.mark.parametrize("how", STORED)
def test_codes_of_these_images_belong_however_they_were_stored(data, how):
    x, y, z = data
    drawing.belong(G, STORED[how](x), y, z)


def test_other_codes_do_not_belong(data):
    x, y, z = data
    with pytest.raises(InputError, match="got 40 of 40 whose images are not those given .* first image 0"):
        drawing.belong(G, x, y, np.roll(z, 1, axis=0))
    with pytest.raises(InputError, match="check generator, labels and order"):
        drawing.belong(G, x, 1 - y, z)
    one = z.copy()
    one[7] = z[8]
    with pytest.raises(InputError, match="got 1 of 40 .* first image 7"):
        drawing.belong(G, x, y, one)
    with pytest.raises(InputError, match=r"wanted \(40, 5\)"):
        drawing.belong(G, x, y, z[:, :4])


@pytest.mark.parametrize("name", ["manifold", "in_distribution", "on_manifold"])
@pytest.mark.parametrize(("spoil", "words"), [
    (lambda z: np.where(np.arange(5) == 3, np.nan, z), "NaN or infinity in row 0"),
    (lambda z: np.where(np.arange(len(z))[:, None] == 2, np.inf, z), "NaN or infinity in row 2"),
    (lambda z: z[::-1], "whose images are not those given"),
])
def test_latent_attacks_refuse_them(key, data, name, spoil, words):
    """NaN in z made every walk fail, and so every image robust."""
    x, y, z = data
    attack = attacks.build(name, LpBall("l2", 1.0), generator=G, steps=2)
    with pytest.raises(InputError, match=words):
        attacks.run(attack, key, F, x, y, spoil(z))


SCALES = {
    "[-1, 1]": (lambda v, z, y: jnp.tanh(z).reshape(1, 1, 2), r"got pixels in \[-1, 1\], .* take \(x \+ 1\) / 2"),
    "0..255": (lambda v, z, y: 255 * jax.nn.sigmoid(z).reshape(1, 1, 2), r"got pixels in \[0, 255\], .* divide by 255"),
    "NaN": (lambda v, z, y: jnp.nan * z.reshape(1, 1, 2), "NaN"),
}


@pytest.mark.parametrize("scale", SCALES)
def test_generators_of_another_scale_are_refused_with_what_to_do(key, scale):
    apply, words = SCALES[scale]
    with pytest.raises(InputError, match=words):
        generators.from_function(apply, None, 2, 1, (1, 1, 2))
    let_pass = generators.from_function(apply, None, 2, 1, (1, 1, 2), bounds=None)
    attack = attacks.build("manifold", LpBall("l2", 1.0), generator=let_pass, initialisation="inversion")
    f = Classifier((), lambda v, x: x.ravel() - 0.3, 2, (1, 1, 2))
    with pytest.raises(InputError, match=words):
        attacks.run(attack, key, f, np.full((1, 1, 1, 2), 0.5, np.float32), np.zeros(1, np.int32))


@pytest.mark.parametrize("apply", [
    lambda v, z, y: jax.nn.sigmoid(z).reshape(1, 1, 2),
    lambda v, z, y: (1 + 1e-5) * jax.nn.sigmoid(9 * z).reshape(1, 1, 2),  # float noise
    lambda v, z, y: 0.01 * z.reshape(1, 1, 2),  # an affine map has no box
    lambda v, z, y: 3 * z.reshape(1, 1, 2) + y,
    lambda v, z, y: jax.nn.relu(z).reshape(1, 1, 2),
])
def test_the_box_and_maps_without_one_pass(apply):
    assert generators.from_function(apply, None, 2, 3, (1, 1, 2)).num_classes == 3


def test_what_has_no_box_may_be_inverted_only_within_that_of_the_attack(key):
    """An affine map into [0, 1] with its tails outside is fine; one about 128 would make every image robust."""
    def affine(middle, wide):
        return generators.from_function(
            lambda v, z, y: v[0] + v[1] * z.reshape(1, 1, 2), (middle, wide), 2, 1, (1, 1, 2))

    drawing.scaled(affine(0.5, 0.3), boxless=False)
    attack = attacks.build("manifold", LpBall("l2", 1.0), generator=affine(128, 60), initialisation="inversion")
    f = Classifier((), lambda v, x: x.ravel() - 0.3, 2, (1, 1, 2))
    with pytest.raises(InputError, match=r"wanted \[0, 1\]; divide by 255"):
        attacks.run(attack, key, f, np.full((1, 1, 1, 2), 0.5, np.float32), np.zeros(1, np.int32))


def test_nothing_is_looked_at_inside_a_transformation():
    def image(scale):
        return generators.from_function(lambda v, z, y: v * z.reshape(1, 1, 2), scale, 2, 1, (1, 1, 2))(jnp.ones(2), 0)

    assert jax.jit(image)(2.0).shape == (1, 1, 2)
    assert jax.jit(lambda x: image(2.0) + x)(0.0).shape == (1, 1, 2)
