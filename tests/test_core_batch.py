"""Results do not depend on chunks, keys are stable, programs are traced once."""

import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob.core import batch, keys, registry
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.types import Generator


def noisy(key, x):
    return x + jax.random.normal(key, x.shape)


@pytest.mark.parametrize("chunk", [1, 3, 4, 7, 100])
def test_stream_is_independent_of_chunks(key, chunk):
    x = np.arange(14, dtype=np.float32).reshape(7, 2)
    f = jit(lambda i, a: {"y": jax.vmap(noisy)(keys.for_examples(key, i), a), "i": i})
    got = batch.stream(f, x, chunk=chunk)
    want = jax.vmap(noisy)(keys.for_examples(key, jnp.arange(7)), x)
    np.testing.assert_allclose(got["y"], want, rtol=1e-5, atol=1e-6)  # same draws; the last bit is the hardware's
    np.testing.assert_array_equal(got["i"], np.arange(7))


def test_stream_compiles_once(key):
    f = jit(chex.assert_max_traces(lambda i, a: a * 2, n=1))
    batch.stream(f, np.ones((7, 2), np.float32), chunk=3)


def test_map_examples_equals_vmap():
    x = jnp.arange(10.0)
    np.testing.assert_array_equal(jax.jit(lambda a: batch.map_examples(jnp.sin, a, chunk=3))(x), jnp.sin(x))


def test_keys():
    with pytest.raises(InputError, match="typed key"):
        keys.require(jnp.zeros(2, jnp.uint32))
    with pytest.raises(InputError, match="seed"):
        keys.from_seed(-1)
    a, b = keys.named(keys.from_seed(0), "attack"), keys.named(keys.from_seed(0), "sample")
    assert not np.array_equal(jax.random.key_data(a), jax.random.key_data(b))


def test_a_rebuilt_generator_does_not_retrace():
    def apply(v, z, y):
        return v * z.reshape(1, 1, 2)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def image(g, z):
        return g(z, 0)

    for scale in (1.0, 2.0):
        g = Generator(jnp.float32(scale), apply, 2, 1, (1, 1, 2))
        np.testing.assert_allclose(image(g, jnp.ones(2)), scale)


def test_registry_suggests():
    with pytest.raises(InputError, match="did you mean 'train'"):
        registry.module("irob.commands", "trian", kind="verb", function="main")


def test_eight_devices_give_the_same_result():
    code = """
import jax, numpy as np
from irob.core import mesh, keys
m = mesh.devices()
f = jax.jit(lambda k, i: jax.vmap(lambda q: jax.random.normal(q, (3,)))(keys.for_examples(k, i)))
i = np.arange(16)
one = f(jax.random.key(0), i)
many = f(mesh.replicate(jax.random.key(0), m), mesh.shard(i, m))
assert len(many.sharding.device_set) == 8
np.testing.assert_allclose(one, many, rtol=1e-5, atol=1e-6)
"""
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(InputError, match="chunk"):
        batch.Work(chunk=0)


def test_nearby_numbers_of_examples_share_a_program():
    f = jit(chex.assert_max_traces(lambda i, a: a * 2, n=1))
    for n in (9, 10, 12):
        np.testing.assert_array_equal(batch.stream(f, np.ones((n, 2), np.float32), chunk=100), np.full((n, 2), 2.0))


def test_a_bucket_is_never_below_and_seldom_far_above():
    sizes = np.arange(1, 2000)
    buckets = np.array([batch.bucket(int(n)) for n in sizes])
    assert (buckets >= sizes).all() and (buckets[15:] < 1.25 * sizes[15:]).all() and (np.diff(buckets) >= 0).all()
    assert len(set(buckets)) < 40
