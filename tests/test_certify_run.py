"""Running certifiers: bad input in one line, and radii by bisection."""

import jax.numpy as jnp
import numpy as np
import pytest

from irob import certify, classifiers
from irob.core.check import InputError
from irob.core.layers import ConvTranspose, Dense, Flatten, ReLU
from irob.core.threat import LpBall

NET = (Flatten(), Dense(jnp.array([[3.0, 0.0], [4.0, 0.0]]), jnp.zeros(2)))
LINEAR = classifiers.from_layers(NET, 2, (2, 1, 1))
X, Y = np.full((3, 2, 1, 1), 0.5, np.float32), np.zeros(3, np.int32)


def test_the_radius_is_that_of_the_half_space():
    found = certify.radius(certify.build("interval"), LINEAR, X, Y, LpBall("l2", 4.0), steps=16)
    # 3 (x_1 - d_1) + 4 (x_2 - d_2) = 0 is 0.7 away, but no pixel falls by more than 0.5: the black corner is left.
    np.testing.assert_allclose(found.radius, np.sqrt(0.5), atol=1e-3)
    assert found.certified.all()
    assert (found.radius <= np.sqrt(0.5)).all()
    wrong = certify.radius(certify.build("interval"), LINEAR, X, 1 - Y, LpBall("l2", 4.0))
    assert not wrong.certified.any()
    assert (wrong.radius == 0).all()
    assert certify.run(certify.build("interval"), LINEAR, X, Y, LpBall("l2", 0.69)).method == "interval"


@pytest.mark.parametrize(("what", "message"), [
    (lambda: certify.build("crwn"), "did you mean 'crown'"),
    (lambda: certify.build("crown", stps=3), "did you mean 'steps'"),
    (lambda: certify.build("crown", inner="boxes"), "inner bounds"),
    (lambda: certify.run(certify.build("crown"), LINEAR, X + 1, Y, LpBall("l2", 0.1)), "pixels"),
    (lambda: certify.run(certify.build("crown"), LINEAR, X, Y + 2, LpBall("l2", 0.1)), "labels"),
    (lambda: certify.run(certify.build("crown"), LINEAR, X[:, :1], Y, LpBall("l2", 0.1)), "the classifier wants"),
    (lambda: certify.run(certify.build("crown"), LINEAR, X[:0], Y[:0], LpBall("l2", 0.1)), "at least one"),
    (lambda: certify.run(certify.build("crown"), LINEAR, X, Y, LpBall("l2", -0.1)), "epsilon"),
    (lambda: certify.run(certify.build("crown"), LINEAR, X, Y, LpBall("l2", float("nan"))), "epsilon"),
    (lambda: certify.run(certify.build("dual"), LINEAR, X, Y, LpBall("l1", 0.1)), "norm l1"),
    (lambda: certify.run(certify.build("milp"), LINEAR, X, Y, LpBall("l2", 0.1)), "norm l2"),
    (lambda: certify.radius(certify.build("milp"), LINEAR, X, Y, LpBall("l1", 1.0)), "certify.run"),
    (lambda: certify.radius(certify.build("crown"), LINEAR, X, Y, LpBall("l3", 1.0)), "norm"),
])
def test_bad_input_is_one_line(what, message):
    with pytest.raises(InputError, match=message) as e:
        what()
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["interval", "zonotope", "crown", "milp"])
def test_an_unknown_layer_is_refused_by_name(name):
    net = (ConvTranspose(jnp.ones((4, 4, 1, 1)), jnp.zeros(1)), Flatten(), Dense(jnp.ones((8, 2)), jnp.zeros(2)))
    f = classifiers.from_layers(net, 2, (2, 1, 1))
    with pytest.raises(InputError, match="ConvTranspose"):
        certify.run(certify.build(name), f, X, Y, LpBall("linf", 0.1))
    opaque = classifiers.from_function(lambda w, x: jnp.sort(x.ravel()), None, 2, (2, 1, 1))
    with pytest.raises(InputError, match="operation sort"):
        certify.run(certify.build(name), opaque, X, Y, LpBall("linf", 0.1))


def test_logits_that_are_not_numbers_are_refused():
    f = classifiers.from_layers((Flatten(), Dense(jnp.full((2, 2), jnp.nan), jnp.zeros(2)), ReLU()), 2, (2, 1, 1))
    with pytest.raises(InputError, match="NaN"):
        certify.run(certify.build("interval"), f, X, Y, LpBall("l2", 0.1))
