"""The published ACGAN: a PyTorch state dict `fc.0, fc.1, fc.3, fc.4, deconv.0, deconv.1, deconv.3`.

What differs from this package's own layout:

    dense                 weight (out, in)           -> kernel (in, out)
    hidden image          128 channels of 7x7        -> 7x7 of 128 channels: columns of fc.3 and fc.4 are permuted
    transposed conv.      weight (in, out, kh, kw)   -> kernel (kh, kw, in, out), flipped in kh and kw
    batch-norm            weight, bias, running_mean, running_var -> scale, bias, mean, var
"""

import jax.numpy as jnp
import numpy as np

from irob.core import weights
from irob.core.types import Generator
from irob.generators import acgan

NORMS = {"fc.1": 1024, "fc.4": 6272, "deconv.1": 64}
COUNTERS = {f"{norm}.num_batches_tracked" for norm in NORMS}  # not used at inference; old PyTorch has none


def shapes(inputs: int) -> dict[str, np.ndarray]:
    """Names and shapes of the state dict, for a first layer of so many inputs."""
    wanted = {
        "fc.0.weight": (1024, inputs), "fc.0.bias": (1024,), "fc.3.weight": (6272, 1024), "fc.3.bias": (6272,),
        "deconv.0.weight": (128, 64, 4, 4), "deconv.0.bias": (64,),
        "deconv.3.weight": (64, 1, 4, 4), "deconv.3.bias": (1,),
    }
    for norm, size in NORMS.items():
        wanted |= {f"{norm}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in wanted.items()}


def _channels_last(a: np.ndarray) -> np.ndarray:
    """f[..., 128*7*7] with the channels first -> f[..., 7*7*128]."""
    image = a.reshape(*a.shape[:-1], 128, 49)
    return np.swapaxes(image, -1, -2).reshape(a.shape)


def variables(state: dict[str, np.ndarray], *, inputs: int, source: str) -> dict:
    """The variables of `GeneratorNet`; raises `InputError` with the names that are missing and surplus."""
    state = {name: np.asarray(a) for name, a in state.items() if name not in COUNTERS}
    weights.match(state, shapes(inputs), source=source)

    def dense(name, order=lambda a: a):
        return {"kernel": order(state[f"{name}.weight"].T), "bias": order(state[f"{name}.bias"])}

    def upsample(name):
        return {"kernel": state[f"{name}.weight"].transpose(2, 3, 0, 1)[::-1, ::-1], "bias": state[f"{name}.bias"]}

    params = {"fc_0": dense("fc.0"), "fc_3": dense("fc.3", _channels_last),
              "deconv_0": upsample("deconv.0"), "deconv_3": upsample("deconv.3")}
    stats = {}
    for norm in NORMS:
        order = _channels_last if norm == "fc.4" else lambda a: a
        own = norm.replace(".", "_")
        params[own] = {"scale": order(state[f"{norm}.weight"]), "bias": order(state[f"{norm}.bias"])}
        stats[own] = {"mean": order(state[f"{norm}.running_mean"]), "var": order(state[f"{norm}.running_var"])}
    return _arrays({"params": params, "batch_stats": stats})


def _arrays(tree):
    return {k: _arrays(v) if isinstance(v, dict) else jnp.asarray(v, jnp.float32) for k, v in tree.items()}


def convert(state: dict[str, np.ndarray], *, source: str = "state dict") -> Generator:
    """The generator of a state dict; equal to PyTorch's output to 1e-5.

    Raises:
        InputError: names or shapes that are not the published ones.
    """
    return acgan.build(variables(state, inputs=acgan.LATENT_DIM + acgan.NUM_CLASSES, source=source))
