"""Training of a class-conditional BigGAN at 32x32: the hinge loss, spectral normalisation, averaged weights.

    discriminator: min  mean max(0, 1 - D(x, y)) + mean max(0, 1 + D(G(z, c), c))      several steps, then
    generator:     min  -mean D(G(z, c), c)                                            one

Labels c of generated images are uniform.  The generator that is kept has the average of the weights over the steps
(0.9999 of the old, after 1000 steps), and batch-norm statistics that are measured at the end on fresh codes.
Defaults are those of BigGAN-PyTorch's script for CIFAR-10: batch 50, four steps of the discriminator, Adam 2e-4 with
betas (0, 0.999), width 64, 500 passes; only the weights start orthogonal, as in the paper, where the script has
N(0, 0.02).

Reference: Brock, Donahue, Simonyan (2019), https://arxiv.org/abs/1809.11096
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob.core import keys
from irob.core.check import InputError, integer, integers, number, numbers, unknown
from irob.core.compile import jit
from irob.core.types import Dataset, Generator
from irob.generators import biggan
from irob.generators.biggan_discriminator import DiscriminatorNet
from irob.training.fit import fit
from irob.training.models import gan, spectral

STARTS = ("orthogonal", "normal")
BATCHES = 50  # that the final statistics are measured on


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides the result besides the data.

    width: channels / 4 of both networks.  batch_size: images in a step of the discriminator and of the generator.
    discriminator_steps: for each of the generator.  average, average_start: of the weights.  start: of the weights.
    dtype: of the convolutions.
    """

    width: int = 64
    num_classes: int = 10
    batch_size: int = 50
    discriminator_steps: int = 4
    generator_rate: float = 2e-4
    discriminator_rate: float = 2e-4
    average: float = 0.9999
    average_start: int = 1000
    start: str = "orthogonal"
    dtype: str = "float32"

    def __post_init__(self):
        integers(self, "width", "num_classes", "batch_size", "discriminator_steps", low=1)
        numbers(self, "generator_rate", "discriminator_rate", low=0, open_low=True)
        integer("average start", self.average_start)
        if number("average", self.average, low=0, high=1) == 1:
            raise InputError("average: got 1, wanted a number in [0, 1)")
        if self.start not in STARTS:
            raise unknown("start", self.start, STARTS)
        if self.dtype not in biggan.DTYPES:
            raise unknown("dtype", self.dtype, biggan.DTYPES)

    @property
    def networks(self) -> tuple[biggan.GeneratorNet, DiscriminatorNet]:
        """Generator and discriminator."""
        layout = biggan.small(self.width, self.num_classes)
        return (biggan.GeneratorNet(layout, dtype=self.dtype),
                DiscriminatorNet(self.width, self.num_classes, self.dtype))


def optimiser(rate: float) -> optax.GradientTransformation:
    """Adam with betas (0, 0.999)."""
    return optax.adam(rate, b1=0.0, b2=0.999)


def of_generator(name: str) -> bool:
    """The kernels of the generator that are normalised: not the tables of the classes."""
    return name in ("kernel", "dense_kernel")


def of_discriminator(name: str) -> bool:
    """All kernels of the discriminator, and its class embedding."""
    return name in ("kernel", "dense_kernel", "embedding")


def create(key: jax.Array, recipe: Recipe) -> dict[str, Any]:
    """The state of a fresh run."""
    g, d = recipe.networks
    variables = biggan.fresh(keys.named(key, "generator"), g)
    shapes = jax.eval_shape(d.init, key, jnp.zeros((1, 32, 32, 3)), jnp.zeros(1, jnp.int32))["params"]
    against = biggan.drawn(keys.named(key, "discriminator"), shapes)
    params = variables["params"]
    if recipe.start == "normal":
        params, against = (_normal(keys.named(key, n), p) for n, p in (("normal g", params), ("normal d", against)))
    return {
        "generator": {
            "params": params, "batch_stats": variables["batch_stats"],
            "vectors": spectral.start(keys.named(key, "u of g"), params, of_generator),
            "optimiser": optimiser(recipe.generator_rate).init(params)},
        "discriminator": {
            "params": against, "vectors": spectral.start(keys.named(key, "u of d"), against, of_discriminator),
            "optimiser": optimiser(recipe.discriminator_rate).init(against)},
        # A copy: the step's state is donated, and no buffer may be donated twice.
        "average": jax.tree.map(jnp.copy, params), "count": jnp.zeros((), jnp.int32)}


def _normal(key: jax.Array, params: Any) -> Any:
    """N(0, 0.02) for kernels and tables, biases as they are."""

    def leaf(path, w):
        name = path[-1].key
        k = keys.named(key, jax.tree_util.keystr(path))
        return 0.02 * jax.random.normal(k, w.shape) if "kernel" in name or name == "embedding" else w

    return jax.tree_util.tree_map_with_path(leaf, params)


def make_step(recipe: Recipe):
    """step(key, state, {"x": f[steps * n,32,32,3] in [0,1], "y": i[steps * n]}) -> (state, metrics), for `fit`."""
    g, d = recipe.networks
    g_tx, d_tx = optimiser(recipe.generator_rate), optimiser(recipe.discriminator_rate)
    n, latent = recipe.batch_size, g.layout.latent_dim

    def draw(key):
        """Codes and labels."""
        return (jax.random.normal(jax.random.fold_in(key, 0), (n, latent)),
                jax.random.randint(jax.random.fold_in(key, 1), (n,), 0, recipe.num_classes))

    def generate(params, stats, z, c):
        out: Any = g.apply({"params": params, "batch_stats": stats}, z, c, train=True, mutable=["batch_stats"])
        return out[0], out[1]["batch_stats"]

    def step(key, state, batch):
        x = (batch["x"] * 2 - 1).reshape(recipe.discriminator_steps, n, *batch["x"].shape[1:])
        y = batch["y"].reshape(recipe.discriminator_steps, n)
        old = state["generator"]
        weights, vectors = spectral.normalised(old["params"], old["vectors"])

        def discriminate(carry, inputs):
            params, us, opt = carry
            key, real, label = inputs
            z, c = draw(key)
            fake = jax.lax.stop_gradient(generate(weights, old["batch_stats"], z, c)[0])

            def loss(params):
                w, new = spectral.normalised(params, us)
                score: Any = d.apply({"params": w}, jnp.concatenate([real, fake]), jnp.concatenate([label, c]))
                return jnp.mean(jax.nn.relu(1 - score[:n])), jnp.mean(jax.nn.relu(1 + score[n:])), new

            def total(params):
                on_real, on_fake, new = loss(params)
                return on_real + on_fake, (on_real, on_fake, new)

            (_, (on_real, on_fake, us)), grads = jax.value_and_grad(total, has_aux=True)(params)
            updates, opt = d_tx.update(grads, opt, params)
            return (optax.apply_updates(params, updates), us, opt), (on_real, on_fake)

        many = jax.random.split(jax.random.fold_in(key, 0), recipe.discriminator_steps)
        against = state["discriminator"]
        (d_params, us, opt), (on_real, on_fake) = jax.lax.scan(
            discriminate, (against["params"], against["vectors"], against["optimiser"]), (many, x, y))
        judge = spectral.normalised(d_params, us)[0]
        z, c = draw(jax.random.fold_in(key, 1))

        def g_loss(params):
            w, _ = spectral.normalised(params, old["vectors"])
            fake, stats = generate(w, old["batch_stats"], z, c)
            score: Any = d.apply({"params": judge}, fake, c)
            return -jnp.mean(score), stats

        (g_value, stats), grads = jax.value_and_grad(g_loss, has_aux=True)(old["params"])
        updates, g_opt = g_tx.update(grads, old["optimiser"], old["params"])
        params = optax.apply_updates(old["params"], updates)
        keep = jnp.where(state["count"] < recipe.average_start, 0.0, recipe.average)
        average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, state["average"], params)
        new = {"generator": {"params": params, "batch_stats": stats, "vectors": vectors, "optimiser": g_opt},
               "discriminator": {"params": d_params, "vectors": us, "optimiser": opt},
               "average": average, "count": state["count"] + 1}
        return new, {"generator_loss": g_value, "real_loss": on_real.mean(), "generated_loss": on_fake.mean()}

    return step


def generator_of(key: jax.Array, state: dict[str, Any], recipe: Recipe, *, batches: int = BATCHES) -> Generator:
    """The generator of a training state: averaged weights, normalised, with statistics measured on fresh codes."""
    g, _ = recipe.networks
    params = spectral.normalised(state["average"], state["generator"]["vectors"], steps=20)[0]
    empty = jax.tree.map(jnp.zeros_like, state["generator"]["batch_stats"])
    n = max(recipe.batch_size, 50)

    @jit
    def measure(params, key):
        z = jax.random.normal(jax.random.fold_in(key, 0), (n, g.layout.latent_dim))
        c = jnp.arange(n) % recipe.num_classes
        _, new = g.apply({"params": params, "batch_stats": empty}, z, c, train=True, mutable=["batch_stats"])
        return jax.tree.map(lambda a: a / 0.1, new["batch_stats"])  # a running average from 0 is a tenth of the batch's

    sums = empty
    for i in range(batches):
        sums = jax.tree.map(jnp.add, sums, measure(params, jax.random.fold_in(key, i)))
    variables = {"params": params, "batch_stats": jax.tree.map(lambda a: a / batches, sums)}
    return biggan.build(variables, layout=g.layout)


def train(key: jax.Array, data: Dataset, recipe: Recipe, *, epochs: int, workdir, resume: bool = False,
          checkpoint_every: int = 1, config: dict | None = None) -> Generator:
    """Trains and returns the generator; a grid of samples at every checkpoint as workdir/samples/<epoch>.png.

    Raises:
        InputError: the data set is not of 32x32 colour images or has more classes.
        TrainingError: a loss is NaN or infinite.
    """
    if data.image_shape != (32, 32, 3):
        raise InputError(f"data set {data.name!r}: got images {data.image_shape}, wanted (32, 32, 3)")
    if data.num_classes > recipe.num_classes:
        raise InputError(f"data set {data.name!r}: got {data.num_classes} classes, wanted {recipe.num_classes}")
    folder = pathlib.Path(workdir) / "samples"
    draw = jit(functools.partial(gan.grid_values, keys.named(key, "grid")))

    def evaluate(state, epoch):
        if epoch % checkpoint_every == 0 or epoch == epochs:
            folder.mkdir(parents=True, exist_ok=True)
            shown = generator_of(keys.named(key, "statistics"), state, recipe, batches=5)
            gan.write_png(folder / f"{epoch:03d}.png", gan.tile(np.asarray(draw(shown))))
        return {}

    state = fit(keys.named(key, "fit"), create(key, recipe), make_step(recipe), {"x": data.x, "y": data.y},
                epochs=epochs, batch_size=recipe.batch_size * recipe.discriminator_steps, workdir=workdir,
                resume=resume, evaluate=evaluate, checkpoint_every=checkpoint_every, keep=2, label="train biggan",
                config=config)
    return generator_of(keys.named(key, "statistics"), state, recipe)
