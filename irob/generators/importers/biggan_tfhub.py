"""BigGAN and BigGAN-deep as TF-Hub has them (deepmind/biggan-128/2, biggan-deep-128/1, ...): a dump of the variables.

The dump is an .npz of name to array, with or without "module/" before and ":0" behind the names.  Exponential moving
averages (`w/ema_b999900`, `w/ema_0.9999`) are taken where they are there.  The statistics for every truncation are
constants of the graph, not variables: put `stack`, `stack_1`, ... beside the variables, the tensors
`module_apply_default/stack_<n>:0` of shape (50 or 51, channels), which come as mean and variance of one batch-norm
after the other.  Without them `accumulated_mean` and `accumulated_var` serve, those of one truncation.

A weight comes with `u0`, from which the graph makes one power iteration; `u1` is not used.
"""

import dataclasses
import functools
import re

import numpy as np

from irob.core.check import InputError
from irob.core.types import Generator
from irob.generators import biggan
from irob.generators.biggan import Layout
from irob.generators.importers import _biggan
from irob.generators.importers._biggan import Names, State

EMA = re.compile(r"/ema_[^/]+$")
STACK = re.compile(r"(?:^|/)stack(?:_(\d+))?$")
SHALLOW = {"embedding": "linear/w", "dense": "Generator/G_Z/G_linear", "rgb": "Generator/conv_2d",
           "norm": "Generator/ScaledCrossReplicaBNbn", "norm/scale": "Generator/ScaledCrossReplicaBN/gamma",
           "norm/bias": "Generator/ScaledCrossReplicaBN/beta"}
DEEP = {"embedding": "linear/w", "dense": "Generator/GenZ/G_linear", "rgb": "Generator/conv_to_rgb",
        "norm": "Generator/BatchNorm", "norm/scale": "Generator/BatchNorm/scale",
        "norm/bias": "Generator/BatchNorm/offset"}


def prefix(path: str, *, deep: bool) -> str:
    """Our path to the name of the variable."""
    fixed = DEEP if deep else SHALLOW
    if path in fixed:
        return fixed[path]
    head, inside = path.split("/", 1)
    number = int(head.rsplit("_", 1)[1])
    if head.startswith("attention"):
        return f"Generator/attention/{'o_conv' if inside == 'o' else inside}"
    block = f"Generator/GBlock{f'_{number}' if number else ''}"
    layer, *kind = inside.split("/")
    if layer == "skip":
        return f"{block}/conv_sc"
    index = int(layer[-1])
    end = f"_{index}" if index else ""
    if layer.startswith("conv"):
        return f"{block}/conv{index}"
    if deep:
        return f"{block}/BatchNorm{end}" + (f"/{'scale' if kind[0] == 'gain' else 'offset'}" if kind else "")
    if not kind:
        return f"{block}/CrossReplicaBN{end}"
    return f"{block}/HyperBN{end}/{'gamma' if kind[0] == 'gain' else 'beta'}"


def plain(state: State) -> State:
    """Names without "module/", ":0" and the mark of a moving average, which comes before the variable itself."""
    out: State = {}
    for name in sorted(state, key=lambda n: bool(EMA.search(n.removesuffix(":0")))):
        out[EMA.sub("", name.removesuffix(":0")).removeprefix("module/")] = state[name]
    return out


def layout(state: State) -> Layout:
    """What names and shapes say."""
    blocks = {m[1] for n in state if (m := re.match(r"(Generator/GBlock(?:_\d+)?)/", n))}
    deep = any("/BatchNorm" in n for n in state)
    of = {10: 128, 12: 256, 14: 512} if deep else {5: 128, 6: 256, 7: 512}
    if len(blocks) not in of:
        raise InputError(f"TF-Hub variables: got {len(blocks)} blocks, wanted {', '.join(map(str, of))}")
    make, default = (biggan.deep, 128) if deep else (biggan.standard, 96)
    last = (DEEP if deep else SHALLOW)["norm/scale"]
    width = int(np.size(state[last])) if last in state else default
    return make(of[len(blocks)], width, _biggan.size(state, "linear/w", 0, 1000))


def stacked(state: State, a: Layout, names: Names, source: str) -> State:
    """The constants of the graph as the statistics of the batch-norms, in their order."""
    rows = {int(m[1] or 0): v for n, v in state.items() if (m := STACK.search(n))}
    tables = [rows[i] for i in sorted(rows) if rows[i].ndim == 2 and len(rows[i]) in (50, 51)]
    out = {n: v for n, v in state.items() if not STACK.search(n)}
    places = [p for p in _biggan.parts(a) if p.kind == "statistics"]
    if not tables:
        return out
    fits = len(tables) == 2 * len(places) and all(
        m.shape == v.shape == (a.statistics, *p.shape) and v.min() >= 0
        for p, m, v in zip(places, tables[::2], tables[1::2]))
    if not fits:
        raise InputError(f"{source}: got {len(tables)} stack arrays of statistics, wanted {2 * len(places)}, mean and "
                         f"variance of shape ({a.statistics}, channels) of one batch-norm after the other")
    for p, mean, var in zip(places, tables[::2], tables[1::2]):
        place = names.prefix(p.path)
        out |= {place + names.mean: mean, place + names.var: var}
    return out


def convert(state: State, *, source: str = "state dict", notes: list[str] | None = None) -> Generator:
    """The generator of a dump.

    Raises:
        InputError: names or shapes that are not the published ones.
    """
    state = plain(state)
    a = layout(state)
    names = Names(
        functools.partial(prefix, deep=a.deep), weight="/w", u="/u0", v="", bias="/b", mean="/accumulated_mean",
        var="/accumulated_var", tensorflow=True, gamma=(), unused=r"(/u1|accumulation_counter|global_step)$")
    state = stacked(state, a, names, source)
    if np.ndim(state.get(names.prefix("norm") + names.mean, 0)) == 1:
        a = dataclasses.replace(a, statistics=1)
        if notes is not None:
            notes.append("no stack arrays: the accumulated statistics of one truncation serve for all of them")
    return _biggan.convert(state, a, names, source=source, notes=notes)
