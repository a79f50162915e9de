"""BigGAN (Brock et al., 2019): class-conditional images from z ~ N(0, I), in every published layout.

    h_0 = dense(z_0) as 4x4 images;   h <- block_i(h, c_i);   x = tanh(conv(relu(norm(h))))

The condition c_i of block i is its own chunk of the code beside the class's embedding ("hierarchical"), or the whole
code beside it (BigGAN-deep), or the class alone.  A batch-norm is standardise(x) (1 + gain(c)) + bias(c), with
standing statistics for truncation 0.02, 0.04, ..., 1.00 (BigGAN-deep also 0), interpolated linearly between them.
A block up-samples by copying each pixel to 2x2; self-attention stands before one of the blocks.

Spectral normalisation is folded into the weights: here they are what the layers multiply with.

The published models sample from a truncated normal.  As a `Generator` the code is N(0, I), as in Zhang et al. (2020);
`truncation` chooses the statistics only, 1 by default, which are those of the whole normal.

Reference: Brock, Donahue, Simonyan (2019), https://arxiv.org/abs/1809.11096, appendix B
"""

import dataclasses
import functools
import itertools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irob.core import layers
from irob.core.check import InputError, integer, number, unknown
from irob.core.types import Generator
from irob.generators.acgan import Rescale
from irob.generators.stages import Resize

# Zhang et al. (2020), section 5: airliner, jeep, goldfinch, tabby, hartebeest, Maltese dog, bullfrog, sorrel,
# pirate ship, pickup.
IMAGENET10 = (404, 609, 11, 281, 351, 153, 30, 339, 724, 717)
DTYPES = ("float32", "bfloat16")
STEP = 0.02  # between the truncations that have statistics
ORTHOGONAL = nn.initializers.orthogonal()
# Widths as multiples of the channel width.  BigGAN-deep has for each of them one block that keeps the size before
# the one that doubles it.
WIDTHS = {128: (16, 16, 8, 4, 2, 1), 256: (16, 16, 8, 8, 4, 2, 1), 512: (16, 16, 8, 8, 4, 2, 1, 1)}
ATTENTION = {128: 4, 256: 5, 512: 4}  # before this block; at 64x64, in 256 at 128x128


@dataclasses.dataclass(frozen=True)
class Layout:
    """The shape of a generator, compared by value.

    blocks: (channels in, channels out, whether it up-samples) of each.  attention: it stands before these blocks.
    latent_dim: d.  chunk: latent numbers a block has to itself; 0 where the code is not divided.
    embedding: length of the class embedding; 0 where every batch-norm has a table of the classes.
    deep: bottleneck blocks, and the whole code conditions every block.
    statistics: rows of standing statistics, 50, 51 or 1.  eps: of the batch-norms.  eps_last: of the last one.
    """

    blocks: tuple[tuple[int, int, bool], ...]
    attention: tuple[int, ...] = ()
    latent_dim: int = 128
    num_classes: int = 1000
    chunk: int = 0
    embedding: int = 128
    deep: bool = False
    statistics: int = 1
    eps: float = 1e-4
    eps_last: float = 1e-4
    bottom: int = 4

    @property
    def resolution(self) -> int:
        """Pixels on a side."""
        return self.bottom * 2 ** sum(up for _, _, up in self.blocks)

    @property
    def condition(self) -> int:
        """Length of what conditions a batch-norm."""
        if not self.embedding:
            return self.num_classes
        return self.embedding + (self.latent_dim if self.deep else self.chunk)

    @property
    def inputs(self) -> int:
        """Numbers that the first dense layer sees."""
        return self.condition if self.deep else self.chunk or self.latent_dim


def standard(resolution: int, width: int = 96, num_classes: int = 1000) -> Layout:
    """BigGAN at 128, 256 or 512 pixels, as published by its authors.

    >>> standard(128).latent_dim, standard(256).latent_dim, standard(512).condition
    (120, 140, 144)
    """
    if resolution not in WIDTHS:
        raise InputError(f"resolution: got {resolution}, wanted one of {', '.join(map(str, WIDTHS))}")
    sizes = [width * m for m in WIDTHS[resolution]]
    chunk = 16 if resolution == 512 else 20
    return Layout(
        tuple((a, b, True) for a, b in itertools.pairwise(sizes)), (ATTENTION[resolution],), chunk * len(sizes),
        num_classes, chunk, statistics=50)


def deep(resolution: int, width: int = 128, num_classes: int = 1000) -> Layout:
    """BigGAN-deep at 128, 256 or 512 pixels.

    >>> deep(128).resolution, len(deep(512).blocks), deep(256).condition
    (128, 14, 256)
    """
    if resolution not in WIDTHS:
        raise InputError(f"resolution: got {resolution}, wanted one of {', '.join(map(str, WIDTHS))}")
    sizes = [width * m for m in WIDTHS[resolution]]
    blocks = [b for a, o in itertools.pairwise(sizes) for b in ((a, a, False), (a, o, True))]
    return Layout(tuple(blocks), (8,), num_classes=num_classes, deep=True, statistics=51)


def small(width: int = 64, num_classes: int = 10) -> Layout:
    """The 32x32 layout of BigGAN-PyTorch for CIFAR-10: one code for all blocks, tables of classes, no attention.

    >>> small().resolution, small().latent_dim
    (32, 128)
    """
    blocks = ((4 * width, 4 * width, True),) * 3
    return Layout(blocks, num_classes=num_classes, embedding=0, eps=1e-5, eps_last=1e-5)


LAYOUTS: dict[str, Callable[..., Layout]] = {
    "biggan32": small,
    **{f"biggan{r}": functools.partial(standard, r) for r in WIDTHS},
    **{f"biggan_deep{r}": functools.partial(deep, r) for r in WIDTHS},
}


def upsample(x: jax.Array) -> jax.Array:
    """Every pixel copied to 2x2: f[n,h,w,c] -> f[n,2h,2w,c].  Four copies of the channels, depth to space."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


class Norm(nn.Module):
    """Conditional batch-norm and ReLU.  condition: f[n,k], classes i[n], or None for plain gain and bias."""

    layout: Layout
    truncation: float = 1.0
    last: bool = False

    @nn.compact
    def __call__(self, x, condition, train: bool):
        a, c = self.layout, x.shape[-1]
        rows = (a.statistics, c)
        mean = self.variable("batch_stats", "mean", jnp.zeros, rows)
        var = self.variable("batch_stats", "var", jnp.ones, rows)
        if train:
            x32 = x.astype(jnp.float32)
            m = jnp.mean(x32, (0, 1, 2))
            v = jnp.mean(jnp.square(x32 - m), (0, 1, 2))
            if not self.is_initializing():
                mean.value, var.value = 0.9 * mean.value + 0.1 * m, 0.9 * var.value + 0.1 * v
        else:
            m, v = self.standing(mean.value), self.standing(var.value)
        if self.last:
            gain = self.param("scale", nn.initializers.ones, (c,))[None]
            bias = self.param("bias", nn.initializers.zeros, (c,))[None]
        else:
            gain, bias = 1 + self.linear("gain", condition, c), self.linear("bias", condition, c)
        scale = gain * jax.lax.rsqrt(v + (a.eps_last if self.last else a.eps))
        shift = bias - m * scale
        return nn.relu(x * scale[:, None, None] + shift[:, None, None]).astype(x.dtype)

    def standing(self, rows: jax.Array) -> jax.Array:
        """The statistics at this truncation, f[c]; the published tables end at truncation 1."""
        place = min(max(self.truncation / STEP - 51 + len(rows), 0.0), len(rows) - 1.0)
        low = min(int(place + 1e-6), len(rows) - 1)
        share = max(0.0, place - low)
        if share < 1e-6:
            return rows[low]
        return (1 - share) * rows[low] + share * rows[low + 1]

    def linear(self, name: str, condition, features: int) -> jax.Array:
        """f[n,features]: a product without bias, or a row of a table."""
        kernel = self.param(f"{name}_kernel", ORTHOGONAL, (self.layout.condition, features))
        return condition @ kernel if jnp.issubdtype(condition.dtype, jnp.floating) else jnp.asarray(kernel)[condition]


class Conv(nn.Module):
    """Convolution of an odd size, stride 1, that keeps the image's size."""

    features: int
    size: int = 3
    use_bias: bool = True
    upsampled: bool = False

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", ORTHOGONAL, (self.size, self.size, x.shape[-1], self.features)).astype(x.dtype)
        if not self.use_bias:
            return x @ kernel[0, 0]
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        if self.size == 1:
            return x @ kernel[0, 0] + bias
        return layers.conv(upsample(x) if self.upsampled else x, kernel, bias, 1, self.size // 2)


class Block(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one; the 1x1 convolution comes before the up-sampling, which is the same."""

    layout: Layout
    index: int
    truncation: float = 1.0

    @nn.compact
    def __call__(self, x, condition, train: bool):
        _, out, up = self.layout.blocks[self.index]
        norm = functools.partial(Norm, self.layout, self.truncation)
        h = norm(name="norm_0")(x, condition, train)
        h = Conv(out, upsampled=up, name="conv_0")(h)
        h = norm(name="norm_1")(h, condition, train)
        h = Conv(out, name="conv_1")(h)
        skip = Conv(out, 1, name="skip")(x)
        return h + (upsample(skip) if up else skip)


class DeepBlock(nn.Module):
    """Bottleneck: 1x1 to a quarter of the channels, two 3x3, 1x1; the skip drops channels and up-samples."""

    layout: Layout
    index: int
    truncation: float = 1.0

    @nn.compact
    def __call__(self, x, condition, train: bool):
        inside, out, up = self.layout.blocks[self.index]
        norm = functools.partial(Norm, self.layout, self.truncation)
        h = Conv(inside // 4, 1, name="conv_0")(norm(name="norm_0")(x, condition, train))
        h = norm(name="norm_1")(h, condition, train)
        h = Conv(inside // 4, upsampled=up, name="conv_1")(h)
        h = Conv(inside // 4, name="conv_2")(norm(name="norm_2")(h, condition, train))
        h = Conv(out, 1, name="conv_3")(norm(name="norm_3")(h, condition, train))
        skip = x[..., :out]
        return h + (upsample(skip) if up else skip)


class Attention(nn.Module):
    """x + gamma o(sum_j softmax_j(theta(x)_i . phi(x)_j) g(x)_j), phi and g max-pooled over 2x2."""

    @nn.compact
    def __call__(self, x):
        n, h, w, c = x.shape
        theta = Conv(c // 8, 1, False, name="theta")(x).reshape(n, h * w, c // 8)
        phi = layers.max_pool(Conv(c // 8, 1, False, name="phi")(x)).reshape(n, h * w // 4, c // 8)
        g = layers.max_pool(Conv(c // 2, 1, False, name="g")(x)).reshape(n, h * w // 4, c // 2)
        logits = jnp.einsum("nic,njc->nij", theta, phi)
        weight = nn.softmax(logits.astype(jnp.float32)).astype(x.dtype)
        o = Conv(c, 1, False, name="o")(jnp.einsum("nij,njc->nic", weight, g).reshape(n, h, w, c // 2))
        return x + self.param("gamma", nn.initializers.zeros, (1,)).astype(x.dtype) * o


class GeneratorNet(nn.Module):
    """z f[n,d], y i[n] -> x f[n,H,W,3] in [-1, 1].

    classes: the model's own number of each class that is offered; all of them if empty.
    truncation: of the standing statistics.  dtype: of the convolutions.
    remat: compute the inside of a block again for the gradient instead of keeping it.
    """

    layout: Layout
    classes: tuple[int, ...] = ()
    truncation: float = 1.0
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, z, y, train: bool = False):
        a = self.layout
        if self.classes:
            y = jnp.asarray(self.classes, jnp.int32)[y]
        code, conditions = self.conditions(z, y)
        c = a.blocks[0][0]
        kernel = self.param("dense_kernel", ORTHOGONAL, (a.inputs, a.bottom**2 * c))
        h = code @ kernel + self.param("dense_bias", nn.initializers.zeros, (a.bottom**2 * c,))
        h = h.reshape(-1, a.bottom, a.bottom, c).astype(self.dtype)
        kind = DeepBlock if a.deep else Block
        kind = nn.remat(kind, static_argnums=(3,)) if self.remat else kind
        for i, condition in enumerate(conditions):
            if i in a.attention:
                h = Attention(name=f"attention_{i}")(h)
            h = kind(a, i, self.truncation, name=f"block_{i}")(h, condition, train)
        if len(a.blocks) in a.attention:
            h = Attention(name=f"attention_{len(a.blocks)}")(h)
        h = Norm(a, self.truncation, last=True, name="norm")(h, None, train)
        return jnp.tanh(Conv(3, name="rgb")(h).astype(jnp.float32))

    def conditions(self, z, y):
        """What the dense layer sees, and what conditions each block."""
        a = self.layout
        count = len(a.blocks)
        if not a.embedding:
            return z, [y] * count
        shared = jnp.asarray(self.param("embedding", ORTHOGONAL, (a.num_classes, a.embedding)))[y]
        if a.deep:
            whole = jnp.concatenate([z, shared], axis=-1)
            return whole, [whole] * count
        if not a.chunk:
            return z, [shared] * count
        first, *rest = jnp.split(z, count + 1, axis=-1)
        return first, [jnp.concatenate([part, shared], axis=-1) for part in rest]


def build(
    variables=None,
    *,
    key: jax.Array | None = None,
    layout: Layout | dict | str = "biggan32",
    width: int | None = None,
    classes: Sequence[int] = (),
    truncation: float = 1.0,
    dtype: str = "float32",
    remat: bool = False,
    size: int = 0,
    resize: str = "area",
) -> Generator:
    """The generator with the given variables, or with fresh ones drawn with `key`.

    Args:
        layout: a `Layout`, its fields, or one of biggan32, biggan128, ..., biggan_deep512.
        width: channel width of a layout that is given by name; default the published one.
        classes: classes of the model to offer, in this order; default all.
        truncation: in (0, 1], whose standing statistics are used; the code stays N(0, I).
        dtype: of the convolutions, float32 or bfloat16.
        remat: gradients in less memory and more time.
        size: pixels on a side to down-sample to; 0 leaves the images as they are.
        resize: how: area, nearest or bilinear.

    Raises:
        InputError: truncation outside (0, 1], a class that the model does not have, unknown names.

    >>> g = build(key=jax.random.key(0), width=2)
    >>> jax.eval_shape(g, jnp.zeros(128), 3).shape
    (32, 32, 3)
    """
    a = layout_of(layout, width)
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    module = GeneratorNet(a, checked(classes, a.num_classes), truncated(truncation), dtype, bool(remat))
    if variables is None:
        if key is None:
            raise InputError("biggan generator: got neither variables nor a key; pass key=jax.random.key(0)")
        variables = fresh(key, module)
    stages: tuple[Any, ...] = (Rescale(),)
    side = a.resolution
    if size and size != side:
        stages, side = (Rescale(), Resize(size, resize, side)), size
    offered = len(module.classes) or a.num_classes
    return Generator(variables, module, a.latent_dim, offered, (side, side, 3), stages, name="biggan")


def fresh(key: jax.Array, module: GeneratorNet) -> dict[str, Any]:
    """Variables to start training from: orthogonal kernels, biases and attention's gamma 0, gains and variances 1."""
    code, label = jnp.zeros((1, module.layout.latent_dim)), jnp.zeros(1, jnp.int32)
    return drawn(key, jax.eval_shape(module.init, key, code, label))


def drawn(key: jax.Array, shapes: Any) -> Any:
    """A tree of these shapes: orthogonal kernels and embeddings, scales and variances 1, everything else 0.

    On the host, which is quick: nothing has to be compiled.  A traced key, whose shapes alone matter, gives zeros.
    """
    traced = isinstance(key, jax.core.Tracer)
    seed = [] if traced else np.asarray(jax.random.key_data(key)).ravel().tolist()

    def leaf(path, like):
        name = path[-1].key
        if traced or not ("kernel" in name or name == "embedding"):
            return jnp.full(like.shape, float(name in ("scale", "var")))
        rng = np.random.default_rng([*seed, zlib.crc32(jax.tree_util.keystr(path).encode())])
        rows, columns = int(np.prod(like.shape[:-1])), like.shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns)), np.float32))
        q = q * np.sign(np.diag(r))
        return jnp.asarray((q if rows >= columns else q.T).reshape(like.shape))

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def layout_of(layout: Layout | dict | str, width: int | None = None) -> Layout:
    """A layout from its name and perhaps another width, or from JSON's fields."""
    if isinstance(layout, Layout):
        return layout
    if isinstance(layout, dict):
        return Layout(**{k: _frozen(v) for k, v in layout.items()})
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    return LAYOUTS[layout](**({"width": integer("width", width, low=1)} if width else {}))


def options(generator: Generator) -> dict[str, Any]:
    """What `build` needs besides the variables to make this generator again, as JSON has it."""
    m = generator.module
    out = {"layout": dataclasses.asdict(m.layout), "classes": list(m.classes), "truncation": m.truncation,
           "dtype": m.dtype, "remat": m.remat}
    for stage in generator.stages:
        if isinstance(stage, Resize):
            out |= {"size": stage.size, "resize": stage.method}
    return out


def remake(generator: Generator, **changes) -> Generator:
    """A generator of the same weights with other options.

    remake(g, truncation=0.4, classes=[1, 7], size=32, dtype="bfloat16")
    """
    return build(generator.variables, **{**options(generator), **changes})


def imagenet10(generator: Generator, *, size: int = 32, resize: str = "area") -> Generator:
    """The data of the paper's second benchmark: ten classes of BigGAN-128 at 32x32, as one generator.

    resize: area averages over the pixels that become one; nearest, as the published code has it, takes one of them.
    """
    return remake(generator, classes=IMAGENET10, size=size, resize=resize)


def truncated(value: float) -> float:
    """A truncation in (0, 1]."""
    return number("truncation", value, low=0.0, high=1.0, open_low=True)


def checked(classes: Sequence[int], count: int) -> tuple[int, ...]:
    """Class numbers in [0, count)."""
    for c in classes:
        if integer("class", c) >= count:
            raise InputError(f"class: got {c}, wanted one in [0, {count - 1}]")
    return tuple(int(c) for c in classes)


def _frozen(value):
    """JSON's lists as tuples."""
    return tuple(_frozen(v) for v in value) if isinstance(value, (list, tuple)) else value
