"""Training of the generator with a known constant: a Wasserstein auto-encoder for each class, sharpened by a critic.

    min  E |x - g_y(e_y(x))|^2 + match * sum over classes of SW(e_y(x), N(0, I))^2 + adversarial * E -D(g_y(z), y)

An encoder e, thrown away at the end, gives every image a code; SW, the sliced Wasserstein distance of the codes of a
class to the Gaussian, makes the codes of each class look drawn from the latent distribution; a convolutional critic
(hinge loss, conditional) looks at images from codes that were really drawn.

After every step the isometries are brought back: two of Bjorck's steps from a matrix that has moved by a thousandth.
The clip of the generator passes gradients straight on: a pixel below 0 that should be 0 has no error and gets none.

Rows: one image of every class, so that the matching sees as many codes of each.

Reference: Tolstikhin et al., "Wasserstein auto-encoders", ICLR 2018, https://arxiv.org/abs/1711.01558; Kolouri et al.,
"Sliced Wasserstein auto-encoders", ICLR 2019, https://arxiv.org/abs/1804.01947; Miyato and Koyama, "cGANs with
projection discriminator", ICLR 2018, https://arxiv.org/abs/1802.05637
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
from irob.training.gan import grid_values, tile, write_png

SLICES = 64  # random directions for the sliced Wasserstein distance, drawn anew in every step

COMPONENTS_FROM = 2000  # rows that the first principal components are taken from


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run is made of; sizes of the generator, weights of the losses, steps of the optimisers."""

    latent_dim: int = lipgan.LATENT_DIM
    width: int = lipgan.WIDTH
    depth: int = lipgan.DEPTH
    largest: float = 4.0  # cap on the embedding's stretch, hence on the constant
    match: float = 20.0
    adversarial: float = 1.0
    reconstruct: float = 1.0
    epochs: int = 30
    critic_from: int = 10  # epochs before the critic joins
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


class Critic(nn.Module):
    """x f[n,H,W,C], y i[n] -> score f[n]: two strided convolutions, and a projection on the class."""

    num_classes: int

    @nn.compact
    def __call__(self, x, y):
        h = x * 2 - 1
        for size in (32, 64):
            h = nn.leaky_relu(nn.Conv(size, (4, 4), (2, 2), ((1, 1), (1, 1)))(h), 0.2)
        h = nn.leaky_relu(nn.Dense(128)(h.reshape(len(h), -1)), 0.2)
        return nn.Dense(1)(h)[:, 0] + jnp.sum(h * nn.Embed(self.num_classes, 128)(y), -1)


def check(plan: Plan, data: Dataset) -> None:
    """Raises `InputError` if the plan's sizes admit no isometry, or the data set lacks a class or has too few rows."""
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


def optimisers(plan: Plan, steps: int) -> dict[str, optax.GradientTransformation]:
    """Adam for each part; the step of all falls to nothing by a cosine."""
    schedule = optax.cosine_decay_schedule(plan.learning_rate, max(1, steps))
    half = optax.cosine_decay_schedule(plan.learning_rate / 4, max(1, steps))
    return {"generator": optax.adam(schedule, b1=0.5, b2=0.99), "encoder": optax.adam(schedule, b1=0.5, b2=0.99),
            "critic": optax.adam(half, b1=0.0, b2=0.99)}


def create(key: jax.Array, plan: Plan, steps: int, num_classes: int, image_shape: tuple[int, ...],
           x: np.ndarray | None = None) -> dict[str, Any]:
    """The state of a fresh run.

    x: f[n,K,pixels], from which the last layer starts: the mean of each class as bias, and the principal components
    within the classes as matrix, so that what the hidden units say first looks like strokes and not like noise.
    """
    pixels, tx = math.prod(image_shape), optimisers(plan, steps)
    g = lipgan.init(keys.named(key, "generator"), plan.latent_dim, plan.width, plan.depth, num_classes, pixels)
    if x is not None:
        mean = x.mean(0)
        within = (x[:COMPONENTS_FROM] - mean).reshape(-1, pixels)
        components = np.linalg.eigh(within.T @ within)[1][:, ::-1][:, : plan.width]
        g["image"] = {"kernel": jnp.asarray(components.T, jnp.float32), "bias": jnp.asarray(mean, jnp.float32)}
    encoder = Encoder(plan.latent_dim).init(keys.named(key, "encoder"), jnp.zeros((1, num_classes, pixels)))
    critic = Critic(num_classes).init(
        keys.named(key, "critic"), jnp.zeros((1, *image_shape)), jnp.zeros(1, jnp.int32))
    params = {"generator": g, "encoder": encoder["params"], "critic": critic["params"]}
    return {"step": jnp.zeros((), jnp.int32), "average": jax.tree.map(jnp.copy, g),
            **{name: {"params": p, "optimiser": tx[name].init(p)} for name, p in params.items()}}


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


def make_step(plan: Plan, steps: int, num_classes: int, image_shape: tuple[int, ...], critic_from: int):
    """step(key, state, {"x": f[n,K,pixels]}) -> (state, metrics), for `fit`; the critic joins at step critic_from."""
    tx = optimisers(plan, steps)
    encoder, critic = Encoder(plan.latent_dim), Critic(num_classes)

    def decode(g, z):
        return through(jax.vmap(lambda z: lipgan.before_clip(g, z, jnp.arange(num_classes)))(z))

    def judge(c, x):
        y = jnp.tile(jnp.arange(num_classes), len(x))
        return critic.apply({"params": c}, x.reshape(-1, *image_shape), y)

    def update(name, old, grads):
        updates, opt = tx[name].update(grads, old["optimiser"], old["params"])
        return {"params": optax.apply_updates(old["params"], updates), "optimiser": opt}

    def auto_encode(g, e, key, x):
        codes = encoder.apply({"params": e}, x)
        error = jnp.mean(jnp.sum((decode(g, codes) - x) ** 2, -1))
        apart = jnp.mean(sliced(key, codes))
        return plan.reconstruct * error + plan.match * apart, {"error": error, "apart": apart}

    def together(params, c, key, x, z):
        loss, metrics = auto_encode(params["generator"], params["encoder"], key, x)
        fooled = -jnp.mean(judge(c, decode(params["generator"], z)))
        return loss + plan.adversarial * fooled, metrics

    def against(c, real, fake):
        return jnp.mean(nn.relu(1 - judge(c, real))) + jnp.mean(nn.relu(1 + judge(c, fake)))

    def alone(params, c, key, x, z):
        return auto_encode(params["generator"], params["encoder"], key, x)

    def step(key, state, batch):
        x, c = batch["x"], state["critic"]
        z = jax.random.normal(keys.named(key, "codes"), (len(x), num_classes, plan.latent_dim))
        params = {name: state[name]["params"] for name in ("generator", "encoder")}

        def without(c):
            (_, metrics), grads = jax.value_and_grad(alone, has_aux=True)(params, c["params"], key, x, z)
            return c, grads, metrics | {"critic": jnp.zeros(())}

        def with_critic(c):
            value, grads = jax.value_and_grad(against)(c["params"], x, decode(params["generator"], z))
            c = update("critic", c, grads)
            (_, metrics), grads = jax.value_and_grad(together, has_aux=True)(params, c["params"], key, x, z)
            return c, grads, metrics | {"critic": value}

        if critic_from >= steps:
            c, grads, metrics = without(c)
        else:
            c, grads, metrics = jax.lax.cond(state["step"] < critic_from, without, with_critic, c)
        g = update("generator", state["generator"], grads["generator"])
        g["params"] = bring_back(g["params"], plan.largest)
        keep = jnp.minimum(0.998, state["step"] / (state["step"] + 10.0))
        average = jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, state["average"], g["params"])
        new = {"step": state["step"] + 1, "average": average, "generator": g, "critic": c,
               "encoder": update("encoder", state["encoder"], grads["encoder"])}
        stretch = jnp.max(jnp.linalg.norm(g["params"]["embed"]["kernel"], axis=-1))
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
    state = create(key, plan, steps, data.num_classes, shape, batches["x"])
    folder = pathlib.Path(workdir) / "samples"
    draw = jit(lambda g: grid_values(keys.named(key, "grid"), g))

    def evaluate(state, epoch):
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{epoch:03d}.png", tile(np.asarray(draw(generator_of(state, shape)))))
        return {}

    step = make_step(plan, steps, data.num_classes, shape, plan.critic_from * per_epoch)
    state = fit(keys.named(key, "fit"), state, step, batches, epochs=plan.epochs, batch_size=plan.batch_size,
                workdir=workdir, resume=resume, evaluate=evaluate, checkpoint_every=checkpoint_every, keep=2,
                label="train lipgan", config=config)
    return generator_of(state, shape, half=half)
