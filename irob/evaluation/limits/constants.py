"""Every kind of constant at the same codes: sampled, maximised and certified ones, and escape radii.

Codes are drawn once and each class gets the same number of them.  A method that costs more takes the first so many,
so that at every code, in image units of [0, 1],

    orthant, ball <= L(r) <= certified,    maximised <= L(r) <= certified,    kept <= rho_epsilon <= found.

Equal numbers for each class are as good as draws from equal priors: the chance that all n codes of a sample escape
a set whose classes have measures delta_i is prod (1 - delta_i)^(n/K) <= (1 - mean delta)^n.

A certified radius takes an upper bound L at several radii s.  For many codes one s must do, kept = min(s, epsilon /
L(s)): a few pilot codes, which count nowhere else, choose it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from irob import lipschitz
from irob.core import check, keys, layers
from irob.core.batch import Work
from irob.core.store import Pieces, fingerprint, whole
from irob.core.types import Generator
from irob.lipschitz.parts import split

K = TypeVar("K")
BLOCK = 200  # codes in a piece on disk, a minute or less of work that a kill can lose
PILOT = 0.8  # share of the pilot's smallest certified radius: most codes shall keep within it


@dataclasses.dataclass(frozen=True)
class ConstantsPlan:
    """How many codes, over all classes, each method takes; 0 leaves it out.

    sampled: Algorithm 1, both samplers, with `neighbours` each.  ascent: maximised constants and escape radii.
    certified: escape radii from below.  compared: certified constants, at each of `radii` and at `radius`.
    pilot: codes that choose where certificates are asked for.
    radius: of the balls, in latent standard deviations.
    """

    sampled: int = 200
    ascent: int = 1000
    certified: int = 100
    compared: int = 10
    pilot: int = 10
    neighbours: int = 2000
    radius: float = 0.5
    radii: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2)
    epsilons: tuple[float, ...] = (1.0, 2.0, 3.0)

    def __post_init__(self):
        check.integers(self, "sampled", "ascent", "certified", "compared")
        check.integers(self, "neighbours", "pilot", low=1)
        for name, values in (("radius", (self.radius, *self.radii)), ("epsilon", self.epsilons)):
            for v in values:
                check.number(name, v, low=0.0, open_low=True)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was found at codes of components y: i[n], radii in latent standard deviations.

    constants: {"orthant" | "ball" | "maximised" | "certified": f[m]}, at the first m codes.
    found, kept: {epsilon: f[m]}, escape radii from above (a point that left was found) and from below (certified).
    compared: {radius: (maximised f[m], certified f[m])}.  label_of: of the generator.
    """

    plan: ConstantsPlan
    y: np.ndarray
    constants: dict[str, np.ndarray]
    found: dict[float, np.ndarray]
    kept: dict[float, np.ndarray]
    compared: dict[float, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)
    label_of: tuple[int, ...] = ()

    def groups(self, family: str):
        """The family as bounds take it: the labels of components, for "per_class" where these are finer than labels."""
        return self.label_of if self.label_of and family == "per_class" else family

    def by_class(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of the first codes, split by component."""
        y = self.y[: len(values)]
        return [values[y == c] for c in range(int(self.y.max(initial=0)) + 1)]


def draw(key: jax.Array, generator: Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n codes f[n,d] and classes i[n], class after class in turn; more codes begin with the same ones."""
    starts = range(0, n, BLOCK)
    z = [jax.random.normal(jax.random.fold_in(key, i), (BLOCK, generator.latent_dim)) for i in range(len(starts))]
    y = (np.arange(n) % generator.components).astype(np.int32)
    return np.concatenate(z)[:n] if z else np.empty((0, generator.latent_dim), np.float32), y


def certifiable(generator: Generator) -> bool:
    """Whether the layers of a generator are known, so that its constants can be bounded from above."""
    try:
        split(layers.of_generator(generator, 0), generator.latent_dim)
    except check.InputError:
        return False
    return True


def measure(
    key: jax.Array, generator: Generator, plan: ConstantsPlan, *, pieces: Pieces | None = None, label: str = ""
) -> Measured:
    """All methods at common codes, in pieces that a killed run finds again; certificates where layers are known.

    Args:
        key: typed key; block b of a method draws from fold_in(named(key, method), b).
        pieces: where finished blocks are kept.
    """
    keys.require(key)
    pieces, classes = pieces or Pieces(), generator.components
    if not certifiable(generator):
        plan = dataclasses.replace(plan, certified=0, compared=0)
    z, y = draw(keys.named(key, "codes"), generator, max(plan.sampled, plan.ascent, plan.certified, plan.compared))
    weights = whole(generator)

    def blocks(method: str, count: int, work: Callable, codes=(z, y), **settings) -> np.ndarray:
        done = []
        for start in range(0, count, BLOCK):
            s = slice(start, min(start + BLOCK, count))
            k = jax.random.fold_in(keys.named(key, method), start // BLOCK)
            shown = f"{label} {method}, codes {s.stop} of {count}" if label else ""
            record = {"method": method, "key": fingerprint(k), "codes": fingerprint(codes[0][s]), "classes": classes,
                      "generator": weights, **settings}
            call = functools.partial(work, k, codes[0][s], codes[1][s], label=shown)
            done.append(pieces.get("limits", record, _value(call))["value"])
        return np.concatenate(done) if done else np.empty(0)

    def certified(radius: float) -> Callable:
        return lambda k, z, y, label: lipschitz.certified(generator, z, y, radius=radius, label=label).value

    def maximised(radius: float) -> Callable:
        return lambda k, z, y, label: lipschitz.maximised(
            k, generator, z, y, radius=radius, work=Work(label=label)).value

    def sampled(k, z, y, label, directions):
        return lipschitz.sampled(k, generator, z, y, radius=plan.radius, neighbours=plan.neighbours,
                                 directions=directions, work=Work(label=label)).value

    ball = {"radius": plan.radius}
    constants = {d: blocks(d, plan.sampled, functools.partial(sampled, directions=d), neighbours=plan.neighbours,
                           **ball) for d in ("orthant", "ball")}
    constants["maximised"] = blocks("maximised", plan.ascent, maximised(plan.radius), **ball)
    constants["certified"] = blocks("certified", plan.compared, certified(plan.radius), **ball)
    compared = {r: (blocks("maximised", plan.compared, maximised(r), radius=r),
                    blocks("certified", plan.compared, certified(r), radius=r)) for r in plan.radii}
    found, kept = {}, {}
    for e in plan.epsilons:
        found[e] = blocks(f"escape {e:g}", plan.ascent, lambda k, z, y, label, e=e: lipschitz.escape_radius(
            k, generator, z, y, epsilon=e, work=Work(label=label)).upper, epsilon=e)
        if plan.certified:
            pilot = blocks(
                f"pilot {e:g}", plan.pilot, lambda k, z, y, label, e=e: lipschitz.certified_radius(
                    generator, z, y, epsilon=e, label=label),
                codes=draw(keys.named(key, "pilot codes"), generator, plan.pilot), epsilon=e)
            s = PILOT * float(pilot.min())
            kept[e] = np.minimum(s, e / blocks(f"certified {e:g}", plan.certified, certified(s), radius=s))
    return Measured(plan, y, _some(constants), _some(found), _some(kept),
                    {r: pair for r, pair in compared.items() if len(pair[0])}, generator.label_of)


def _value(call: Callable[[], np.ndarray]) -> Callable[[], dict[str, np.ndarray]]:
    return lambda: {"value": call()}


def _some(found: dict[K, np.ndarray]) -> dict[K, np.ndarray]:
    """The arrays that are not empty."""
    return {k: v for k, v in found.items() if len(v)}
