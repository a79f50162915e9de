"""Training of certified classifiers: 1-Lipschitz networks aimed at one epsilon.

The logits map z of orthogonal layers and sorted pairs is 1-Lipschitz in l2, so the label y of an image is kept in the
whole ball of radius

    r(x) = min over k != y of r_k(x),    r_k = (z_y - z_k) / sqrt(2).

What counts is Pr[r < epsilon].  Its relaxation treats r_k - epsilon as logits of width tau and lets the loss of Zhang
and Sabuncu pass from cross entropy (q = 0), which learns from every image, to the share of errors (q = 1), which gives
up the images that cannot be kept at this epsilon:

    p = 1 / (1 + sum over k of exp((epsilon - r_k) / tau)),    loss = (1 - p^q) / q  ->  -log p  as  q -> 0.

In the course of the training tau falls as a power from its first value to its last, and q rises as a square from 0.
Matrices stay orthogonal as in irob.training.models.witness: tangent gradients, and Bjorck's iteration after every step.
Where few images can be kept, one network an epsilon keeps far more than one network for all.

Reference: Zhang and Sabuncu, "Generalized cross entropy loss", NeurIPS 2018, https://arxiv.org/abs/1805.07836
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob.classifiers import one_lipschitz
from irob.core import check, keys
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.types import Generator
from irob.math.orthogonal import polish, tangent
from irob.training.fit import fit
from irob.training.models import bank

ANNEALED = 0.8  # share of the steps after which tau and q have their last values
LOOK = 2000  # images that are looked at after every epoch


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a 1-Lipschitz network is trained: what is minimised, and the steps.

    epsilon: the radius that is aimed at, l2, image units.  widths: of hidden layers, even.  softness, sharpness: first
    and last tau, in image units.  boundedness: last q in [0, 1].  rows: of the bank.  epochs: passes.  batch_size:
    images in a step.  learning_rate: peak of Adam; falls as a cosine.
    """

    epsilon: float = 2.0
    widths: tuple[int, ...] = (512, 512, 256)
    softness: float = 1.0
    sharpness: float = 0.15
    boundedness: float = 1.0
    rows: int = 200_000
    epochs: int = 8
    batch_size: int = 256
    learning_rate: float = 7e-3

    def __post_init__(self):
        check.numbers(self, "epsilon", "softness", "sharpness", "learning_rate", low=0, open_low=True)
        check.number("boundedness", self.boundedness, low=0, high=1)
        if not self.widths:
            raise InputError("widths: got none, wanted at least one hidden layer")
        one_lipschitz.even(self.widths)
        check.integers(self, "rows", "epochs", "batch_size", low=1)


def radii(logits: jax.Array, y: jax.Array) -> jax.Array:
    """r_k of one example, f[K]: the l2 radius within which class k cannot win over y; infinite at y itself.

    >>> [round(float(r), 4) for r in radii(jnp.array([3.0, 1.0]), 0)]
    [inf, 1.4142]
    """
    other = jnp.arange(len(logits)) != y
    return jnp.where(other, (logits[y] - logits) / math.sqrt(2), jnp.inf)


def relaxed(r: jax.Array, epsilon, tau, q) -> jax.Array:
    """The loss of one example from its radii f[K]; see the head of this file.

    >>> far, at = jnp.array([jnp.inf, 9.0]), jnp.array([jnp.inf, 2.0])
    >>> [round(float(relaxed(r, 2.0, 0.1, 1.0)), 4) for r in (far, at)]  # the share of errors, softened
    [0.0, 0.5]
    """
    entropy = jnp.logaddexp(0.0, jax.nn.logsumexp((epsilon - r) / tau))  # -log p
    small = q < 1e-3
    return jnp.where(small, entropy, -jnp.expm1(-q * entropy) / jnp.where(small, 1.0, q))


def make_step(plan: Plan, tx, steps: int):
    """step(key, {"layers", "optimiser", "done"}, {"x": u8[n,D], "y": i[n]}) -> (state, metrics), for `fit`."""

    def step(key, state, rows):
        x, y = rows["x"].astype(jnp.float32) / 255, jnp.asarray(rows["y"])
        t = jnp.minimum(state["done"] / (ANNEALED * steps), 1.0)
        tau, q = plan.softness * (plan.sharpness / plan.softness) ** t, plan.boundedness * t**2

        def objective(layers):
            r = jax.vmap(radii)(one_lipschitz.scores(layers, x), y)
            return jax.vmap(lambda r: relaxed(r, plan.epsilon, tau, q))(r).mean(), jnp.mean(r.min(1) > plan.epsilon)

        layers = state["layers"]
        (value, kept), g = jax.value_and_grad(objective, has_aux=True)(layers)
        g = {k: {**g[k], "kernel": tangent(layers[k]["kernel"], g[k]["kernel"])} for k in g}
        updates, own = tx.update(g, state["optimiser"])
        moved = optax.apply_updates(layers, updates)
        layers = {k: {**v, "kernel": polish(v["kernel"])} for k, v in moved.items()}
        return {"layers": layers, "optimiser": own, "done": state["done"] + 1}, {"loss": value, "kept": kept}

    return step


@jit
def _shares(layers, x, y, epsilon):
    """(natural accuracy, share with a radius above epsilon) of u8[n,D], i[n]."""
    r = jax.vmap(radii)(one_lipschitz.scores(layers, x.astype(jnp.float32) / 255), y).min(1)
    return jnp.mean(r > 0), jnp.mean(r > epsilon)


def train(key: jax.Array, generator: Generator, plan: Plan, *, workdir, resume: bool = False,
          label: str = "one_lipschitz") -> Any:
    """Trains one network and returns its layers, orthogonal to float32 rounding; `one_lipschitz.export` makes the rest.

    Args:
        key: typed key of bank, weights and order.
        generator: with two classes or more, and Gaussian codes.
        workdir, resume: as in `fit`; the bank is kept there as well.

    Raises:
        InputError: a generator of fewer than two classes, widths that cannot hold the classes.
    """
    count = generator.num_classes
    if count < 2:
        raise InputError(f"generator: got {count} classes, wanted two or more to tell apart")
    if min(plan.widths) < count:
        raise InputError(f"widths: got {plan.widths}, wanted at least the {count} classes in every layer")
    p, folder = np.full(generator.components, 1 / generator.components), check.writable_folder(workdir)
    data = {}
    for name, rows in (("bank", plan.rows), ("look", LOOK)):
        own = keys.named(key, name)
        data[name] = {"x": bank.kept(folder / f"{name}.npy", own, generator, rows, p, label),
                      "y": generator.labels(bank.labels(own, rows, p))}
    steps = plan.epochs * max(1, plan.rows // plan.batch_size)
    tx = optax.adam(optax.warmup_cosine_decay_schedule(0.0, plan.learning_rate, min(50, steps // 4), steps), b2=0.99)
    size = int(np.prod(generator.image_shape))
    layers = one_lipschitz.init(keys.named(key, "weights"), size, plan.widths, heads=count)
    last = str(len(plan.widths))  # all logits together must not stretch: orthonormal columns, not unit ones
    layers[last] = {**layers[last], "kernel": polish(layers[last]["kernel"], 20)}

    def evaluate(state, epoch):
        natural, kept = _shares(state["layers"], data["look"]["x"], data["look"]["y"], plan.epsilon)
        return {"natural": round(float(natural), 4), "certified": round(float(kept), 4)}

    state = {"layers": layers, "optimiser": tx.init(layers), "done": jnp.zeros((), jnp.int32)}
    state = fit(keys.named(key, "fit"), state, make_step(plan, tx, steps), data["bank"], epochs=plan.epochs,
                batch_size=plan.batch_size, workdir=folder, resume=resume, evaluate=evaluate, checkpoint_every=1,
                keep=2, label=label, config=dataclasses.asdict(plan))
    return state["layers"]
