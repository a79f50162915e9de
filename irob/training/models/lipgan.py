"""Training of the generator with a known constant: a Wasserstein auto-encoder for each class.

    min  E |x - g_y(e_y(x))|^2 + match * SW(e_y(x), N(0, I))^2

An encoder e, thrown away at the end, gives every image a code; SW, the sliced Wasserstein distance of the codes of a
class to the Gaussian, makes the codes of each class look drawn from the latent distribution.  Nothing is adversarial:
a convolutional critic in addition, tried at one weight, won at once and left noise in the background.

After every step the isometries are brought back: two of Bjorck's steps from a matrix that has moved by a thousandth.
The clip of the generator passes gradients straight on: a pixel below 0 that should be 0 has no error and gets none.

Rows: one image of every class, so that the matching sees as many codes of each.

Reference: Tolstikhin et al., "Wasserstein auto-encoders", ICLR 2018, https://arxiv.org/abs/1711.01558; Kolouri et al.,
"Sliced Wasserstein auto-encoders", ICLR 2019, https://arxiv.org/abs/1804.01947
"""

import dataclasses
import math
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob.core import keys
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.types import Dataset, Generator
from irob.generators import lipgan
from irob.training.fit import fit
from irob.training.models.gan import grid_values, tile, write_png

SLICES = 64  # random directions for the sliced Wasserstein distance, drawn anew in every step
COMPONENTS_FROM = 2000  # rows that the first principal components are taken from


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run is made of; sizes of the generator, weight of the matching, steps of the optimiser."""

    latent_dim: int = lipgan.LATENT_DIM
    width: int = lipgan.WIDTH
    depth: int = lipgan.DEPTH
    largest: float = 4.0  # cap on the embedding's stretch, hence on the constant
    match: float = 60.0  # weight of the codes' distance to the Gaussian
    epochs: int = 24
    batch_size: int = 32
    learning_rate: float = 1e-3


class Encoder(nn.Module):
    """x f[..., K, pixels] -> codes f[..., K, d]; class k has a bias of its own in every layer."""

    latent_dim: int

    @nn.compact
    def __call__(self, x):
        for i, size in enumerate((512, 256, self.latent_dim)):
            bias = self.param(f"bias_{i}", nn.initializers.zeros, (x.shape[-2], size))
            x = nn.Dense(size, use_bias=False)(x) + bias
            x = nn.relu(x) if i < 2 else x
        return x


def check(plan: Plan, data: Dataset) -> None:
    """Raises `InputError` if the plan's sizes admit no isometry, or the data set lacks a class or does not fit."""
    lipgan.sizes(plan.latent_dim, plan.width, plan.depth, data.num_classes, math.prod(data.image_shape))
    counts = np.bincount(data.y, minlength=data.num_classes)
    if not counts.min():
        at = int(counts.argmin())
        raise InputError(f"data set {data.name!r}: got no image of class {at}, wanted images of every class")
    if plan.batch_size > counts.max():
        raise InputError(f"batch size: got {plan.batch_size}, wanted at most the {counts.max()} rows of the data set")


def through(x: jax.Array) -> jax.Array:
    """The clip to [0, 1], with the identity for its derivative."""
    return x + jax.lax.stop_gradient(jnp.clip(x, 0.0, 1.0) - x)


def bring_back(variables: dict, largest: float) -> dict:
    """Orthogonal again, the embedding's stretch at most `largest`, after a small step away.

    Two steps of Bjorck's iteration without rescaling: singular values 1 + e go to 1 - 1.5 e^2.  The embedding's
    rows are kept orthogonal too, which loses nothing: N(0, I) looks the same from every side.
    """
    def polar(w):
        for _ in range(2):
            w = 1.5 * w - 0.5 * w @ (w.T @ w) if w.shape[0] > w.shape[1] else 1.5 * w - 0.5 * (w @ w.T) @ w
        return w

    out = {name: {**layer, "kernel": polar(layer["kernel"])} for name, layer in variables.items() if name != "embed"}
    kernel = variables["embed"]["kernel"]
    stretch = jnp.linalg.norm(kernel, axis=-1, keepdims=True)
    kernel = jnp.clip(stretch, 1e-3, largest) * jax.vmap(polar)(kernel / jnp.maximum(stretch, 1e-6))
    return {"embed": {**variables["embed"], "kernel": kernel}, **out}


def optimiser(plan: Plan, steps: int) -> optax.GradientTransformation:
    """Adam; its step falls to nothing by a cosine."""
    schedule = optax.cosine_decay_schedule(plan.learning_rate, max(1, steps))
    return optax.adam(schedule, b1=0.5, b2=0.99)


def create(key: jax.Array, plan: Plan, steps: int, x: np.ndarray) -> dict[str, Any]:
    """The state of a fresh run.

    x: f[n,K,pixels], from which the last layer starts: the mean of each class as bias, and the principal components
    within the classes as matrix, so that what the hidden units say first looks like strokes and not like noise.
    """
    num_classes, pixels = x.shape[1:]
    tx = optimiser(plan, steps)
    g = lipgan.init(keys.named(key, "generator"), plan.latent_dim, plan.width, plan.depth, num_classes, pixels)
    mean = x.mean(0)
    within = (x[:COMPONENTS_FROM] - mean).reshape(-1, pixels)
    components = np.linalg.eigh(within.T @ within)[1][:, ::-1][:, : plan.width]
    g["image"] = {"kernel": jnp.asarray(components.T, jnp.float32), "bias": jnp.asarray(mean, jnp.float32)}
    encoder = Encoder(plan.latent_dim).init(keys.named(key, "encoder"), jnp.zeros((1, num_classes, pixels)))
    params = {"generator": g, "encoder": encoder["params"]}
    return {"step": jnp.zeros((), jnp.int32), "average": jax.tree.map(jnp.copy, g), "params": params,
            "optimiser": tx.init(params)}


def sliced(key: jax.Array, codes: jax.Array) -> jax.Array:
    """Squared sliced Wasserstein distance of codes f[n,K,d] to N(0, I_d), for each class: f[K].

    In one dimension the best coupling is sorted to sorted; the Gaussian is a fresh sample, projected likewise.
    """
    d = codes.shape[-1]
    directions = jax.random.normal(jax.random.fold_in(key, 0), (d, SLICES))
    directions = directions / jnp.linalg.norm(directions, axis=0)
    drawn = jax.random.normal(jax.random.fold_in(key, 1), codes.shape)
    gap = jnp.sort(codes @ directions, axis=0) - jnp.sort(drawn @ directions, axis=0)
    return d * jnp.mean(gap**2, axis=(0, 2))


def make_step(plan: Plan, steps: int, num_classes: int):
    """step(key, state, {"x": f[n,K,pixels]}) -> (state, metrics), for `fit`."""
    tx, encoder = optimiser(plan, steps), Encoder(plan.latent_dim)

    def decode(g, z):
        return through(lipgan.before_clip(g, z, jnp.arange(num_classes)))

    def loss(params, key, x):
        codes = jnp.asarray(encoder.apply({"params": params["encoder"]}, x))
        error = jnp.mean(jnp.sum((decode(params["generator"], codes) - x) ** 2, -1))
        match = jnp.mean(sliced(keys.named(key, "match"), codes))
        return error + plan.match * match, {"error": error, "match": match}

    def step(key, state, batch):
        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state["params"], key, batch["x"])
        updates, opt = tx.update(grads, state["optimiser"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        params["generator"] = bring_back(params["generator"], plan.largest)
        keep = jnp.minimum(0.998, state["step"] / (state["step"] + 10.0))
        average = jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, state["average"], params["generator"])
        stretch = jnp.max(jnp.linalg.norm(params["generator"]["embed"]["kernel"], axis=-1))
        new = {"step": state["step"] + 1, "average": average, "params": params, "optimiser": opt}
        return new, metrics | {"stretch": stretch}

    return step


def rows(data: Dataset) -> dict[str, np.ndarray]:
    """One image of every class in a row, f[n,K,pixels]; classes with fewer images begin again."""
    of = [np.flatnonzero(data.y == c) for c in range(data.num_classes)]
    n = max(map(len, of))
    chosen = np.stack([np.resize(found, n) for found in of], axis=1)
    return {"x": data.x.reshape(len(data), -1)[chosen]}


def generator_of(state: dict[str, Any], image_shape: tuple[int, ...], *, half: bool = False) -> Generator:
    """The generator of a training state: the averaged weights, exactly orthogonal."""
    return lipgan.build(lipgan.export(state["average"], half=half), image_shape=image_shape)


def train(key: jax.Array, data: Dataset, plan: Plan, *, workdir, resume: bool = False, checkpoint_every: int = 1,
          half: bool = False, config: dict | None = None) -> Generator:
    """Trains and returns the generator; a grid of samples every epoch as workdir/samples/<epoch>.png.

    Raises:
        InputError: a class without images; sizes that admit no isometry.
        TrainingError: a loss is NaN or infinite.
    """
    check(plan, data)
    batches = rows(data)
    per_epoch = len(batches["x"]) // plan.batch_size
    steps, shape = plan.epochs * per_epoch, data.image_shape
    state = create(key, plan, steps, batches["x"])
    folder = pathlib.Path(workdir) / "samples"
    draw = jit(lambda g: grid_values(keys.named(key, "grid"), g))

    def evaluate(state, epoch):
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{epoch:03d}.png", tile(np.asarray(draw(generator_of(state, shape)))))
        return {}

    step = make_step(plan, steps, data.num_classes)
    state = fit(keys.named(key, "fit"), state, step, batches, epochs=plan.epochs, batch_size=plan.batch_size,
                workdir=workdir, resume=resume, evaluate=evaluate, checkpoint_every=checkpoint_every, keep=2,
                label="train lipgan", config=config)
    return generator_of(state, shape, half=half)
