"""Training of the two GANs: the published recipe, one compiled step for discriminator and generator.

    discriminator: min  BCE(real(x), 1) + BCE(real(g(z, y)), 0) + [CE(class(x), y) + CE(class(g(z, y)), y)]
    generator:     min  BCE(real(g(z, y)), 1) + [CE(class(g(z, y)), y)]

The labels of the generated images are those of the batch; the brackets fall away without a class head.
The generator's forward pass serves both updates, because its weights do not change between them, and its
backward pass starts from the gradient at the images, so that no gradient of the discriminator's weights is
computed for the generator's update.
"""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob.core import keys, registry
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.types import Dataset, Generator
from irob.training.fit import Run, fit

GRID = 10  # rows and columns of the sample grid


def optimiser(learning_rate: float = 2e-4) -> optax.GradientTransformation:
    """Adam with betas (0.5, 0.999)."""
    return optax.adam(learning_rate, b1=0.5, b2=0.999)


def create(key: jax.Array, name: str = "acgan", learning_rate: float = 2e-4) -> dict[str, Any]:
    """The state of a fresh run: variables and optimiser of "generator" and "discriminator"."""
    room = registry.module("irob.generators", name, kind="generator")
    generator = room.build(key=keys.named(key, "generator"))
    shape = (1, *generator.image_shape)
    against = room.discriminator().init(keys.named(key, "discriminator"), jnp.zeros(shape))
    tx = optimiser(learning_rate)
    return {role: {**variables, "optimiser": tx.init(variables["params"])}
            for role, variables in (("generator", generator.variables), ("discriminator", against))}


def make_step(name: str = "acgan", learning_rate: float = 2e-4):
    """step(key, state, {"x": f[n,H,W,C] in [0,1], "y": i[n]}) -> (state, metrics), for `fit`."""
    room = registry.module("irob.generators", name, kind="generator")
    like = room.build(key=jax.random.key(0))
    against, tx = room.discriminator(), optimiser(learning_rate)

    def apply(module, params, stats, *inputs):
        out, new = module.apply({"params": params, "batch_stats": stats}, *inputs, train=True, mutable=["batch_stats"])
        return out, new["batch_stats"]

    def losses(output, real: float, y):
        """(real or generated, class), means over the batch."""
        logit, classes = output
        adversarial = optax.sigmoid_binary_cross_entropy(logit, real).mean()
        if classes is None:
            return adversarial, 0.0
        return adversarial, optax.softmax_cross_entropy_with_integer_labels(classes, y).mean()

    def update(old, grads, stats):
        updates, opt = tx.update(grads, old["optimiser"])
        return {"params": optax.apply_updates(old["params"], updates), "batch_stats": stats, "optimiser": opt}

    def step(key, state, batch):
        x, y = batch["x"] * 2 - 1, batch["y"]  # the networks live in tanh's units
        g, d = state["generator"], state["discriminator"]
        z = jax.random.normal(key, (len(y), like.latent_dim))
        fake, pull_back, g_stats = jax.vjp(
            lambda p: apply(like.module, p, g["batch_stats"], z, y), g["params"], has_aux=True)

        def d_loss(params):
            real_out, stats = apply(against, params, d["batch_stats"], x)
            fake_out, stats = apply(against, params, stats, fake)
            real, fakes = losses(real_out, 1.0, y), losses(fake_out, 0.0, y)
            return sum(real) + sum(fakes), (stats, real, fakes)

        (d_value, (d_stats, real, _)), grads = jax.value_and_grad(d_loss, has_aux=True)(d["params"])
        d = update(d, grads, d_stats)

        def g_loss(images):
            out, stats = apply(against, d["params"], d["batch_stats"], images)
            fooled = losses(out, 1.0, y)
            return sum(fooled), (stats, fooled)

        (g_value, (d_stats, fooled)), grads = jax.value_and_grad(g_loss, has_aux=True)(fake)
        d = {**d, "batch_stats": d_stats}
        g = update(g, pull_back(grads)[0], g_stats)
        metrics = {"discriminator_loss": d_value, "generator_loss": g_value}
        if like.num_classes > 1:
            metrics |= {"class_loss_real": real[1], "class_loss_generated": fooled[1]}
        return {"generator": g, "discriminator": d}, metrics

    return step


def generator_of(state: dict[str, Any], name: str = "acgan") -> Generator:
    """The generator of a training state."""
    g = state["generator"]
    room = registry.module("irob.generators", name, kind="generator")
    return room.build({"params": g["params"], "batch_stats": g["batch_stats"]})


def grid_values(key: jax.Array, generator: Generator) -> jax.Array:
    """A hundred samples f[100,H,W,C], sample i of class i mod num_classes."""
    z = jax.random.normal(key, (GRID * GRID, generator.latent_dim))
    return jax.vmap(generator)(z, jnp.arange(GRID * GRID) % generator.num_classes)


def tile(x: np.ndarray) -> np.ndarray:
    """f[100,H,W,C] -> one image f[10 H, 10 W] or f[10 H, 10 W, C], row by row."""
    h, w, c = x.shape[1:]
    image = x.reshape(GRID, GRID, h, w, c).transpose(0, 2, 1, 3, 4).reshape(GRID * h, GRID * w, c)
    return image[..., 0] if c == 1 else image


def write_png(path, image: np.ndarray) -> None:
    """An image in [0,1] as a PNG file."""
    import matplotlib.image

    matplotlib.image.imsave(path, np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1)


def figures(workdir) -> dict[str, float]:
    """For the record: the seconds of all logged epochs, and the mean losses of the last one."""
    log = [json.loads(line) for line in (pathlib.Path(workdir) / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    last = {k: v for k, v in log[-1].items() if k not in ("epoch", "seconds")}
    return {"seconds": round(sum(record["seconds"] for record in log)), **last}


def train(key: jax.Array, name: str, data: Dataset, *, learning_rate: float, workdir, **settings: Any) -> Generator:
    """Trains the GAN `name` and returns its generator; a grid of samples every epoch as workdir/samples/<epoch>.png.

    Args:
        learning_rate: of both Adams.
        workdir, settings: fields of `Run`: epochs and batch_size, and resume, checkpoint_every (1) and config.

    Raises:
        InputError: the data set is not of the generator's shape or has more classes.
        TrainingError: a loss is NaN or infinite.
    """
    state = create(key, name, learning_rate)
    start = generator_of(state, name)
    if data.image_shape != start.image_shape:
        raise InputError(f"data set {data.name!r}: got images {data.image_shape}, wanted {start.image_shape}")
    if start.num_classes > 1 and data.num_classes > start.num_classes:
        raise InputError(f"data set {data.name!r}: got {data.num_classes} classes, wanted at most {start.num_classes}")
    folder = pathlib.Path(workdir) / "samples"
    draw = jit(lambda g: grid_values(keys.named(key, "grid"), g))

    def evaluate(state, epoch):
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{epoch:03d}.png", tile(np.asarray(draw(generator_of(state, name)))))
        return {}

    run = Run(**{"workdir": workdir, "checkpoint_every": 1, "keep": 2, "label": f"train {name}", **settings})
    state = fit(keys.named(key, "fit"), state, make_step(name, learning_rate), {"x": data.x, "y": data.y}, run,
                evaluate=evaluate)
    return generator_of(state, name)
