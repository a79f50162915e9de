"""BigGAN as ajbrock/BigGAN-PyTorch stores it (G_ema.pth), at any resolution: everything is read off the shapes.

Names: `shared` (class embedding, if the batch-norms share one), `linear`, `blocks.<i>.0` with `bn1`, `bn2` (`gain`,
`bias`), `conv1`, `conv2`, `conv_sc`; `blocks.<i>.1` is attention after block i; `output_layer`.  A weight comes with
`u0`, from which the model makes one power iteration at inference, and `sv0`, which is not used.  Without a shared
embedding, as in the published CIFAR-10 recipe, gain and bias are tables of the classes.  Statistics are
`stored_mean, stored_var` of one truncation, or `bn.running_mean, bn.running_var` from synchronised batch-norm, or
sums with a counter where they were accumulated.  eps is 1e-5, the published setting; the file does not say it.

What differs from our layout: the dense layer makes channels first, and a condition has the class before the code.
"""

import re

import numpy as np

from irob.core.check import InputError
from irob.core.types import Generator
from irob.generators.biggan import Layout
from irob.generators.importers import _biggan
from irob.generators.importers._biggan import Names, State

FIXED = {"embedding": "shared.weight", "dense": "linear", "rgb": "output_layer.2", "norm": "output_layer.0",
         "norm/scale": "output_layer.0.gain", "norm/bias": "output_layer.0.bias"}
INSIDE = {"norm_0": "bn1", "norm_1": "bn2", "norm_0/gain": "bn1.gain", "norm_0/bias": "bn1.bias",
          "norm_1/gain": "bn2.gain", "norm_1/bias": "bn2.bias", "conv_0": "conv1", "conv_1": "conv2", "skip": "conv_sc"}


def prefix(path: str) -> str:
    """Our path to the source's name; attention stands after a block there, and before the next one here."""
    if path in FIXED:
        return FIXED[path]
    head, inside = path.split("/", 1)
    number = int(head.rsplit("_", 1)[1])
    return f"blocks.{number - 1}.1.{inside}" if head.startswith("attention") else f"blocks.{number}.0.{INSIDE[inside]}"


def layout(state: State, source: str) -> Layout:
    """What the shapes say."""
    try:
        count = 1 + max(int(m[1]) for n in state if (m := re.match(r"blocks\.(\d+)\.0\.conv1\.weight$", n)))
        sizes = [state[f"blocks.{i}.0.conv1.weight"].shape for i in range(count)]
        attention = tuple(i + 1 for i in range(count) if f"blocks.{i}.1.theta.weight" in state)
        gain, inputs = state["blocks.0.0.bn1.gain.weight"].shape, state["linear.weight"].shape
        shared = state.get("shared.weight")
    except (ValueError, KeyError) as e:
        raise InputError(f"{source}: no {e if isinstance(e, KeyError) else 'blocks.0.0.conv1.weight'}, wanted "
                         "the generator of BigGAN-PyTorch (G_ema.pth)") from None
    blocks = tuple((int(i), int(o), True) for o, i, *_ in sizes)
    side = round((inputs[0] / blocks[0][0]) ** 0.5)
    if shared is None:
        return Layout(blocks, attention, int(inputs[1]), int(gain[0]), 0, 0, eps=1e-5, eps_last=1e-5, bottom=side)
    classes, embedding = map(int, shared.shape)
    chunk = int(gain[1]) - embedding
    latent = chunk * (count + 1) if chunk else int(inputs[1])
    return Layout(blocks, attention, latent, classes, chunk, embedding, eps=1e-5, eps_last=1e-5, bottom=side)


def standing(state: State) -> State:
    """The statistics under one name: what synchronised or accumulated batch-norm calls otherwise."""
    out = {}
    for name, array in state.items():
        place = re.sub(r"\.bn\.(running|stored)_(mean|var)$", r".stored_\2", name)
        counter = state.get(re.sub(r"stored_(mean|var)$", "accumulation_counter", name))
        summed = place != name and counter is not None and float(np.ravel(counter)[0]) > 0
        out[place] = array / float(np.ravel(counter)[0]) if summed and counter is not None else array
    return out


def convert(state: State, *, source: str = "state dict", notes: list[str] | None = None) -> Generator:
    """The generator of a state dict; equal to PyTorch's output to 1e-4.

    Raises:
        InputError: names or shapes that are not the published ones.
    """
    state = standing({re.sub(r"^module\.", "", n): a for n, a in state.items()})
    normalised = any(n.endswith(".u0") for n in state)
    names = Names(
        prefix, weight=".weight", u=".u0", v="", mean=".stored_mean", var=".stored_var", channels_first=True,
        code_last=True, normalised=normalised, gamma=(),
        unused=r"(num_batches_tracked|accumulation_counter|\.sv\d+|\.u[1-9]\d*)$")
    if not normalised and notes is not None:
        notes.append("no u0 in the file: a model without spectral normalisation; its weights are taken as they are")
    return _biggan.convert(state, layout(state, source), names, source=source, notes=notes)
