"""Checkpoints: what is restored is what was saved, and a save that was cut short does not count."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irob import checkpoint
from irob.core.check import InputError


def make(seed=0):
    params = {"w": jax.random.normal(jax.random.key(seed), (3, 2)), "b": jnp.zeros(2)}
    return {"params": params, "optimiser": optax.adam(1e-3).init(params), "step": jnp.int32(seed)}


def test_round_trip_of_a_training_state(tmp_path):
    state = make(4)
    checkpoint.save(tmp_path, 3, state)
    back = checkpoint.restore(tmp_path, 3, like=make(0))
    assert jax.tree.structure(back) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(a, b)


def test_epochs_latest_and_keep(tmp_path):
    assert checkpoint.latest(tmp_path / "none") is None
    for epoch in (1, 2, 10):
        checkpoint.save(tmp_path, epoch, {"a": jnp.float32(epoch)})
    (tmp_path / "11.orbax-checkpoint-tmp").mkdir()  # what a killed save leaves
    assert checkpoint.epochs(tmp_path) == [1, 2, 10]
    assert checkpoint.latest(tmp_path) == 10
    checkpoint.keep(tmp_path, 2)
    assert checkpoint.epochs(tmp_path) == [2, 10]


def test_another_models_checkpoint_is_refused(tmp_path):
    checkpoint.save(tmp_path, 1, {"a": jnp.zeros(3)})
    with pytest.raises(InputError, match="cannot be restored"):
        checkpoint.restore(tmp_path, 1, like={"b": jnp.zeros(3)})
    with pytest.raises(InputError, match="cannot be restored"):
        checkpoint.restore(tmp_path, 1, like={"a": jnp.zeros(4)})
    with pytest.raises(InputError, match="cannot be restored"):
        checkpoint.restore(tmp_path, 2, like={"a": jnp.zeros(3)})
