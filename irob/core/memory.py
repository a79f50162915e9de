"""How many examples at a time: from a budget in bytes to a chunk, one place for every stream.

What an example needs is read off the program before it is compiled: the largest sum of arrays that are alive at
once, or, for a gradient, the sum of all arrays that the way back may need.  Arrays that do not depend on the example,
as weights, are not counted.  XLA fuses, so less is stored; a convolution has scratch space of its own, so half of
the budget is left alone.

Results do not depend on the chunk.  A door sets the budget once, `with limited("8GiB"):`; without one it is what the
device has.
"""

import contextlib
import contextvars
import math
import os
import re
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.check import InputError
from irob.core.types import Generator

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
SHARE = 0.5  # of the budget that arrays may fill
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


def needed(function: Callable, *example, gradient: bool = False) -> int:
    """Bytes that one more example takes in function(*example), forward or with its gradient.

    >>> needed(lambda x: jnp.tanh(2 * x), jnp.zeros(100))
    800
    """
    closed = jax.make_jaxpr(function)(*example)
    return _walk(closed.jaxpr, [True] * len(closed.jaxpr.invars), gradient)[0]


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
    one = max(1, needed(generator, jnp.zeros(generator.latent_dim), jnp.zeros((), jnp.int32), gradient=gradient))
    count = int(SHARE * (budget - weights) / one)
    if count < 1 and budget - weights < one:
        raise InputError(f"memory: got {budget / 2**20:.0f} MiB, wanted at least "
                         f"{(weights + one) / 2**20:.0f} MiB for the weights and one image; give more with --memory")
    return max(1, min(count, most))


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


def _size(v) -> int:
    shape, kind = getattr(v.aval, "shape", ()), getattr(v.aval, "dtype", None)
    return int(np.prod(shape)) * np.dtype(kind).itemsize if kind is not None and kind.kind in "fiub" else 0


def _inner(eqn) -> list:
    """The programs inside an equation."""
    found = [p for v in eqn.params.values() for p in (v if isinstance(v, (tuple, list)) else (v,))]
    jaxprs = [getattr(p, "jaxpr", p) for p in found]
    return [j for j in jaxprs if hasattr(j, "eqns")]


def _walk(jaxpr, tainted: list[bool], gradient: bool) -> tuple[int, list[bool]]:
    """(bytes, which outputs depend on the example) of a program whose tainted inputs depend on it."""
    depends = {v for v, t in zip(jaxpr.invars, tainted) if t}
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if not hasattr(v, "val")}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if not hasattr(v, "val")}
    alive: dict = {v: _size(v) for v in depends}
    peak = total = sum(alive.values())
    extra_peak = 0
    for i, eqn in enumerate(jaxpr.eqns):
        mine = [not hasattr(v, "val") and v in depends for v in eqn.invars]
        again = "checkpoint" in eqn.primitive.name or "remat" in eqn.primitive.name  # computed again on the way back
        if not any(mine):
            continue
        inside = 0
        for inner in _inner(eqn)[:1]:
            given = mine[-len(inner.invars):] if len(inner.invars) <= len(mine) else [True] * len(inner.invars)
            inside = _walk(inner, given, gradient)[0]
            inputs = sum(_size(v) for v, t in zip(eqn.invars, mine) if t)
            inside = max(0, inside - inputs)
            if gradient and not again:
                total, inside = total + inside, 0
        extra_peak = max(extra_peak, inside)
        made = {v: _size(v) for v in eqn.outvars}
        depends |= made.keys()
        peak = max(peak, sum(alive.values()) + max(inside, sum(made.values())))  # inside are the results too
        alive |= made
        if again or not _inner(eqn):
            total += sum(made.values())
        for v in [v for v in alive if last.get(v, -1) <= i]:
            del alive[v]
    outputs = [not hasattr(v, "val") and v in depends for v in jaxpr.outvars]
    return (total + extra_peak if gradient else peak), outputs
