"""Settings of the whole suite."""

import gc
import importlib.util
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the suite's numbers are those of the CPU path
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("IROB_PROGRESS", "0")  # how far it is would be lines among those that tests read
# Most of the suite's time would go into optimising programs that run once.  XLA_FLAGS=" " tests the optimised ones.
# An XLA that does not know a flag ends the process, so another one tries first.
if "XLA_FLAGS" not in os.environ:
    quick = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"}
    trial = subprocess.run([sys.executable, "-c", "import jax; jax.devices()"], env=quick, capture_output=True)
    os.environ["XLA_FLAGS"] = quick["XLA_FLAGS"] if trial.returncode == 0 else " "

import hypothesis
import jax
import pytest

# A run is the same as the last; `--hypothesis-profile=default` searches with new examples.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")


def pytest_configure():
    """Tests that need a package of IROB_TESTED_WITH, which `make test` sets, are not skipped for want of it."""
    missing = [p for p in os.environ.get("IROB_TESTED_WITH", "").split() if importlib.util.find_spec(p) is None]
    if missing:
        raise pytest.UsageError(f"not installed: {', '.join(missing)}; make test TORCH= leaves their tests out")


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
