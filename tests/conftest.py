"""Settings of the whole suite."""

import gc
import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the suite's numbers are those of the CPU path
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import pytest


@pytest.fixture
def key():
    """A typed key, the same for every test."""
    return jax.random.key(0)


MAPS = pathlib.Path("/proc/self/maps")  # Linux only
MANY = 20_000  # of the 65,530 that a process may have


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Lets compiled programs go before they are too many: each takes some 25 memory maps, and a process that has no
    more of them crashes in the compiler."""
    yield
    if MAPS.exists() and MAPS.read_text().count("\n") > MANY:
        jax.clear_caches()
        gc.collect()
