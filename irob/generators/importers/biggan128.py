"""BigGAN-128 as ivclab/BigGAN-Generator-Pretrained-Pytorch stores it (biggan128-release.pt): the file of the paper.

The channel width is read off the shapes.  Names: `linear` (class embedding), `g_z.g_linear`, `gblock`, `gblock_1`, ...
with `hyperbn`, `hyperbn_1`, `conv0`, `conv1`, `conv_sc`; `attention`; `scaledcrossreplicabn`; `conv_2d`.  A weight
is `weight_orig, weight_u, weight_v`; statistics are `standing_means, standing_vars` of 50 truncations.

Between the 50 truncations the published code's interpolation goes astray; here it is linear.  On them both agree.
"""

import re

from irob.core.types import Generator
from irob.generators import biggan
from irob.generators.importers import _biggan
from irob.generators.importers._biggan import Names, State

URL = "https://github.com/ivclab/BigGAN-Generator-Pretrained-Pytorch/releases/download/v0.0.0/biggan{}-release.pt"
DOWNLOAD = {"weights": URL.format(128)}
FIXED = {"embedding": "linear.weight", "dense": "g_z.g_linear", "rgb": "conv_2d", "norm": "scaledcrossreplicabn",
         "norm/scale": "scaledcrossreplicabn.weight", "norm/bias": "scaledcrossreplicabn.bias"}
INSIDE = {"norm_0/gain": "hyperbn.gamma", "norm_0/bias": "hyperbn.beta", "norm_0": "hyperbn.crossreplicabn",
          "norm_1/gain": "hyperbn_1.gamma", "norm_1/bias": "hyperbn_1.beta", "norm_1": "hyperbn_1.crossreplicabn",
          "conv_0": "conv0", "conv_1": "conv1", "skip": "conv_sc"}


def prefix(path: str) -> str:
    """Our path to the source's name."""
    if path in FIXED:
        return FIXED[path]
    head, inside = path.split("/", 1)
    number = int(head.rsplit("_", 1)[1])
    if head.startswith("attention"):
        return f"attention.{'o_conv' if inside == 'o' else inside}"
    return f"gblock{f'_{number}' if number else ''}.{INSIDE[inside]}"


NAMES = Names(prefix, pixels_first=True, unused=r"(num_batches_tracked|running_mean|running_var)$")


def of(resolution: int, state: State, *, source: str, notes: list[str] | None) -> Generator:
    """The generator of a state dict at this resolution."""
    width = _biggan.size(state, "scaledcrossreplicabn.weight", 0, 96)
    classes = _biggan.size(state, "linear.weight", 0, 1000)
    state = {re.sub(r"^module\.", "", n): a for n, a in state.items()}  # as DataParallel saves it
    return _biggan.convert(
        state, biggan.standard(resolution, width, classes), NAMES, source=source, notes=notes)


def convert(state: State, *, source: str = "state dict", notes: list[str] | None = None) -> Generator:
    """The generator of a state dict; equal to PyTorch's output to 1e-4.

    Raises:
        InputError: names or shapes that are not the published ones.
    """
    return of(128, state, source=source, notes=notes)
