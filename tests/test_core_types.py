"""Values as pytrees: two kinds of value never share a structure, and so never a compiled program."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob.core import layers
from irob.core.types import value


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
