"""Lipschitz certificates: exact on linear classifiers, true at every scale and layer, below every attack."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks, certify, classifiers
from irob.certify.proof import float64
from irob.classifiers import one_lipschitz
from irob.core import layers
from irob.core.check import InputError
from irob.core.threat import LpBall


def linear(kernel, bias, shape=(2, 2, 1)):
    kernel = np.asarray(kernel, np.float32)
    return classifiers.from_layers((layers.Flatten(), layers.Dense(kernel, np.asarray(bias, np.float32))),
                                   kernel.shape[1], shape)


def test_the_radius_of_a_linear_classifier_is_the_distance_to_the_nearest_plane():
    rng = np.random.default_rng(0)
    w, b, x = rng.normal(size=(4, 3)), rng.normal(size=3), rng.uniform(size=(50, 2, 2, 1)).astype(np.float32)
    w, b = w.astype(np.float32), b.astype(np.float32)
    z = x.reshape(50, 4).astype(np.float64) @ w + b
    y = z.argmax(1).astype(np.int32)
    planes = [[(z[i, c] - z[i, k]) / np.linalg.norm(w[:, c].astype(np.float64) - w[:, k]) for k in range(3) if k != c]
              for i, c in enumerate(y)]
    found = certify.run(certify.build("lipschitz"), linear(w, b), x, y, LpBall("l2", 0.1))
    np.testing.assert_allclose(found.radius, np.min(planes, 1), rtol=1e-9)
    assert (found.radius <= np.min(planes, 1)).all()
    np.testing.assert_array_equal(found.certified, found.radius > 0.1)
    wrong = certify.run(certify.build("lipschitz"), linear(w, b), x, (y + 1) % 3, LpBall("l2", 0.0))
    assert not wrong.certified.any()
    assert not wrong.radius.any()


@pytest.mark.parametrize("scales", [(2.0**-66, 1.0), (2.0**66, 2.0**-66), (2.0**-66, 2.0**-66), (2.0**60, 2.0**60)])
def test_scales_of_layers_change_nothing(scales):
    """Of layers without a bias: radii stay, where squares in float32 would underflow or overflow."""
    rng = np.random.default_rng(1)
    kernels = [rng.normal(size=s).astype(np.float32) for s in ((4, 6), (6, 3))]
    x = rng.uniform(size=(20, 2, 2, 1)).astype(np.float32)

    def radii(a, b):
        net = (layers.Flatten(), layers.Dense(kernels[0] * np.float32(a), np.zeros(6)), layers.ReLU(),
               layers.Dense(kernels[1] * np.float32(b), np.zeros(3)))
        f = classifiers.from_layers(net, 3, (2, 2, 1))
        return certify.run(certify.build("lipschitz"), f, x, np.zeros(20, np.int32), LpBall("l2", 0.05)).radius

    wanted = radii(1.0, 1.0)
    assert wanted.any()
    np.testing.assert_allclose(radii(*scales), wanted, rtol=1e-9)


def test_cancelling_biases_certify_nothing():
    """2^60 + 192 - 2^60 is 256 in float64, since 2^60 has neighbours 256 apart: above 224, where 192 is below."""
    big = np.float32(2.0**60)
    net = (layers.Flatten(), layers.Dense(np.full((1, 1), 256, np.float32), np.array([big])),
           layers.Dense(np.array([[1.0, 0.0]], np.float32), np.array([-big, 224.0])))
    f = classifiers.from_layers(net, 2, (1, 1, 1))
    x = np.full((1, 1, 1, 1), 0.75, np.float32)
    found = certify.run(certify.build("lipschitz"), f, x, np.array([0]), LpBall("l2", 0.0))
    assert found.prediction[0] == 0  # as computed
    assert not found.certified.any()


def test_float64_values_are_within_their_proved_distance_of_rational_arithmetic():
    rng = np.random.default_rng(2)
    kernels = [(rng.normal(size=s) * 10.0 ** rng.integers(-8, 8, s)).astype(np.float32) for s in ((4, 6), (6, 3))]
    bias = (rng.normal(size=6) * 1e6).astype(np.float32)
    net = float64.supported((layers.Dense(kernels[0], bias), layers.GroupSort(), layers.LeakyReLU(0.3),
                              layers.Scale(rng.normal(size=6), bias), layers.Dense(kernels[1], np.zeros(3))), "test")
    x = rng.uniform(size=(1, 4))

    def exact(a):
        return [Fraction(float(v)) for v in np.ravel(a)]

    def affine(h, layer):
        k = np.asarray(layer.kernel)
        return [sum(h[i] * Fraction(float(k[i, o])) for i in range(len(h))) + Fraction(float(layer.bias[o]))
                for o in range(k.shape[1])]

    h = affine(exact(x), net[0])
    h = [v for a, b in zip(h[::2], h[1::2]) for v in (min(a, b), max(a, b))]
    h = [v if v >= 0 else v * Fraction(0.3) for v in h]
    h = [v * g + b for v, g, b in zip(h, exact(net[3].gain), exact(net[3].bias))]
    h = affine(h, net[4])
    got, error = float64.run(net, x)
    for a, b, e in zip(h, exact(got), exact(error)):
        assert abs(a - b) <= e
    assert (error < 1e-6 * np.abs(kernels[1]).max() * 1e14).all()


@pytest.mark.parametrize(("stride", "padding", "size"), [(1, 1, 3), (2, "SAME", 4), (3, "VALID", 2), (2, 1, 3)])
def test_a_convolution_stretches_no_more_than_is_said(stride, padding, size):
    """Against the singular values of its matrix, whose columns are the images of single pixels."""
    rng = np.random.default_rng(3)
    kernel, bias = rng.normal(size=(size, size, 2, 3)).astype(np.float32), np.ones(3, np.float32)
    (conv,) = float64.supported((layers.Conv(kernel, bias, stride, padding),), "test")
    pixels = np.eye(72).reshape(72, 6, 6, 2)
    matrix = float64.run((conv,), pixels)[0] - float64.run((conv,), 0 * pixels)[0]
    exact = np.linalg.norm(matrix.reshape(72, -1), 2)
    assert exact <= float64.stretch(conv) < 3 * exact
    x = rng.uniform(size=(6, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(float64.run((conv,), x[None])[0][0], conv(x), atol=1e-5)


def test_other_layers_stretch_no_more_than_is_said():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 500, 4, 4, 2))
    b = a + 10.0 ** rng.uniform(-3, 1, size=(500, 1, 1, 1)) * b
    for layer in (layers.AvgPool(), layers.MaxPool(), layers.GroupSort(), layers.Clip(0.2, 0.6), layers.ReLU(),
                  layers.Scale(np.array([-3.0, 0.5]), np.ones(2)), layers.LeakyReLU(0.7), layers.Flatten()):
        (walked,) = float64.supported((layer,), "test")
        moved = np.linalg.norm((float64.run((walked,), a)[0] - float64.run((walked,), b)[0]).reshape(500, -1), axis=1)
        ratio = moved / np.linalg.norm((a - b).reshape(500, -1), axis=1)
        assert 0.6 * float64.stretch(walked) < ratio.max() <= float64.stretch(walked) * (1 + 1e-9)
        np.testing.assert_allclose(float64.run((walked,), a[:1])[0][0], layer(np.float32(a[0])), atol=1e-5)


def test_certified_is_below_attacked_for_a_network_that_is_not_orthogonal(key):
    drawn = one_lipschitz.init(key, 16, (12, 8), heads=3)
    f = one_lipschitz.classifier(one_lipschitz.export(drawn, joint=True), (4, 4, 1))
    params = {k: v * 1.5 if k == "kernel_1" else v for k, v in f.variables["params"].items()}
    stretched = classifiers.build("one_lipschitz", 3, (4, 4, 1), variables={"params": params}, widths=(12, 8),
                                  project=False)
    x = np.asarray(jax.random.uniform(key, (100, 4, 4, 1)))
    y = np.asarray(jnp.argmax(jax.vmap(stretched)(x), 1), np.int32)
    found = certify.run(certify.build("lipschitz"), stretched, x, y, LpBall("l2", 0.02))
    assert found.certified.sum() > 20
    attack = attacks.build("pgd", LpBall("l2", 0.02), steps=10)
    assert not (found.certified & attacks.run(attack, key, stretched, x, y).success).any()
    one = certify.run(certify.build("lipschitz"), f, x, y, LpBall("l2", 0.0))
    np.testing.assert_allclose(float64.product(float64.stretch(v) for v in layers.of(f)), 1, atol=3e-3)
    assert one.certified.any()


def test_other_norms_are_certified_through_the_ball_that_holds_theirs():
    f = linear([[1, -1]] * 4, [0, 0])
    x, y = np.full((1, 2, 2, 1), 0.5, np.float32), np.array([0])
    radius = {norm: certify.run(certify.build("lipschitz"), f, x, y, LpBall(norm, 0.1)).radius[0]
              for norm in ("l1", "l2", "linf")}
    assert radius["l1"] == radius["l2"] == pytest.approx(1.0)
    assert radius["linf"] == pytest.approx(0.5)


def test_what_has_no_bound_is_refused():
    x, y = np.zeros((1, 2, 2, 1), np.float32), np.array([0])
    flat = layers.Flatten()
    for net, match in (((flat, layers.Tanh()), "Tanh at place 1"),
                       ((flat, layers.Dense(np.full((4, 4), np.nan), np.zeros(4))), "layer 1"),
                       ((flat, layers.Dense(np.full((4, 4), 1e300), np.full(4, 1e308)),
                         layers.Dense(np.full((4, 4), 1e300), np.zeros(4))), "logits")):
        f = classifiers.from_layers(net, 4, (2, 2, 1))
        with pytest.raises(InputError, match=match):
            certify.run(certify.build("lipschitz"), f, x, y, LpBall("l2", 0.1))
    opaque = classifiers.from_function(lambda v, x: x.ravel(), {}, 4)
    with pytest.raises(InputError, match="opaque"):
        certify.run(certify.build("lipschitz"), opaque, x, y, LpBall("l2", 0.1))
