"""Somebody else's file: a generator of 8x8 images with uniform codes, one of labels in two fonts, a classifier."""

import jax

from irob import generators

DIRECTIONS, MEANS = (
    scale * jax.random.normal(jax.random.key(i), (n, 64)) for i, (n, scale) in enumerate(((6, 0.5), (3, 1.5))))


def draw(z, y):
    return jax.nn.sigmoid(z @ DIRECTIONS + MEANS[y]).reshape(8, 8, 1)


def gen():
    return generators.wrap(draw, latent_dim=6, num_classes=3, latent=generators.Uniform(-1.0, 1.0))


def fonts():
    return generators.wrap(draw, latent_dim=6, num_classes=2, label_of=[0, 1, 0])


def wide():
    return generators.wrap(lambda z, y: 2 * draw(z, y) - 1, latent_dim=6, num_classes=3)


def broken():
    raise RuntimeError("no weights here")


def number():
    return 3


def model():
    return lambda x: (x.ravel() - 0.5) @ MEANS.T


value = gen()
