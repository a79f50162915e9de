"""Settings of the whole suite: two simulated devices are not needed here, float32 matrix products are."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the suite's numbers are those of the CPU path
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest


@pytest.fixture
def key():
    """A typed key, the same for every test."""
    return jax.random.key(0)
