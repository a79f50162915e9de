"""Training of witnesses: a 1-Lipschitz score h whose upper end {h >= t} grows as little as can be.

Robustness is meant by the error-region definition: f(x') against the ground truth at x', not the label of x.
A witness errs on E = {h >= t}, of measure alpha.  Its epsilon-expansion lies in {h >= t - epsilon}, whatever the
generator, so what is minimised is

    mean over epsilon of Pr[h(x) >= t - epsilon],    t the (1 - alpha)-quantile of h,

with a sigmoid for the indicator and the quantile taken in every batch.  By concavity (irob.bounds.spread) errors are
cheapest in as few classes as hold them, so E is sought in one class c, as an upper share alpha / p_c of it: most of a
batch is then drawn from that class, and the others are pushed below t - epsilon.  The per-class family wants such a
region, of share alpha, in every class: one score for each.

Matrices stay orthogonal: gradients are projected on the tangent space of the Stiefel manifold, and every step ends in
two of Bjorck's iterations.  Images are drawn once into a bank of 8-bit pixels; what is certified is measured on fresh
samples elsewhere (irob.evaluation.limits.lower).
"""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob.classifiers import one_lipschitz
from irob.core import check, keys
from irob.core.check import InputError
from irob.core.types import Generator
from irob.math.orthogonal import polish, tangent
from irob.training.fit import fit
from irob.training.models.bank import bank, kept

FAMILIES = ("overall", "per_class")
WINDOW = 0.1  # of scores about the threshold that carry its gradient


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a witness is trained: what is minimised, and the steps.

    alpha: measure of the error region.  family: "overall": alpha in total; "per_class": alpha in its class.
    epsilons: in image units, weighted alike.  widths: of hidden layers; none
    gives half-spaces.  rows: of the bank.  own: images of the error class in a row, beside one of the others.
    epochs: passes.  batch_size: rows in a step.  learning_rate: peak of Adam; falls as a cosine.  sharpness: width of
    the sigmoid in image units.
    """

    alpha: float = 0.015
    epsilons: tuple[float, ...] = (1.0, 2.0, 3.0)
    widths: tuple[int, ...] = one_lipschitz.WIDTHS
    rows: int = 60_000
    own: int = 3
    epochs: int = 25
    batch_size: int = 512
    learning_rate: float = 1e-2
    sharpness: float = 0.3
    family: str = "overall"

    def __post_init__(self):
        if self.family not in FAMILIES:
            raise check.unknown("family", self.family, FAMILIES)
        if not 0 < check.number("alpha", self.alpha) < 1:
            raise InputError(f"alpha: got {self.alpha:g}, wanted a number in (0, 1)")
        if not self.epsilons:
            raise InputError("epsilon: got none, wanted at least one")
        for v in self.epsilons:
            check.number("epsilons", v, low=0, open_low=True)
        check.numbers(self, "learning_rate", "sharpness", low=0, open_low=True)
        one_lipschitz.even(self.widths)
        check.integers(self, "rows", "own", "epochs", "batch_size", low=1)


def threshold(h: jax.Array, share: float) -> jax.Array:
    """The upper `share`-quantile of scores f[n]; its gradient is spread over the scores near it."""
    count = max(1, round(share * len(h)))
    t = jax.lax.stop_gradient(jnp.sort(h)[len(h) - count])
    weight = jax.lax.stop_gradient(jnp.exp(-(((h - t) / WINDOW) ** 2) / 2))
    return t + jnp.sum(weight / weight.sum() * (h - jax.lax.stop_gradient(h)))


def objective(layers, own: jax.Array, others: jax.Array, plan: Plan, share: float, prior: float) -> jax.Array:
    """The relaxed adversarial risk, mean over epsilons.  own: f[m,D] of the error class; others: f[n,D]."""
    h = one_lipschitz.scores(layers, jnp.concatenate([own, others]))[:, 0]
    t = threshold(h[: len(own)], share)
    reached = jax.nn.sigmoid((h[:, None] - t + jnp.asarray(plan.epsilons)) / plan.sharpness).mean(1)
    return prior * reached[: len(own)].mean() + (1 - prior) * reached[len(own) :].mean()


def make_step(plan: Plan, tx, share: float, prior: float):
    """step(key, {"layers", "optimiser"}, {"own": u8[n,m,D], "others": u8[n,D]}) -> (state, metrics), for `fit`."""

    def step(key, state, rows):
        own, others = (r.reshape(-1, r.shape[-1]).astype(jnp.float32) / 255 for r in (rows["own"], rows["others"]))
        layers = state["layers"]
        value, g = jax.value_and_grad(objective)(layers, own, others, plan, share, prior)
        g = {k: {**g[k], "kernel": tangent(layers[k]["kernel"], g[k]["kernel"])} for k in g}
        updates, opt = tx.update(g, state["optimiser"])
        moved = optax.apply_updates(layers, updates)
        layers = {k: {**v, "kernel": polish(v["kernel"])} for k, v in moved.items()}
        return {"layers": layers, "optimiser": opt}, {"relaxed_risk": value}

    return step


def train(key: jax.Array, generator: Generator, plan: Plan, *, error_class: int | None, priors=None,
          workdir, resume: bool = False, label: str = "witness") -> Any:
    """Trains one score and returns its layers, orthogonal to float32 rounding.

    Args:
        error_class: where E lies; None for all classes together.
        workdir, resume: as in `fit`; the bank is kept there as well.

    Raises:
        InputError: a class that is too small to hold errors of measure alpha.
    """
    generator.alike("a witness")
    count = generator.components
    p = check.priors(priors, count)
    if error_class is None or count == 1:
        here, rest, prior, share = p, p, 1.0, plan.alpha
    else:
        here = np.eye(count)[error_class]
        prior = float(p[error_class])
        rest = np.where(here, 0, p) / (1 - prior)
        share = plan.alpha / prior if plan.family == "overall" else plan.alpha
        if share >= 1:
            raise InputError(f"error class {error_class}: got alpha {plan.alpha:g}, wanted less than its prior "
                             f"{prior:g}; let errors lie in all classes with --error-class all")
    folder = check.writable_folder(workdir)
    size = int(np.prod(generator.image_shape))
    banks = {name: kept(folder / f"bank_{name}.npy", keys.named(key, f"bank {name}"), generator, n, q, label)
             for name, n, q in (("own", plan.rows * plan.own, here), ("others", plan.rows, rest))}
    data = {"own": banks["own"].reshape(plan.rows, plan.own, size), "others": banks["others"]}
    steps = plan.epochs * max(1, plan.rows // plan.batch_size)
    tx = optax.adam(optax.warmup_cosine_decay_schedule(0.0, plan.learning_rate, min(50, steps // 4), steps), b2=0.99)
    layers = one_lipschitz.init(keys.named(key, "weights"), size, plan.widths)
    state = fit(keys.named(key, "fit"), {"layers": layers, "optimiser": tx.init(layers)},
                make_step(plan, tx, share, prior), data, epochs=plan.epochs, batch_size=plan.batch_size,
                workdir=folder, resume=resume, keep=2, label=label,
                config={**dataclasses.asdict(plan), "error_class": error_class})
    return state["layers"]


def choose_class(key: jax.Array, generator: Generator, plan: Plan, *, priors=None, workdir) -> int | None:
    """The class where a short training finds the smallest relaxed risk; None where no class can hold alpha."""
    p = check.priors(priors, generator.components)
    short = dataclasses.replace(plan, rows=max(plan.batch_size, plan.rows // 6), epochs=max(1, plan.epochs // 2))
    risks: dict[int, float] = {}
    for c in np.flatnonzero(p > plan.alpha):
        where = pathlib.Path(workdir) / f"try_{c}"
        layers = train(keys.named(key, f"try {c}"), generator, short, error_class=int(c), priors=p, workdir=where,
                       resume=True, label=f"try class {c}")
        own, others = (jnp.asarray(bank(keys.named(key, f"judge {c} {n}"), generator, 6000, q) / np.float32(255))
                       for n, q in (("own", np.eye(len(p))[c]), ("rest", p)))
        risks[int(c)] = float(objective(layers, own, others, short, plan.alpha / p[c], float(p[c])))
    return min(risks, key=lambda c: risks[c]) if risks else None
