"""One place for jit, so that every compiled program gets the same measured compiler options.

On the CPU, XLA's experimental fusion of un-padded convolutions is slow where its result is stored (a 3x3
convolution of 128 images 26x26x32 took 37 ms with it, 5 ms without), while its matrix products are the
faster ones where an operand is transposed (3 ms with, 14 ms without).  So only the products stay on.
Options that this jaxlib does not know are left out, which is found by compiling one trivial program.
"""

import functools

import jax
import jax.numpy as jnp

_CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
}


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

    call.compiled = compiled  # type: ignore[attr-defined]  # what tests ask for traces and programs
    return call
