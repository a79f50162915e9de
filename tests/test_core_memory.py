"""From a budget in bytes to a chunk: closed forms on programs whose arrays can be counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from irob.core import memory
from irob.core.check import InputError
from irob.core.types import Generator


def test_sizes_are_read():
    assert memory.parse("8GiB") == 2**33
    assert memory.parse(" 1.5 GB ") == 1_500_000_000
    assert memory.parse("4096") == 4096
    for text in ("", "GiB", "8XB", "-1GB", "0"):
        with pytest.raises(InputError, match="wanted a size such as 8GiB"):
            memory.parse(text)


def dense(width: int, wrap=lambda layer: layer) -> Generator:
    """Eight layers of so many units, each of 400 bytes for a width of 100."""
    def apply(weights, z, y):
        for _ in range(8):
            z = wrap(lambda z: jnp.tanh(weights @ z))(z)
        return z.reshape(1, 1, -1)

    return Generator(jnp.ones((width, width)), apply, width, 1, (1, 1, width))


def bytes_of(g: Generator, gradient=False) -> int:
    return memory.needed(g, jnp.zeros(g.latent_dim), jnp.zeros((), jnp.int32), gradient=gradient)


def test_what_an_example_adds_is_counted_and_weights_are_not():
    """Code, label and image stay; of the layers between, two at a time, or for the way back all eight."""
    for width in (100, 200):
        size = 4 * width
        assert 2 * size <= bytes_of(dense(width)) <= 5 * size
        assert 8 * size <= bytes_of(dense(width), gradient=True) <= 15 * size


def test_a_prediction_from_few_examples_holds_for_many():
    g, many = dense(100), jnp.zeros((64, 100))
    said = jax.jit(jax.vmap(g, in_axes=(0, None))).lower(many, 0).compile().memory_analysis()
    found = said.argument_size_in_bytes + said.output_size_in_bytes + said.temp_size_in_bytes
    assert found - g.variables.nbytes == pytest.approx(64 * bytes_of(g), rel=0.1)


def test_a_model_of_equal_structure_is_not_compiled_again():
    g = dense(50)
    bytes_of(g)
    before = memory._compiled.cache_info().misses
    assert bytes_of(Generator(2 * g.variables, g.module, 50, 1, (1, 1, 50))) > 0
    assert memory._compiled.cache_info().misses == before


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
    small, wide, budget = dense(100), dense(200), 2**20
    assert memory.chunk(wide, budget) < memory.chunk(small, budget) <= 1000
    assert memory.chunk(small, budget, gradient=True) < memory.chunk(small, budget)
    assert memory.chunk(small, 2**40) == 1000
