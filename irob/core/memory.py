"""How many examples at a time: from a budget in bytes to a chunk, one place for every stream.

What an example needs is read off the compiled program: XLA says how many bytes it plans for two numbers of examples,
and the difference is what further ones take; weights, which all share, drop out.  A convolution has scratch space of
its own, and an attack holds more than its generator, so half of the budget is left alone.

Results do not depend on the chunk.  A door sets the budget once, `with limited("8GiB"):`; without one it is what the
device has.
"""

import contextlib
import contextvars
import functools
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.check import InputError
from irob.core.types import Generator

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
SHARE = 0.5  # of the budget that arrays may fill
FEW = 4  # examples in the smaller of two programs that are compared
FALLBACK = 4 * 2**30
_budget: contextvars.ContextVar[int | None] = contextvars.ContextVar("memory budget", default=None)


def parse(text: str) -> int:
    """Bytes of a size such as 8GiB, 500 MB or 1e9.

    >>> parse("8GiB") == 8 * 2**30, parse("500 MB")
    (True, 500000000)
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:[eE]\d+)?)\s*([A-Za-z]*)\s*", text)
    try:
        size = float(found[1]) * UNITS[found[2].upper()] if found else math.nan
    except (KeyError, ValueError):
        size = math.nan
    if not size >= 1:
        raise InputError(f"memory: got {text!r}, wanted a size such as 8GiB or 500MB")
    return int(size)


@contextlib.contextmanager
def limited(text: str | None) -> Iterator[None]:
    """Within it, work is cut into chunks that this many bytes hold; "" or None leaves it to the device.

    >>> with limited("1 GiB"):
    ...     available() == 2**30
    True
    """
    token = _budget.set(parse(text) if text else _budget.get())
    try:
        yield
    finally:
        _budget.reset(token)


def available() -> int:
    """Bytes that this process may fill: those of `limited`, the accelerator's own limit, or half of what is free."""
    if (budget := _budget.get()) is not None:
        return budget
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError, AttributeError):  # systems that do not say
        return FALLBACK


def needed(model: Callable, *example, gradient: bool = False) -> int:
    """Bytes that one more example takes in model(*example), forward or with the gradient by the first argument.

    model: a callable pytree such as a Generator or a Classifier, whose arrays all examples share; only shapes are
    looked at, and a model of equal structure is not compiled again.

    >>> needed(jax.tree_util.Partial(lambda x: jnp.tanh(2 * x)), jnp.zeros(100))
    800
    """
    shape = _shape(model, example)
    few, many = (_compiled(*shape, count, gradient) for count in (FEW, 2 * FEW))
    return max(1, (many - few) // FEW)


def together(model: Callable, *example, budget: int, most: int, gradient: bool = False) -> int:
    """How many examples at a time, of `most`, have room in a share of the budget in bytes; 0 if not even one has."""
    # An example keeps no more than what it reads and writes, which is known before the program is compiled.
    if most * _moved(*_shape(model, example), gradient) <= SHARE * budget:
        return most
    return min(most, int(SHARE * budget / needed(model, *example, gradient=gradient)))


def chunk(generator: Generator, budget: int | None = None, *, gradient: bool = False, most: int = 1000) -> int:
    """How many codes at a time this generator may be given.

    Args:
        budget: bytes for the whole work, weights included; default: what the device has.
        gradient: whether derivatives are taken.
        most: never more than this, what is fast.

    Raises:
        InputError: the budget does not hold the weights and one image.

    >>> g = Generator((), lambda _, z, y: z.reshape(1, 1, 250), 250, 1, (1, 1, 250))
    >>> chunk(g, 41_000)
    10
    """
    weights = sum(int(np.size(a)) * jnp.result_type(a).itemsize for a in jax.tree.leaves(generator.variables))
    budget = available() if budget is None else budget
    example = jnp.zeros(generator.latent_dim), jnp.zeros((), jnp.int32)
    count = together(generator, *example, budget=budget - weights, most=most, gradient=gradient)
    if count < 1 and budget - weights < (one := needed(generator, *example, gradient=gradient)):
        raise InputError(f"memory: got {budget / 2**20:.0f} MiB, wanted at least "
                         f"{(weights + one) / 2**20:.0f} MiB for the weights and one image; give more with --memory")
    return max(1, count)


def fitting(generator: Generator, most: int, *, gradient: bool = False, copies: int = 1) -> int:
    """`most` codes at a time, what is fast, or a power of two below it where the memory holds fewer.

    copies: evaluations of the generator that one code takes at once.  Powers of two, so that programs are met again.

    Raises:
        InputError: the memory does not hold the weights and one image.

    >>> g = Generator((), lambda _, z, y: z.reshape(1, 1, 250), 250, 1, (1, 1, 250))
    >>> with limited("41000"):
    ...     fitting(g, 1000), fitting(g, 1000, copies=5), fitting(g, 7)
    (8, 2, 7)
    """
    most = max(1, most)
    holds = chunk(generator, gradient=gradient, most=most * copies) // copies
    return most if holds >= most else 2 ** (max(1, holds).bit_length() - 1)


def _shape(model, example) -> tuple[Any, tuple[Any, ...]]:
    """What decides the program: the structure, and the shapes and types of the leaves."""
    leaves, structure = jax.tree.flatten((model, example))
    return structure, tuple((np.shape(a), jnp.result_type(a)) for a in leaves)


def _lowered(structure, leaves, count: int, gradient: bool):
    """The program of so many examples, before it is compiled."""
    model, example = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves])

    def one(model, first, *rest):
        if not gradient:
            return model(first, *rest)
        out, pull = jax.vjp(lambda first: model(first, *rest), first)
        return out, pull(out)

    many = [jax.ShapeDtypeStruct((count, *e.shape), e.dtype) for e in example]
    return jax.jit(jax.vmap(one, in_axes=(None, *[0] * len(many)))).lower(model, *many)


@functools.lru_cache(64)
def _moved(structure, leaves, gradient: bool) -> float:
    """Bytes that one example reads and writes, weights included."""
    return _lowered(structure, leaves, 1, gradient).cost_analysis().get("bytes accessed", math.inf)


@functools.lru_cache(64)
def _compiled(structure, leaves, count: int, gradient: bool) -> int:
    """Bytes of the arguments, results and intermediate arrays of so many examples."""
    found = _lowered(structure, leaves, count, gradient).compile().memory_analysis()
    return (found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
            - found.alias_size_in_bytes)
