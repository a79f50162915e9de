"""A search for false certificates: networks drawn to be hard, claims held against float64 and float32 evaluation.

A case is a network, an image, a label and a radius; its claim is the certifier's margin.  The adversary goes to the
corner of the ball that a linear network would have as its worst point, climbs from there and from random points by
signs and by directions of float64 gradients, and looks at every point that is in the ball: a claim above the margin
of real numbers (float64), or above that of the float32 evaluation, is false.  The bias of the last layer is then
moved until the worst point that was found lies just on the wrong side, where a certificate would do harm, and the
claim is judged again.

Every family draws its cases by a seed; all cases of a family share one compiled program a certifier and norm.
"""

import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob import certify
from irob.core import check, config
from irob.core import layers as kinds
from irob.core.layers import (
    AvgPool,
    Clip,
    Conv,
    Dense,
    Flatten,
    GroupSort,
    LeakyReLU,
    MaxPool,
    ReLU,
    Reshape,
    Scale,
    Tanh,
)
from irob.core.threat import LpBall

CERTIFIERS = {"interval": {}, "crown": {"steps": 1}, "zonotope": {"steps": 1}, "dual": {}}
NORMS = {"dual": ("l2", "linf")}
CLASSES = 3
STARTS, STEPS = 3, 6  # random points besides the corner, and steps from each


@dataclasses.dataclass(frozen=True)
class Config:
    """Search for false certificates; prints cases tried and false certificates by kind."""

    cases: int = config.option(2000, "cases of each certifier")
    seed: int = config.option(0, "random seed")
    certifier: list[str] = config.option(["all"], "interval, crown, zonotope, dual; all")
    family: list[str] = config.option(["all"], "kinds of networks; all")
    out: str = config.option("", "JSON file for the counts")


@dataclasses.dataclass(frozen=True)
class Family:
    """Networks of one structure: the shape of an image, layers without weights (their sizes), cases at a time."""

    shape: tuple[int, ...]
    layers: tuple[Any, ...]  # ("dense", i, o), ("conv", k, c, o, stride, padding), ("scale", c) or a layer
    chunk: int = 128


def dense(*sizes: int, between: Any = None) -> tuple[Any, ...]:
    """Dense layers with another layer between."""
    found: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        found += [("dense", a, b), between or ReLU()]
    return tuple(found[:-1])


IMAGE = (6, 6, 2)
FAMILIES = {
    "linear": Family((50,), dense(50, CLASSES)),
    "linear 784": Family((784,), dense(784, CLASSES), 64),
    "linear 65536": Family((65536,), dense(65536, CLASSES), 8),
    "wide hidden": Family((40,), (("dense", 40, 2000), ReLU(), ("dense", 2000, CLASSES)), 4),
    "one hidden": Family((6,), dense(6, 10, CLASSES)),
    "relu": Family((6,), dense(6, 8, 8, CLASSES)),
    "affine chain": Family((6,), (("dense", 6, 8), ("dense", 8, 8), ("scale", 8), ReLU(), ("dense", 8, 6),
                                  ("dense", 6, CLASSES))),
    "strided": Family(IMAGE, (("conv", 3, 2, 4, 2, "SAME"), ReLU(), ("conv", 2, 4, 4, 2, "VALID"), ReLU(), Flatten(),
                              ("dense", 4, CLASSES)), 64),
    "padded pair": Family(IMAGE, (("conv", 3, 2, 3, 1, 1), ("conv", 3, 3, 4, 1, "SAME"), ReLU(), AvgPool(), Flatten(),
                                  ("dense", 36, CLASSES)), 32),
    "scaled": Family(IMAGE, (("scale", 2), ("conv", 3, 2, 4, 1, 1), ("scale", 4), AvgPool(), ReLU(),
                             ("conv", 2, 4, 3, 1, 1), ReLU(), Flatten(), Reshape((6, 8)), ReLU(), Flatten(),
                             ("dense", 48, CLASSES)), 32),
    "leaky": Family((6,), dense(6, 8, 8, CLASSES, between=LeakyReLU(0.2))),
    "clip": Family((6,), dense(6, 8, 8, CLASSES, between=Clip(-0.2, 0.7))),
    "tanh": Family((6,), dense(6, 8, 8, CLASSES, between=Tanh())),
    "sorted": Family((6,), dense(6, 8, 8, CLASSES, between=GroupSort())),
    "max-pool": Family(IMAGE, (("conv", 3, 2, 4, 1, "SAME"), MaxPool(), ReLU(), ("conv", 3, 4, 4, 1, 1), Flatten(),
                               ("dense", 36, CLASSES)), 32),
}
ONLY_AFFINE_AND_RELU = [n for n, f in FAMILIES.items()
                        if not any(isinstance(a, LeakyReLU | Clip | Tanh | GroupSort | MaxPool) for a in f.layers)]


def draw(rng: np.random.Generator, family: Family, count: int):
    """(layers with a leading axis of cases, x f[count,*shape], y i[count], epsilon f[count]) in float32."""
    each = [case(rng, family) for _ in range(count)]
    return jax.tree.map(lambda *a: np.stack(a), *each)


def case(rng: np.random.Generator, family: Family):
    """One network with an image, a label and a radius; the kinds of trouble are drawn independently."""
    free = not any(isinstance(a, Clip | Tanh) for a in family.layers)
    weighted = sum(isinstance(a, tuple) for a in family.layers)
    # Scales up to 1e30 whose product often comes back to 1; behind a kink of fixed place they would leave one side.
    scales = 10.0 ** rng.uniform(-30, 30, weighted) if free and rng.random() < 0.3 else np.ones(weighted)
    if weighted > 1 and rng.random() < 0.7:
        scales[-1] = np.clip(1 / np.prod(scales[:-1]), 1e-35, 1e35)
    signs = rng.random() < 0.35  # of one sign, whose roundings go one way
    offset = rng.choice([0.0, 0.0, 1.0, 1e4])  # biases that cancel downstream
    flat = rng.random() < 0.15
    half = rng.choice([None, None, jnp.bfloat16, np.float16])
    reach = 1.0  # of the activation before
    found = []
    left = iter(scales)
    for layer in family.layers:
        if not isinstance(layer, tuple):
            found.append(layer)
            continue
        scale = next(left)
        kind, *sizes = layer
        fan = {"dense": sizes[0], "conv": sizes[0] ** 2 * sizes[1] if kind == "conv" else 1, "scale": 1}[kind]
        shape = {"dense": sizes, "conv": [sizes[0], sizes[0], *sizes[1:3]] if kind == "conv" else [],
                 "scale": sizes}[kind]
        weight = rng.normal(size=shape) / np.sqrt(fan)
        if signs:
            weight = (1 + 0.1 * rng.normal(size=shape)) / fan
        if flat and kind == "dense":
            weight[:, rng.random(shape[-1]) < 0.5] = 0
        bias = 0.3 * rng.normal(size=shape[-1]) * reach * scale
        if offset and not signs:
            bias = bias + offset * reach * scale * rng.choice([-1.0, 1.0])
        weight = weight * scale
        if half is not None and np.abs(weight).max(initial=0) < 1e4 and np.abs(weight).max(initial=0) > 1e-3:
            weight = np.asarray(np.asarray(weight, half), np.float64)
        weight, bias = (np.clip(v, -1e37, 1e37).astype(np.float32) for v in (weight, bias))
        made = {"dense": Dense, "scale": Scale}.get(kind)
        found.append(Conv(weight, bias, *sizes[3:]) if made is None else made(weight, bias))
        reach *= scale
    x = rng.random(family.shape)
    x = rng.choice([x, np.round(x), np.full(family.shape, 0.5), np.where(x < 0.7, 0, x)])
    epsilon = 10.0 ** rng.choice([rng.uniform(-8, -3), rng.uniform(-3, 0), rng.uniform(-30, -8), rng.uniform(0, 4)],
                                 p=[0.5, 0.35, 0.1, 0.05])
    return tuple(found), x.astype(np.float32), np.int32(rng.integers(CLASSES)), np.float32(epsilon)


def leading(y, logits):
    """f_y - max over the others."""
    return logits[y] - jnp.max(jnp.where(jnp.arange(len(logits)) == y, -jnp.inf, logits))


def inside(x, d, epsilon, norm):
    """A step cut to the box and the ball, in float64, a hair inside of both."""
    d = jnp.clip(x + d, 0.0, 1.0) - x
    if norm == "linf":
        d = jnp.clip(d, -epsilon, epsilon)
    else:
        size = jnp.sum(jnp.abs(d)) if norm == "l1" else jnp.max(jnp.abs(d)) * jnp.linalg.norm(
            (d / jnp.maximum(jnp.max(jnp.abs(d)), 1e-300)).ravel())
        d = d * jnp.minimum(1.0, epsilon / jnp.maximum(size, 1e-300))
    return jnp.clip(x + d * (1 - 1e-14), 0.0, 1.0)


def worst(key, given, x, y, epsilon, norm):
    """(points of the ball f[p,*shape], their margins f[p]) in float64, the smallest margins that were found."""
    def margin(v):
        return leading(y, kinds.run(given, v))

    def uphill(v):
        g = -jax.grad(margin)(v)
        g = jnp.where(jnp.isfinite(g), g, 0.0)
        top = jnp.max(jnp.abs(g))
        if norm == "linf":
            return epsilon * jnp.sign(g)
        if norm == "l1":
            room = jnp.where(g > 0, 1 - v, v)  # one pixel after another, the steepest first
            order = jnp.argsort(-jnp.abs(g).ravel())
            taken = jnp.cumsum(room.ravel()[order])
            step = jnp.clip(epsilon - (taken - room.ravel()[order]), 0, room.ravel()[order])
            return jnp.zeros(g.size).at[order].set(step).reshape(g.shape) * jnp.sign(g)
        unit = g / jnp.where(top > 0, top, 1.0)
        return epsilon * unit / jnp.maximum(jnp.linalg.norm(unit.ravel()), 1e-300)

    def climb(start):
        def step(v, _):
            new = inside(x, (v - x) + uphill(v), epsilon, norm)
            return new, new

        return jax.lax.scan(step, start, None, length=STEPS)[1]

    noise = epsilon * jax.random.normal(key, (STARTS, *x.shape), jnp.float64)
    starts = jnp.concatenate([x[None], jax.vmap(lambda d: inside(x, d, epsilon, norm))(noise)])
    points = jnp.concatenate([starts, jax.vmap(climb)(starts).reshape(-1, *x.shape)])
    return points, jax.vmap(margin)(points)


def member(x, points, epsilon, norm):
    """Which float32 points are in the ball and the box, exactly: float64."""
    d = np.abs(points.astype(np.float64) - x[:, None].astype(np.float64))
    axes = tuple(range(2, d.ndim))
    top = np.maximum(d.max(axes, keepdims=True), 1e-300)
    size = {"linf": d.max(axes), "l1": d.sum(axes),
            "l2": top.reshape(top.shape[:2]) * np.sqrt(((d / top) ** 2).sum(axes))}[norm]
    good = (points >= 0).all(axes) & (points <= 1).all(axes)
    return good & (size <= np.asarray(epsilon, np.float64)[:, None] * (1 - 1e-14))


@dataclasses.dataclass(frozen=True)
class Trial:
    """The compiled programs of one family, certifier and norm."""

    family: Family
    prove: Callable
    attack: Callable
    evaluate: Callable
    norm: str

    def run(self, rng: np.random.Generator) -> dict[str, int]:
        """Counts of one chunk of cases, before and after the last bias is moved."""
        given, x, y, epsilon = draw(rng, self.family, self.family.chunk)
        found = self.judge(rng, given, x, y, epsilon)
        last = given[-1]
        scale = np.abs(found["least"]) * 10.0 ** rng.uniform(-7, -1, len(y))
        bias = np.array(last.bias)
        shift = np.where(np.isfinite(found["least"]), found["least"] + scale, 0.0)
        bias[np.arange(len(y)), y] = np.clip(bias[np.arange(len(y)), y] - shift, -1e37, 1e37)
        moved = (*given[:-1], dataclasses.replace(last, bias=bias))
        again = self.judge(rng, moved, x, y, epsilon)
        return {k: int(np.sum(found[k]) + np.sum(again[k])) for k in ("cases", "claims", "real", "float32")}

    def judge(self, rng, given, x, y, epsilon) -> dict[str, np.ndarray]:
        """claims: margins above 0; real, float32: claims that are false; least: the smallest real margin."""
        claim = np.asarray(self.prove(given, x, y, epsilon), np.float64)
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (given, x, epsilon))
            key = jax.random.split(jax.random.key(int(rng.integers(2**31))), len(y))
            points, margins = (np.asarray(v) for v in self.attack(key, wide[0], wide[1], y, wide[2]))
        near = points.astype(np.float32)
        logits = np.asarray(self.evaluate(given, near), np.float64)
        own = np.take_along_axis(logits, y[:, None, None], 2)[:, :, 0]
        others = np.where(np.arange(CLASSES) == y[:, None, None], -np.inf, logits).max(2)
        with np.errstate(invalid="ignore"):
            gap = own - others
        seen = np.where(member(x, near, epsilon, self.norm) & ~np.isnan(gap), gap, np.inf)
        least = np.where(np.isfinite(margins), margins, np.inf).min(1)
        return {"cases": np.ones(len(y)), "claims": claim > 0, "real": claim > least, "float32": claim > seen.min(1),
                "least": least, "claim": claim}


@functools.cache
def attacker(name: str, norm: str):
    """The adversary's compiled program, and the float32 evaluation, which all certifiers share."""
    attack = jax.jit(jax.vmap(functools.partial(worst, norm=norm)))
    return attack, jax.jit(jax.vmap(lambda given, v: jax.vmap(lambda u: kinds.run(given, u))(v)))


def trial(name: str, certifier: str, norm: str) -> Trial:
    """The programs of a family, a certifier and a norm; compiled when first run."""
    built = certify.build(certifier, **CERTIFIERS[certifier])

    def margin(given, x, y, epsilon):
        return built.margin(given, x, y, LpBall(norm, epsilon))

    attack, evaluate = attacker(name, norm)
    return Trial(FAMILIES[name], jax.jit(jax.vmap(margin)), attack, evaluate, norm)


def search(certifier: str, families: list[str], cases: int, seed: int, say=print) -> dict[str, dict[str, int]]:
    """Counts by family and norm."""
    known = [f for f in families if certifier != "dual" or f in ONLY_AFFINE_AND_RELU]
    kinds_ = [(f, n) for f in known for n in NORMS.get(certifier, ("l1", "l2", "linf"))]
    found: dict[str, dict[str, int]] = {}
    for i, (family, norm) in enumerate(kinds_):
        begin, rng = time.perf_counter(), np.random.default_rng([seed, i, *map(ord, certifier + family + norm)])
        counts = dict.fromkeys(("cases", "claims", "real", "float32"), 0)
        programs = trial(family, certifier, norm)
        share = min(1.0, FAMILIES[family].chunk / 64)  # fewer of what takes long
        while counts["cases"] < share * cases / len(kinds_):
            counts = {k: v + counts[k] for k, v in programs.run(rng).items()}
        found[f"{family}, {norm}"] = counts
        say(f"{certifier:9s} {family:14s} {norm:4s}  {counts['cases']:6d} cases  {counts['claims']:6d} claims above 0  "
            f"false: {counts['real']} real, {counts['float32']} float32   {time.perf_counter() - begin:.0f} s")
    return found


def main(options: Config) -> None:
    """Searches for every certifier that was asked for."""
    wanted = list(CERTIFIERS) if options.certifier == ["all"] else options.certifier
    families = list(FAMILIES) if options.family == ["all"] else options.family
    for given, available in ((wanted, CERTIFIERS), (families, FAMILIES)):
        for name in given:
            if name not in available:
                raise check.unknown("certifier or family", name, available)
    found = {name: search(name, families, options.cases, options.seed, functools.partial(print, flush=True))
             for name in wanted}
    total = {k: sum(c[k] for kinds_ in found.values() for c in kinds_.values())
             for k in ("cases", "claims", "real", "float32")}
    print(f"{total['cases']} cases, {total['claims']} claims above 0, false: {total['real']} real, "
          f"{total['float32']} float32")
    if options.out:
        check.write_atomically(options.out, json.dumps({"counts": found, "total": total}, indent=2) + "\n")


if __name__ == "__main__":
    config.run(main, Config, prog="python -m benchmarks.false_certificates")
