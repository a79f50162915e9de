"""One place for jit, so that every compiled program gets the same measured compiler options.

On the CPU, XLA's experimental fusion of un-padded convolutions is slow where its result is stored
(a factor of two on the gradients of a small convolutional network); an empty fusion type switches it off.
Options that this jaxlib does not know are left out, which is found by compiling one trivial program.
"""

import functools

import jax
import jax.numpy as jnp

_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def options() -> dict[str, str]:
    """The compiler options of this machine: empty off the CPU or where jaxlib does not know them."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda x: x + 1, compiler_options=_CPU_OPTIONS)(jnp.zeros(()))
    except Exception:  # an unknown option is a compile error of no fixed type
        return {}
    return _CPU_OPTIONS


def jit(function=None, **keywords):
    """`jax.jit` with the options above, found when the function is first called and not at import."""
    if function is None:
        return functools.partial(jit, **keywords)

    @functools.cache
    def compiled():
        return jax.jit(function, compiler_options=options() or None, **keywords)

    @functools.wraps(function)
    def call(*args, **kwargs):
        return compiled()(*args, **kwargs)

    call.compiled = compiled
    return call
