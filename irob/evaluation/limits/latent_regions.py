"""Latent half-spaces {w.z <= q} as error regions: exact on an affine generator, an estimate on others.

On g(z) = A z + b with |A w| = s for the top right singular vector w, a move of epsilon in the image changes w.z by at
most epsilon / s, and E = g({w.z <= Phi^-1(alpha)}) attains the isoperimetric inequality:

    AdvRisk = Phi(Phi^-1(alpha) + epsilon / s).

Elsewhere an attack looks for the nearest image of E on the same class's manifold.  What it misses makes the witness
look better than it is, so these lower ends are optimistic and never certified.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import ndtr, ndtri

from irob.core import batch, keys, mesh
from irob.core.compile import jit
from irob.core.rows import ANY, LowerEnd, Number, Row
from irob.core.threat import ThreatRecord
from irob.core.types import Generator
from irob.generators import affine
from irob.math.gaussian import expansion

KIND = "latent half-space"
REACH = 1.5  # latent standard deviations beyond the half-space where codes are attacked; farther ones count as safe
CODES, ITERATIONS = 32, 12  # of the direction
STEPS, RATE = 40, 0.1  # of the attack


def latent_rows(key: jax.Array, generator: Generator, end: LowerEnd, *, epsilons: Sequence[float], priors, count: int,
                dataset: str = "", label: str = "") -> list[Row]:
    """One row for each epsilon.  end: whose alpha and family the witnesses have.

    Each class has the direction that moves its images most on average, the top eigenvector of the mean of J'J.  The
    overall family errs in the class that it moves most and that can hold alpha; the per-class family in all.
    count: codes, shared by the classes.
    """
    linear = generator.module is affine.apply and not generator.stages and generator.latent.standard
    if linear and generator.components == 1:
        return _affine(generator, end, epsilons, dataset)
    alpha, family = end.alpha, end.family
    classes = np.flatnonzero(priors)
    directions, gains = _directions(keys.named(key, "direction"), generator, classes)
    if family == "overall":
        able = [i for i, c in enumerate(classes) if priors[c] > alpha]
        if not able:
            return []
        best = max(able, key=lambda i: gains[i])
        classes, directions = classes[[best]], directions[[best]]
        share = alpha / priors[classes[0]]
    else:
        share = alpha
    count = -(-count // len(classes))
    q = ndtri(share)
    strip = ndtr(q + REACH) - share
    y = np.repeat(classes, count).astype(np.int32)
    w = np.repeat(directions, count, axis=0)
    # w.z is spread evenly over the strip's probability, the rest of z is normal: a stratified sample of the strip.
    u = np.tile(ndtri(share + strip * (np.arange(count) + 0.5) / count), len(classes)).astype(np.float32)
    program = jit(jax.vmap(_nearest, in_axes=(None, 0, 0, 0, 0, None)))
    generator, key = mesh.everywhere(generator), keys.named(key, "attack")
    with jax.default_matmul_precision("float32"):
        distance = batch.stream(
            lambda index, y, w, u: program(generator, keys.for_examples(key, index), y, w, u, jnp.float32(q)),
            y, w, u, chunk=50, label=label)
    end = dataclasses.replace(
        end, inputs=(("adversarial risk", "lower"),), witness=KIND,
        region=f"errors in class {classes[0]}" if family == "overall" else "errors in every class",
        assumptions=f"optimistic: only what an attack within {REACH:g} standard deviations finds")
    rows = []
    for e in epsilons:
        reached = np.asarray([np.mean(distance[y == c] <= e) for c in classes])
        growth = priors[classes] @ (share + strip * reached)
        rows.append(end.row(dataset, ANY, ThreatRecord.lp("l2", e), Number(1 - float(growth), n=len(y)),
                            f"witness: {KIND}, attack of {STEPS} steps"))
    return rows


def _affine(generator: Generator, end: LowerEnd, epsilons, dataset: str) -> list[Row]:
    matrix = np.asarray(generator.variables["matrix"], np.float64).reshape(-1, generator.latent_dim)
    top = float(np.linalg.norm(matrix, 2))
    end = dataclasses.replace(end, inputs=(("adversarial risk", "exact"),), witness=KIND, best=True, confidence=1.0,
                              region="top right singular vector", assumptions="exact for an affine generator")
    return [end.row(dataset, ANY, ThreatRecord.lp("l2", e), Number(float(1 - expansion(end.alpha, e / top))),
                    f"witness: {KIND}, closed form") for e in epsilons]


def _directions(key, generator: Generator, classes) -> tuple[np.ndarray, np.ndarray]:
    """(unit directions f[k,d], mean squared growth f[k]) of the classes: power iteration on the mean of J'J."""
    z = jax.random.normal(key, (CODES, generator.latent_dim))

    def one(generator, z, y):
        def step(_, carry):
            w, _ = carry

            def pulled(z):
                image, pull = jax.vjp(lambda v: generator(v, y), z)
                del image
                return pull(jax.jvp(lambda v: generator(v, y), (z,), (w,))[1])[0]

            v = jnp.mean(jax.vmap(pulled)(z), 0)
            size = jnp.linalg.norm(v)
            return v / jnp.where(size > 0, size, 1.0), size

        start = jnp.ones(generator.latent_dim) / jnp.sqrt(generator.latent_dim)
        return jax.lax.fori_loop(0, ITERATIONS, step, (start, jnp.float32(0)))

    program = jit(one)
    with jax.default_matmul_precision("float32"):
        found = [program(generator, z, jnp.int32(c)) for c in classes]
    return np.stack([np.asarray(w) for w, _ in found]), np.asarray([float(s) for _, s in found])


def _nearest(generator, key, y, w, u, q) -> jax.Array:
    """The smallest image distance found from a code with w.z = u to a code with w.z = q."""
    noise = jax.random.normal(key, w.shape)
    z = noise + (u - noise @ w) * w
    centre = generator(z, y)

    def moved(v):
        """The code of a free move v, put on the hyperplane."""
        return z + v + (q - u - v @ w) * w

    def square(v):
        return jnp.sum((generator(moved(v), y) - centre) ** 2)

    # Adam with one length for the whole vector, which leaves the direction of steepest descent alone.
    mean, length, rate = optax.ema(0.9), optax.ema(0.99), optax.linear_schedule(RATE, 0.0, STEPS)

    def step(i, carry):
        v, first, second, best = carry
        value, g = jax.value_and_grad(square)(v)
        m, first = mean.update(g, first)
        s, second = length.update(jnp.sum(g**2), second)
        return v - rate(i) * m / (jnp.sqrt(s) + 1e-12), first, second, jnp.minimum(best, value)

    zero = jnp.zeros_like(w)
    start = (zero, mean.init(zero), length.init(jnp.float32(0)), jnp.float32(jnp.inf))
    v, _, _, best = jax.lax.fori_loop(0, STEPS, step, start)
    return jnp.sqrt(jnp.minimum(best, square(v)))
