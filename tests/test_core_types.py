"""Values as pytrees: two kinds of value never share a structure, and so never a compiled program."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks, certify, classifiers
from irob.core import layers
from irob.core.evidence import Certificate
from irob.core.threat import LpBall
from irob.core.types import AttackResult, Dataset, value
from irob.generators import load
from irob.training.run import plan
from irob.training.source import of


@value()
class Doubled:
    x: jax.Array

    def __call__(self):
        return 2 * self.x


@value()
class Tripled:
    x: jax.Array

    def __call__(self):
        return 3 * self.x


ALIKE = [
    (Doubled(1.0), Tripled(1.0)), (layers.Dense(1.0, 2.0), layers.Scale(1.0, 2.0)),
    *itertools.combinations((layers.ReLU(), layers.Tanh(), layers.GroupSort(), layers.Flatten()), 2),
]


@pytest.mark.parametrize(("a", "b"), ALIKE, ids=lambda v: type(v).__name__)
def test_kinds_of_equal_fields_differ(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(type(a)(*jax.tree.leaves(a)))
    assert jax.tree.structure(a) != jax.tree.structure(b)
    assert jax.tree.structure((a, b)) != jax.tree.structure((b, a))


def test_a_program_serves_its_kind_only():
    run = jax.jit(lambda v: v())
    assert [float(run(v)) for v in (Doubled(1.0), Tripled(1.0), Doubled(2.0))] == [2.0, 3.0, 4.0]


def test_static_fields_are_compared_and_leaves_have_names():
    assert jax.tree.structure(layers.LeakyReLU(0.2)) != jax.tree.structure(layers.LeakyReLU(0.3))
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(Doubled(jnp.ones(2)))]
    assert paths == [".x"]
    np.testing.assert_array_equal(jax.tree.map(lambda v: v + 1, Doubled(np.ones(2))).x, 2 * np.ones(2))


def test_a_value_is_one_short_line():
    """Arrays by type and shape, nested values too, under a transformation as well; a number is itself."""
    f = classifiers.load("mnist_gen_adv")
    assert repr(f).startswith("Classifier(variables=<14 arrays of 312,202 numbers>, module=Net, num_classes=10, ")
    x, y = np.zeros((3, 28, 28, 1), np.float32), np.zeros(3, np.int32)
    assert repr(Dataset(x, y, None, 10, x.shape[1:])).startswith("Dataset(x=float32[3,28,28,1], y=int32[3], z=None, ")
    ball = LpBall("l2", jnp.float32(0.5))
    assert repr(ball) == "LpBall(norm='l2', epsilon=0.5, bounds=(0.0, 1.0))"
    result = AttackResult(x, None, y > 0, jnp.ones(3))
    for v in (f, load("acgan_mnist"), ball, attacks.build("autoattack"), result, plan("adv").method, of(Dataset(
            x, y, None, 10, x.shape[1:])), certify.build("smoothing", sigma=0.5), Doubled(jax.random.key(0)),
            Certificate(jnp.ones(100), jnp.ones(100, bool), None, None, "dual")):
        assert "\n" not in repr(v) and len(repr(v)) < 400, repr(v)
    seen = []
    jax.jit(lambda ball: (seen.append(repr(ball)), ball.epsilon)[1])(ball)
    assert seen == ["LpBall(norm='l2', epsilon=float32[], bounds=(0.0, 1.0))"]
