"""BigGAN-deep-128 as pytorch-pretrained-BigGAN stores it: `pytorch_model.bin`, with `config.json` beside it.

The shapes say all that the configuration says; where there is one, the two must agree.  Names: `embeddings`,
`generator.gen_z`, `generator.layers.<i>` with `bn_0` to `bn_3` (`scale`, `offset`) and `conv_0` to `conv_3`, among
them one attention, `generator.bn`, `generator.conv_to_rgb`, of whose many channels three are used.  Statistics are
`running_means, running_vars` of the truncations 0, 0.02, ..., 1; here they are interpolated linearly between them.

That project takes row i and f = truncation / 0.02 - i with exchanged weights, f of row i and 1 - f of row i + 1, where
they should be 1 - f and f.  So it agrees with this one where f is 0 (and at f = 1/2), and f is computed in floating
point: of the 51 truncations .14, .28, .56, .58 and .94 leave a remainder near 0 or 1, and that project takes the row of
.16, .30, .58, .56 and .92 there.  On the other 46 the two agree.
"""

import functools
from typing import Any

from irob.core.check import InputError
from irob.core.types import Generator
from irob.generators import biggan
from irob.generators.importers import _biggan
from irob.generators.importers._biggan import Names, State

URL = "https://s3.amazonaws.com/models.huggingface.co/biggan/biggan-deep-{}-{}"
DOWNLOAD = {"weights": URL.format(128, "pytorch_model.bin"), "config": URL.format(128, "config.json")}
FIXED = {"embedding": "embeddings.weight", "dense": "generator.gen_z", "rgb": "generator.conv_to_rgb",
         "norm": "generator.bn", "norm/scale": "generator.bn.weight", "norm/bias": "generator.bn.bias"}
KINDS = {"gain": "scale", "bias": "offset"}


def prefix(path: str, *, attention: int) -> str:
    """Our path to the source's name; the attention counts as a layer."""
    if path in FIXED:
        return FIXED[path]
    head, inside = path.split("/", 1)
    number = int(head.rsplit("_", 1)[1])
    if head.startswith("attention"):
        what = {"o": "snconv1x1_o_conv", "gamma": "gamma"}.get(inside, f"snconv1x1_{inside}")
        return f"generator.layers.{number}.{what}"
    layer, *kind = inside.replace("norm_", "bn_").split("/")
    place = f"generator.layers.{number + (number >= attention)}.{layer}"
    return f"{place}.{KINDS[kind[0]]}" if kind else place


def of(resolution: int, state: State, *, source: str, config: dict[str, Any] | None,
       notes: list[str] | None) -> Generator:
    """The generator of a state dict at this resolution."""
    width = _biggan.size(state, "generator.bn.weight", 0, 128)
    classes = _biggan.size(state, "embeddings.weight", 1, 1000)
    layout = biggan.deep(resolution, width, classes)
    if config is not None:
        agree(config, layout, source)
    names = Names(functools.partial(prefix, attention=layout.attention[0]), mean=".running_means",
                  var=".running_vars", transposed=True)
    return _biggan.convert(state, layout, names, source=source, notes=notes)


def agree(config: dict[str, Any], layout: biggan.Layout, source: str) -> None:
    """Raises where the configuration says something else than the shapes."""
    width = layout.blocks[-1][1]
    shapes = {
        "output_dim": layout.resolution, "z_dim": layout.latent_dim, "class_embed_dim": layout.embedding,
        "channel_width": width, "num_classes": layout.num_classes, "n_stats": layout.statistics, "eps": layout.eps,
        "attention_layer_position": layout.attention[0],
        "layers": [[up, a // width, o // width] for a, o, up in layout.blocks]}
    for name, value in shapes.items():
        if name in config and config[name] != value:
            raise InputError(f"{source}: its configuration has {name} {config[name]}, its weights {value}; "
                             "wanted a pytorch_model.bin and a config.json of the same model")


def convert(state: State, *, source: str = "state dict", config: dict[str, Any] | None = None,
            notes: list[str] | None = None) -> Generator:
    """The generator of a state dict; equal to PyTorch's output to 1e-4.

    Raises:
        InputError: names or shapes that are not the published ones, or not those of the configuration.
    """
    return of(128, state, source=source, config=config, notes=notes)
