"""Compiled programs on disk: a second process finds what the first one compiled, and keeps out where it may not."""

import os
import subprocess
import sys

from irob.core import cache

PROGRAM = """
import jax, jax.numpy as jnp
from irob.core import cache
cache.FEWEST_SECONDS = 0.0
print(cache.keep())
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
print(float(jax.jit(lambda x: (x @ x).sum())(jnp.ones((3, 3)))))
print("hit" if any("cache_hits" in event for event in found) else "miss")
"""


def once(folder) -> list[str]:
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"} | {"XDG_CACHE_HOME": str(folder)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_second_process_finds_the_program(tmp_path):
    where, value, first = once(tmp_path)
    assert where.startswith(str(tmp_path / "irob")) and (value, first) == ("27.0", "miss")
    assert once(tmp_path) == [where, "27.0", "hit"]


def test_a_folder_that_cannot_be_made_is_left_alone(tmp_path):
    (tmp_path / "irob").write_text("a file where the folder should be")
    assert once(tmp_path)[:2] == ["None", "27.0"]


def test_the_oldest_programs_go_first(tmp_path):
    for age, name in enumerate(("new", "old", "oldest")):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    cache.prune(tmp_path, 25)
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_no_process_waits_for_a_lock(tmp_path):
    where = once(tmp_path)[0]
    assert not [name for name in os.listdir(where) if "lock" in name]
