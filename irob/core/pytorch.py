"""A PyTorch module as a function of JAX: jitted, vmapped and differentiated like any other, on any device of JAX.

    variables, apply = as_function(net, images)        # images f[2,C,H,W], on which PyTorch is compared with
    logits = apply(variables, image)                   # image f[C,H,W] -> f[K]

    variables, apply = as_function(generator, z, y)    # z f[2,d], y i[2]
    image = apply(variables, z[0], y[0])               # f[C,H,W], in the module's own range

torchax hands JAX's arrays through the module's `forward`, which therefore must not branch on their values, turn them
into NumPy or draw random numbers.  What it cannot see is compared: a gradient of the module's own making
(`torch.autograd.Function`) would be JAX's instead.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import _torchax
from irob.core.check import InputError, one_line


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
    """apply(variables, *example) of a module; compared by identity.

    call: torchax's, (variables, inputs) -> output.  batched: the module wants a leading axis.
    """

    call: Callable[..., jax.Array]
    dtype: Any
    batched: bool = True

    def __call__(self, variables: dict[str, jax.Array], *example: jax.Array) -> jax.Array:
        """One example without its leading axis -> f32, likewise."""
        arrays = map(jnp.asarray, example)
        given = tuple(a.astype(self.dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a for a in arrays)
        out = self.call(variables, tuple(a[None] for a in given) if self.batched else given)
        return (out[0] if self.batched else out).astype(jnp.float32)


def as_function(module, *inputs, batched: bool = True) -> tuple[dict[str, jax.Array], Traced]:
    """A PyTorch module, in inference mode, as (variables, apply); the module itself stays as it is.

    Args:
        module: torch.nn.Module of one tensor or several -> one tensor.
        inputs: a few examples of each, f[n,...] or i[n,...], on which output and gradient are compared with PyTorch's.
        batched: the module takes them with their leading axis; else it takes one example.

    Raises:
        InputError: the module fails on the inputs, torchax is not installed or cannot trace it, or differs from it.
    """
    own = copy.deepcopy(module).cpu()
    with contextlib.suppress(NotImplementedError):  # an exported program keeps its mode
        own.eval()
    kind = dtype_of(own)
    dtype = jnp.dtype(str(kind).removeprefix("torch."))
    if dtype != jax.dtypes.canonicalize_dtype(dtype):
        raise InputError(f"it computes in {dtype}, which JAX does with jax_enable_x64 only")
    environment = _torchax.environment()
    variables, call = _extracted(own, environment)
    apply = Traced(call, dtype, batched)
    before = environment.prng_key
    given = tuple(jnp.asarray(np.asarray(a)) for a in inputs)
    try:
        want, cotangent, slopes = _by_pytorch(own, given, kind, batched)
    except Exception as e:  # the module is the user's: any error may come out of it
        raise InputError(f"the PyTorch module fails on inputs {[a.shape for a in given]}: {one_line(e)}") from e
    try:
        with jax.default_matmul_precision("float32"):
            got, found = _by_jax(apply, variables, given, jnp.asarray(cotangent))
    except Exception as e:
        raise InputError(f"torchax cannot trace it ({one_line(e)})") from e
    if environment.prng_key is not before:
        raise InputError("it draws random numbers, which torchax would draw once and for all")
    tolerance = max(1e-2, 10 * float(jnp.finfo(dtype).eps))
    for what, a, b in (("an output", got, want), *(("a gradient", *pair) for pair in zip(found, slopes))):
        error, size = np.linalg.norm(np.asarray(a, np.float64) - b), np.linalg.norm(b)
        if not error <= tolerance * size + 1e-6:
            raise InputError(f"torchax gives {what} that differs from PyTorch's by {error:.2g} of {size:.2g}")
    return variables, apply


def _extracted(module, environment):
    """The module's weights and buffers as JAX's arrays, and torchax's call of them."""
    import torch
    import torchax

    class OnJax(torch.nn.Module):
        """Tensors that `forward` makes (torch.zeros) are JAX's as well."""

        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self, *inputs):
            with torch.device("jax"):
                return self.module(*inputs)

    return torchax.extract_jax(OnJax().eval(), environment)


def dtype_of(module):
    """PyTorch's type of the numbers that the module computes in: that of its first weights."""
    import torch

    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def _by_pytorch(module, given, kind, batched):
    """PyTorch's output, a cotangent c of it, and c's pull-back to every floating input."""
    import torch

    tensors = [torch.from_numpy(np.array(a)) for a in given]
    tensors = [t.to(kind).requires_grad_() if t.is_floating_point() else t.long() for t in tensors]
    wanted = [t for t in tensors if t.requires_grad]
    with torch.enable_grad():
        out = module(*tensors) if batched else torch.stack([module(*one) for one in zip(*tensors)])
        cotangent = np.cos(np.arange(out.numel(), dtype=np.float32)).reshape(out.shape)
        found: Any = [None] * len(wanted)
        if out.requires_grad and wanted:  # a module of constants has no gradient at all
            found = torch.autograd.grad(out, wanted, torch.from_numpy(cotangent).to(out), allow_unused=True)
    slopes = [np.zeros(t.shape) if slope is None else slope.double().numpy() for t, slope in zip(wanted, found)]
    return out.detach().double().numpy(), cotangent, slopes


def _by_jax(apply, variables, given, cotangent):
    """The same output and pull-backs, as irob takes them: vmapped over single examples and jitted."""
    whole = [not jnp.issubdtype(a.dtype, jnp.floating) for a in given]

    @jax.jit
    def both(variables, given, cotangent):
        def of_floating(*some):
            rest = iter(some)
            return jax.vmap(lambda *one: apply(variables, *one))(
                *(a if fixed else next(rest) for a, fixed in zip(given, whole)))

        out, pull = jax.vjp(of_floating, *(a for a, fixed in zip(given, whole) if not fixed))
        return out, pull(cotangent)

    return both(variables, given, cotangent)
