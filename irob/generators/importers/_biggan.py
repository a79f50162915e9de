"""BigGAN's weights under other people's names: one list of parts, one table of names for each of the four sources.

A spectrally normalised weight is stored as W with vectors u, v; what a layer multiplies with is W / sigma:

    u and v stored    sigma = u . (W v), as PyTorch takes it at inference, without a further power iteration
    u alone stored    v = W' u / |W' u|, sigma = |W v|: the one iteration that those models make at inference
    neither           sigma = the largest singular value, which the power iteration approaches; this is noted

W is (out, everything else); the order of "everything else" is that of the stored v.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from irob.core import weights
from irob.core.check import InputError
from irob.core.progress import progress
from irob.core.types import Generator
from irob.generators import biggan
from irob.generators.biggan import Layout
from irob.generators.importers._layouts import State


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the network: its place in our tree, what it is, and its sizes.

    kind: table (classes, length), dense and conv (size, in, out; bias or not), gain (condition, channels),
    statistics (channels), vector (channels), scalar ().
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    bias: bool = False


@dataclasses.dataclass(frozen=True)
class Names:
    """How a source calls the parts.

    prefix: our path to its name, without the endings below.  tensorflow: kernels are (h, w, in, out), else
    (out, in, h, w).  pixels_first: the order of v within W, (h, w, in) instead of (in, h, w).
    channels_first: the dense layer makes channels x 4 x 4.  code_last: a condition has the class before the code.
    transposed: the class embedding is (length, classes).  normalised: whether weights are to be divided at all.
    gamma: shape of attention's.  unused: names that inference does not need.
    """

    prefix: Callable[[str], str]
    weight: str = ".weight_orig"
    u: str = ".weight_u"
    v: str = ".weight_v"
    bias: str = ".bias"
    mean: str = ".standing_means"
    var: str = ".standing_vars"
    tensorflow: bool = False
    pixels_first: bool = False
    channels_first: bool = False
    code_last: bool = False
    transposed: bool = False
    normalised: bool = True
    gamma: tuple[int, ...] = (1,)
    unused: str = r"num_batches_tracked$"


def parts(a: Layout) -> Iterator[Part]:
    """Everything that the network of a layout holds."""
    if a.embedding:
        yield Part("embedding", "table", (a.num_classes, a.embedding))
    yield Part("dense", "dense", (a.inputs, a.bottom**2 * a.blocks[0][0]), True)
    for i, (c, out, _) in enumerate(a.blocks):
        here, middle = f"block_{i}", c // 4
        norms = (c, middle, middle, middle) if a.deep else (c, out)
        convs = ((1, c, middle), (3, middle, middle), (3, middle, middle), (1, middle, out)) if a.deep else (
            (3, c, out), (3, out, out))
        for j, (norm, conv) in enumerate(zip(norms, convs)):
            for name in ("gain", "bias"):
                yield Part(f"{here}/norm_{j}/{name}", "gain", (a.condition, norm))
            yield Part(f"{here}/norm_{j}", "statistics", (norm,))
            yield Part(f"{here}/conv_{j}", "conv", conv, True)
        if not a.deep:
            yield Part(f"{here}/skip", "conv", (1, c, out), True)
    for i in a.attention:
        c = a.blocks[i][0] if i < len(a.blocks) else a.blocks[-1][1]
        for name, inside, out in (("theta", c, c // 8), ("phi", c, c // 8), ("g", c, c // 2), ("o", c // 2, c)):
            yield Part(f"attention_{i}/{name}", "conv", (1, inside, out))
        yield Part(f"attention_{i}/gamma", "scalar", ())
    c = a.blocks[-1][1]
    for name in ("scale", "bias"):
        yield Part(f"norm/{name}", "vector", (c,))
    yield Part("norm", "statistics", (c,))
    yield Part("rgb", "conv", (3, c, c if a.deep else 3), True)  # BigGAN-deep uses three of as many


def convert(state: State, a: Layout, names: Names, *, source: str, notes: list[str] | None = None) -> Generator:
    """The generator of a state dict whose layout is known.

    notes: gets a sentence for whatever had to be done differently.

    Raises:
        InputError: names or shapes that are not those of the layout; both lists are in the message.
    """
    narrow = [c for i in a.attention if (c := a.blocks[min(i, len(a.blocks) - 1)][0]) < 8]
    if narrow:
        raise InputError(f"{source}: got {narrow[0]} channels where attention stands, wanted at least 8")
    unused = re.compile(names.unused)
    state = {k: v for k, v in state.items() if not unused.search(k)}
    wanted = wanted_names(a, names)
    vectors = {n for n, kind in wanted.items() if kind[1] in ("u", "v")}
    if vectors and not vectors & state.keys():
        wanted = {n: w for n, w in wanted.items() if n not in vectors}
        if notes is not None:
            notes.append("the vectors of the spectral normalisation are absent: every weight was divided by its "
                         "largest singular value instead, which can differ from the trained estimate by a few per cent")
    absent = sorted(n for n in wanted.keys() - state.keys() if wanted[n][1] == "statistics")
    if absent and not wanted.keys() - state.keys() - set(absent):
        raise InputError(
            f"{source}: the batch-norm statistics are missing ({', '.join(absent[:3])}{', ...' if absent[3:] else ''}: "
            f"{len(absent)} names); images cannot be made without them; export the model with its buffers")
    shaped = {n: np.reshape(v, wanted[n][0]) if names.tensorflow and n in wanted
              and np.size(v) == np.prod(wanted[n][0]) else v for n, v in state.items()}
    weights.match(shaped, {n: np.broadcast_to(np.float32(0), shape) for n, (shape, _) in wanted.items()}, source=source)
    flat: State = {}
    for part in progress(list(parts(a)), label="import"):
        flat |= read(part, shaped, a, names)
    arrays: dict[str, Any] = {n: jnp.asarray(v, jnp.float32) for n, v in flat.items()}
    return biggan.build(weights.unflatten(arrays), layout=a)


def wanted_names(a: Layout, names: Names) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name to (shape, what it is) for every array of the source."""
    out: dict[str, tuple[tuple[int, ...], str]] = {}
    for part in parts(a):
        p = names.prefix(part.path)
        if part.kind == "table":
            out[p] = part.shape[::-1] if names.transposed else part.shape, "weight"
        elif part.kind == "statistics":
            shape = (*([a.statistics] if a.statistics > 1 else []), *part.shape)
            out |= {p + names.mean: (shape, "statistics"), p + names.var: (shape, "statistics")}
        elif part.kind == "vector":
            out[p] = part.shape, "weight"
        elif part.kind == "scalar":
            out[p] = names.gamma, "weight"
        elif part.kind == "gain" and not a.embedding:
            out[p + names.weight] = part.shape, "weight"
        else:
            matrix = _stored(part, names)
            features = part.shape[-1]
            out[p + names.weight] = matrix, "weight"
            if names.u and names.normalised:
                out[p + names.u] = _vector_shape(features, names), "u"
            if names.v:
                out[p + names.v] = (int(np.prod(matrix)) // features,), "v"
            if part.bias:
                out[p + names.bias] = (features,), "weight"
    return out


def _vector_shape(features: int, names: Names) -> tuple[int, ...]:
    return (1, features) if names.u == ".u0" else (features,)


def _stored(part: Part, names: Names) -> tuple[int, ...]:
    """The shape of a weight in the source."""
    if part.kind == "conv":
        size, inside, out = part.shape
        return (size, size, inside, out) if names.tensorflow else (out, inside, size, size)
    return part.shape if names.tensorflow else part.shape[::-1]


def read(part: Part, state: State, a: Layout, names: Names) -> State:
    """One part in our layout: flat names to arrays."""
    p, own = names.prefix(part.path), f"params/{part.path}"
    if part.kind == "table":
        return {own: state[p].T if names.transposed else state[p]}
    if part.kind == "statistics":
        return {f"batch_stats/{part.path}/{name}": state[p + end].reshape(-1, *part.shape)
                for name, end in (("mean", names.mean), ("var", names.var))}
    if part.kind == "vector":
        return {own: state[p]}
    if part.kind == "scalar":
        return {own: state[p].reshape(1)}
    if part.kind == "gain" and not a.embedding:
        return {f"{own}_kernel": state[p + names.weight]}
    w = folded(state, p, names)
    if part.kind == "conv":
        kernel = w if names.tensorflow else w.transpose(2, 3, 1, 0)
        out = {f"{own}/kernel": kernel}
        if part.bias:
            out[f"{own}/bias"] = state[p + names.bias]
        if part.path == "rgb":
            out = {n: v[..., :3] for n, v in out.items()}
        return out
    kernel = w if names.tensorflow else w.T
    if part.kind == "gain":
        if names.code_last and a.chunk:
            kernel = np.concatenate([kernel[a.embedding :], kernel[: a.embedding]])
        return {f"{own}_kernel": kernel}
    bias = state[p + names.bias]
    if names.channels_first:
        kernel, bias = _channels_last(kernel, a.bottom), _channels_last(bias, a.bottom)
    return {f"{own}_kernel": kernel, f"{own}_bias": bias}


def _channels_last(x: np.ndarray, side: int) -> np.ndarray:
    """f[..., c*side*side] with the channels first -> f[..., side*side*c]."""
    return np.swapaxes(x.reshape(*x.shape[:-1], -1, side**2), -1, -2).reshape(x.shape)


def folded(state: State, prefix: str, names: Names) -> np.ndarray:
    """W / sigma in the source's own order of axes."""
    w = np.asarray(state[prefix + names.weight], np.float32)
    if not names.normalised:
        return w
    u = state.get(prefix + names.u) if names.u else None
    v = state.get(prefix + names.v) if names.v else None
    if names.tensorflow:
        matrix = w.reshape(-1, w.shape[-1]).T
    elif names.pixels_first and w.ndim == 4:
        matrix = w.transpose(0, 2, 3, 1).reshape(len(w), -1)
    else:
        matrix = w.reshape(len(w), -1)
    sigma = _sigma(matrix, u, v)
    if not sigma:
        raise InputError(f"{prefix}{names.weight}: its spectral norm is {sigma:g}, wanted a number other than 0")
    return w / np.float32(sigma)


def _sigma(matrix: np.ndarray, u: np.ndarray | None, v: np.ndarray | None) -> float:
    if u is None:
        small = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
        return float(np.sqrt(np.linalg.eigvalsh(small.astype(np.float64))[-1]))
    u = np.ravel(u)
    if v is None:
        v = matrix.T @ u
        v = v / max(float(np.linalg.norm(v)), 1e-12)
        return float(np.linalg.norm(matrix @ v))
    return float(u @ (matrix @ v))


def size(state: State, name: str, axis: int, default: int) -> int:
    """Length of an axis of an array; a default where the array is missing, which the comparison of names then says."""
    array = state.get(name)
    return int(array.shape[axis]) if array is not None and array.ndim > axis else default
