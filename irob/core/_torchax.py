"""torchax, made ready: PyTorch's operations as operations of JAX.

Two things are mended here, and nowhere else; both go when torchax does them itself.

Overloads that are gone.  torchax 0.0.13 lists operators with named dimensions (aten::prod.dim_Dimname and 20 more),
which PyTorch 2.13 has no longer, so that importing it fails.  While it loads, those names give an empty placeholder,
which no module can ever call.

Convolutions.  torchax writes them channels first and lets JAX transpose them, which XLA's CPU back end runs tens of
times slower within a loop, as an attack is one (see `irob.core.layers`): 10 gradients of the paper's small CNN on 128
images took 19.5 s, and 2.4 s by the convolution of `irob.core.layers`, which therefore stands in its place.
"""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from irob.core import layers
from irob.core.check import InputError


def environment() -> Any:
    """A new environment of torchax: random numbers that a module draws leave no trace outside of it.

    Raises:
        InputError: torchax is not installed or does not load.
    """
    import torch

    try:
        with _without_named_dimensions():
            found = importlib.import_module("torchax.tensor").Environment()
    except ImportError:
        raise InputError("torchax: not installed; pip install 'irob[torch]'") from None
    except Exception as e:  # another version of PyTorch: whatever it lacks
        raise InputError(f"torchax: does not load with PyTorch {torch.__version__}: {type(e).__name__}") from e
    aten = torch.ops.aten.convolution.default
    plain = importlib.import_module("torchax.ops.jaten")._aten_convolution
    found.override_op_definition(aten, lambda *a: found.j2t_iso(_convolution(plain, *found.t2j_iso(a))))
    return found


@contextlib.contextmanager
def _without_named_dimensions() -> Iterator[None]:
    """Overloads with named dimensions that PyTorch lacks are placeholders in here."""
    from torch._ops import OpOverloadPacket

    real = OpOverloadPacket.__getattr__

    def lookup(packet, key):
        try:
            return real(packet, key)
        except AttributeError:
            if "dimname" in key.lower() or "names" in key.split("_"):
                return object()
            raise

    OpOverloadPacket.__getattr__ = lookup  # type: ignore[method-assign]
    try:
        yield
    finally:
        OpOverloadPacket.__getattr__ = real  # type: ignore[method-assign]


def _convolution(plain, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups) -> jax.Array:
    """aten::convolution: x f[n,c,h,w], weight f[o,c,kh,kw], or f[c,o,kh,kw] if transposed -> f[n,o,h',w'].

    plain: torchax's own, for those of other dimensions, in groups or with holes.
    """
    square = x.ndim == 4 and groups == 1 and {*dilation} == {1} and len({*stride}) == len({*padding}) == 1
    doubling = (*weight.shape[2:], *stride, *padding) == (4, 4, 2, 2, 1, 1) and not any(output_padding)
    if not square or (transposed and not doubling):
        return plain(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups)
    image = jnp.moveaxis(x, 1, -1)
    if transposed:
        kernel = jnp.flip(weight, (2, 3)).transpose(2, 3, 0, 1)
        y = layers.conv_transpose(image, kernel, jnp.zeros((), x.dtype) if bias is None else bias)
    else:
        y = layers.conv(image, weight.transpose(2, 3, 1, 0), bias, stride[0], padding[0])
    return jnp.moveaxis(y, -1, 1)
