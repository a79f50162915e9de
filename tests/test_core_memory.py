"""From a budget in bytes to a chunk: closed forms on programs whose arrays can be counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from irob.core import memory
from irob.core.check import InputError
from irob.core.types import Generator
from irob.generators import biggan


def test_sizes_are_read():
    assert memory.parse("8GiB") == 2**33
    assert memory.parse(" 1.5 GB ") == 1_500_000_000
    assert memory.parse("4096") == 4096
    for text in ("", "GiB", "8XB", "-1GB", "0"):
        with pytest.raises(InputError, match="wanted a size such as 8GiB"):
            memory.parse(text)


def test_what_is_alive_is_counted():
    weights = jnp.ones((100, 100))

    def chain(x):  # f[100]: two arrays of 400 bytes are alive at a time; the gradient may need all four
        return jnp.sin(jnp.cos(jnp.tanh(x)))

    assert memory.needed(chain, jnp.zeros(100)) == 800
    assert memory.needed(chain, jnp.zeros(100), gradient=True) == 1600
    # What does not depend on the example is not counted, however large.
    assert memory.needed(lambda x: (weights @ weights.T) @ x, jnp.zeros(100)) == 800
    # A call is as large as what is inside.
    assert memory.needed(jax.jit(chain), jnp.zeros(100)) == 800
    assert memory.needed(jax.jit(chain), jnp.zeros(100), gradient=True) == 1600


def test_remat_needs_less_for_a_gradient():
    def deep(x, wrap):
        for _ in range(4):
            x = wrap(lambda x: jnp.sin(jnp.cos(jnp.tanh(jnp.exp(x)))))(x)
        return x

    kept = memory.needed(lambda x: deep(x, lambda f: f), jnp.zeros(100), gradient=True)
    again = memory.needed(lambda x: deep(x, jax.checkpoint), jnp.zeros(100), gradient=True)
    assert kept == 400 * 17
    assert again < 0.6 * kept
    assert again >= 400 * 8  # the four results, and the inside of one


def test_a_chunk_fills_half_of_what_weights_leave():
    g = Generator(jnp.zeros(1000), lambda v, z, y: z.reshape(1, 1, 250), 250, 1, (1, 1, 250))
    one = memory.needed(g, jnp.zeros(250), jnp.zeros((), jnp.int32))
    assert memory.chunk(g, 4000 + 40 * one) == 20
    assert memory.chunk(g, 10**9) == 1000
    assert memory.chunk(g, 10**9, most=7) == 7
    assert memory.chunk(g, 4000 + one) == 1
    with pytest.raises(InputError, match="give more with --memory"):
        memory.chunk(g, 4000)
    assert memory.chunk(g) >= 1
    assert memory.available() > 2**20


def test_wider_and_differentiated_needs_more():
    def zero(width):
        shapes = jax.eval_shape(lambda: biggan.build(key=jax.random.key(0), width=width).variables)
        return biggan.build(jax.tree.map(lambda s: jnp.zeros(s.shape), shapes), width=width)

    small, wide = zero(1), zero(2)
    budget = 2**25
    assert memory.chunk(wide, budget) < memory.chunk(small, budget) <= 1000
    assert memory.chunk(small, budget, gradient=True) < memory.chunk(small, budget)
