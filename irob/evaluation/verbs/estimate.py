"""Table 1: the local Lipschitz constant of every class of a generator, over repeated trials.

A trial draws `samples` fresh codes for each class, estimates a constant at each (Algorithm 1) and takes a quantile.

protocol "corrected": directions of the ball, images in [0,1], and the order statistic that covers the
(1 - delta)-quantile with the wanted confidence, or the largest value where the codes are too few for that.
protocol "paper": directions of the positive orthant, images in [-1,1], which doubles every constant (for generated
ImageNet10 in [0,1], as Table 2 has it), and the interpolated percentile, as in the published code.  Of 1,000 values
its 99.9 % percentile is, but for a thousandth, the second largest: it covers the true quantile with probability 0.26
only.

protocol "maximised": as "corrected", but the steepest chord is looked for (`lipschitz.maximised`) and not drawn.
protocol "certified": as "corrected", but each constant is an upper bound (`lipschitz.certified`), for generators made
of layers that can be bounded; close for small radii only.

All protocols see the same codes.  But for "certified" the constants are found from below.

Reference: Zhang, Chen, Gu, Evans (2020), Algorithm 1 and Table 1, https://arxiv.org/abs/2003.00378
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from irob import lipschitz
from irob.core import batch, check, keys, published
from irob.core.progress import say
from irob.core.rows import Constant, Number, Row, Side
from irob.core.store import Pieces, fingerprint, whole
from irob.core.types import Generator
from irob.lipschitz.sampling import SMALLEST
from irob.math.quantiles import coverage
from irob.report.tables import Cell, Line, Table


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How constants are found and in which units they are given.

    name: in rows.  directions: of the neighbours, or "ascent", or "certificate".  scale: units of [0,1] to its own.
    """

    name: str
    directions: str
    scale: float
    quantile: str


PROTOCOLS = {
    "corrected": Protocol("default", "ball", 1.0, "order statistic"),
    "paper": Protocol("paper", "orthant", 2.0, "percentile"),
    "maximised": Protocol("maximised", "ascent", 1.0, "order statistic"),
    "certified": Protocol("certified", "certificate", 1.0, "order statistic"),
}
WORDS = {"both": ("corrected", "paper"), "all": ("corrected", "paper", "maximised"), **{p: (p,) for p in PROTOCOLS}}
STEPS, RESTARTS = 30, 4  # of the ascent
LARGE, EVALUATIONS = 10_000_000, 5000  # weights from which a piece has so many evaluations only, minutes on a CPU


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Constants by protocol and class.

    rows: one for each protocol and class.  values: protocol to constants f[trials, classes, samples],
    in its units.
    """

    rows: tuple[Row, ...]
    values: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class EstimatePlan:
    """What to estimate; raises `InputError` for values out of range.

    samples: codes for each class and trial, S.  neighbours: random ones for each code, N.
    radius: of the ball about a code, in latent standard deviations.
    delta: share of codes that the constant may miss, in (0, 1).  confidence: wanted of the order statistic, in (0, 1).
    trials: repetitions on fresh codes.  classes: which ones; all if empty.
    protocol: "corrected", "paper", "maximised", "certified", "both" (the first two) or "all" (the first three).

    >>> EstimatePlan(protocol="both").protocols
    ('corrected', 'paper')
    """

    samples: int = 1000
    neighbours: int = 2000
    radius: float = 0.5
    delta: float = 0.001
    trials: int = 10
    confidence: float = 0.95
    protocol: str = "both"
    classes: Sequence[int] = ()

    def __post_init__(self):
        check.integers(self, "samples", "neighbours", "trials", low=1)
        check.number("radius", self.radius, low=SMALLEST, high=1e6)
        check.numbers(self, "delta", "confidence", low=0.0, high=1.0, open_low=True)
        if 1 in (self.delta, self.confidence):
            raise check.InputError("delta, confidence: got 1, wanted numbers in (0, 1)")
        if self.protocol not in WORDS:
            raise check.unknown("protocol", self.protocol, WORDS)

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols by name."""
        return WORDS[self.protocol]

    def chosen(self, generator: Generator) -> list[int]:
        """The classes of this generator; one that it does not have raises `InputError`."""
        count = generator.components
        for c in self.classes:
            if check.integer("class", c) >= count:
                raise check.InputError(f"class: got {c}, wanted one in [0, {count - 1}]")
        return list(dict.fromkeys(self.classes)) or [*range(count)]


def estimate(
    key: jax.Array,
    generator: Generator,
    plan: EstimatePlan,
    *,
    dataset: str = "",
    name: str = "",
    pieces: Pieces | None = None,
    chunk: int | None = None,
    label: str = "",
) -> Estimate:
    """Local Lipschitz constants of each class, mean and standard deviation over trials.

    Args:
        key: typed key; trial t and class c draw from fold_in(fold_in(key, t), c).
        pieces: where finished (protocol, trial, class) are kept; an interrupted run ends in the same result.
        chunk, label: as in `lipschitz.sampled`.

    Returns:
        Estimate; the rows' detail has the standard deviation, the confidence achieved in each trial, the delta that
        the codes of one trial support, and the same for all trials' codes together ("pooled").
    """
    keys.require(key)
    chosen, pieces, weights = plan.chosen(generator), pieces or Pieces(), whole(generator)
    rows, values, block = [], {}, at_once(generator, plan)
    for word in plan.protocols:
        p, done = PROTOCOLS[word], []
        if p.name == "paper":  # its units are those of the published code for these data
            p = dataclasses.replace(p, scale=published.settings(dataset).scale)
        for t in range(plan.trials):
            for c in chosen:
                where = f"{label} {word}, trial {t + 1}/{plan.trials}, class {c}" if label else ""
                k = jax.random.fold_in(jax.random.fold_in(key, t), c)
                for s in batch.slices(plan.samples, block):
                    settings = {
                        "key": fingerprint(k), "generator": weights, "codes": plan.samples, "first": s.start,
                        "last": s.stop, "neighbours": plan.neighbours, "radius": plan.radius,
                        "directions": p.directions, "class": c}
                    part = f"{where}, code {s.start + 1}" if where and block < plan.samples else where
                    work = functools.partial(_piece, k, generator, c, plan, p.directions, batch.Work(chunk, part), s)
                    done.append(pieces.get("lipschitz", settings, work)["value"])
        values[word] = np.reshape(np.concatenate(done), (plan.trials, len(chosen), plan.samples)) * p.scale
        detail: dict[str, Any] = {
            "protocol": p.name, "directions": p.directions, "units": "[-1,1]" if p.scale == 2 else "[0,1]",
            "radius": plan.radius, "delta": plan.delta, "codes": plan.samples, "neighbours": plan.neighbours,
            "trials": plan.trials}
        for i, c in enumerate(chosen):
            shown = c if generator.components > 1 else None
            found = _quantiles(values[word][:, i], p, plan.delta, plan.confidence)
            number = Number(found.pop("value"), n=plan.samples)
            rows.append(Constant(class_index=shown, **detail, **found).row(
                dataset, name, None, number, _method(p), side=side(p)))
    return Estimate(tuple(rows), values)


def side(protocol: Protocol) -> Side:
    """The side on which constants of a protocol bound the true ones at each code: "upper" or "lower"."""
    return "upper" if protocol.directions == "certificate" else "lower"


def at_once(generator: Generator, plan: EstimatePlan) -> int:
    """How many codes one piece on disk holds: all of a class, fewer for a large generator, whose work is dear."""
    size = sum(np.size(a) for a in jax.tree.leaves(generator.variables))
    return plan.samples if size < LARGE else min(plan.samples, max(1, EVALUATIONS // plan.neighbours))


def _piece(key, generator: Generator, c: int, plan: EstimatePlan, directions: str, work: batch.Work, s: slice):
    """The constants at a slice of the codes of one class in one trial, in [0,1] units."""
    z = jax.random.normal(keys.named(key, "codes"), (plan.samples, generator.latent_dim))[s]
    work = dataclasses.replace(work, start=s.start)
    return {"value": _constants(keys.named(key, "directions"), generator, z, c, plan, directions, work)}


def _constants(key, generator: Generator, z, c: int, plan: EstimatePlan, directions: str, work: batch.Work):
    """f[n], the constants at codes z: f[n,d] of class c, in [0,1] units."""
    y = np.int32(c)
    if directions == "certificate":
        return lipschitz.certified(generator, z, y, radius=plan.radius, label=work.label).value
    if directions == "ascent":
        return lipschitz.maximised(
            key, generator, z, y, radius=plan.radius, steps=STEPS, restarts=RESTARTS,
            work=work).value
    return lipschitz.sampled(
        key, generator, z, y, radius=plan.radius, neighbours=plan.neighbours, directions=directions,
        work=work).value


def auto(
    key: jax.Array, generator: Generator, plan: EstimatePlan, epsilon: float, *, codes: int = 20, label: str = ""
) -> EstimatePlan:
    """The plan with the smallest radius at which Theorem 4.3 may be used in every class: r L(r) >= epsilon.

    L is that of the plan's first protocol, in image units, at some codes of each class.

    Raises:
        InputError: epsilon not positive; a generator that no radius moves by epsilon.
    """
    directions = PROTOCOLS[plan.protocols[0]].directions
    radii = []
    for c in plan.chosen(generator):
        k = jax.random.fold_in(keys.named(key, "radius"), c)
        z = jax.random.normal(keys.named(k, "codes"), (codes, generator.latent_dim))

        def constants(r: float, c=c, k=k, z=z) -> np.ndarray:
            return _constants(k, generator, z, c, dataclasses.replace(plan, radius=r), directions, batch.Work())

        found = lipschitz.auto_radius(k, generator, z, np.int32(c), epsilon=epsilon, constants=constants)
        if label:
            say(f"{label}, class {c}: r L(r) = {found.radius * found.constant:.3g} at r = {found.radius:.4g}")
        radii.append(found.radius)
    return dataclasses.replace(plan, radius=max(radii))


def _method(p: Protocol) -> str:
    ways = {"ascent": f"maximised, {STEPS} steps, {RESTARTS} restarts", "certificate": "certified"}
    return ways.get(p.directions, f"sampled, {p.directions}")


def _quantiles(values: np.ndarray, protocol: Protocol, delta: float, confidence: float) -> dict[str, Any]:
    """Value and detail of a row, from the constants f[trials, samples] of one class."""
    n = values.shape[1]
    if protocol.quantile == "percentile":
        each = np.percentile(values, 100 * (1 - delta), axis=1)
        # The interpolated percentile lies between order statistics k and k + 1; k is what it surely reaches.
        k = int((1 - delta) * (n - 1)) + 1
        achieved = coverage(n, k, 1 - delta)
    else:
        pairs = [lipschitz.quantile(v, 1 - delta, confidence) for v in values]
        each, achieved = np.asarray([v for v, _ in pairs]), pairs[0][1]
    pooled, pooled_confidence = lipschitz.quantile(values.ravel(), 1 - delta, confidence)
    spread = {"std": float(np.std(each, ddof=1))} if len(values) > 1 else {}
    return {
        "value": float(np.mean(each)), **spread, "quantile": protocol.quantile, "confidence": achieved,
        "wanted_confidence": confidence, "supported_delta": lipschitz.supported_delta(n, confidence),
        "pooled": pooled, "pooled_confidence": pooled_confidence,
        "pooled_supported_delta": lipschitz.supported_delta(values.size, confidence),
        "median": float(np.median(values)), "each": tuple(float(v) for v in each),
    }


def table(rows: Sequence[Row]) -> Table:
    """One line for each class: constant and confidence by each protocol."""
    by = {(r.detail.protocol, r.detail.class_index): r for r in rows}
    names = list(dict.fromkeys(r.detail.protocol for r in rows))
    lines = []
    for c in dict.fromkeys(r.detail.class_index for r in rows):
        lines.append(Line("all" if c is None else str(c), tuple(_cell(by[p, c]) for p in names)))
    if len(lines) > 1:
        top = (max((r for r in rows if r.detail.protocol == p), key=lambda r: r.value) for p in names)
        lines.append(Line("largest", tuple(_cell(r) for r in top)))
    d, notes = rows[0].detail, []
    for p in names:
        r = next(r for r in rows if r.detail.protocol == p)
        notes.append(f"{_HEADS[p]}: {_WAYS[r.detail.directions]}, images in {r.detail.units}; one trial's "
                     f"{r.detail.quantile} covers the quantile at 1 - delta = {1 - d.delta:g} with probability "
                     f"{r.detail.confidence:.3f}.")
    notes.append(f"{d.codes} codes support delta = {d.supported_delta:.2g} at confidence "
                 f"{d.wanted_confidence:g}; all trials together {d.pooled_supported_delta:.2g}.")
    if below := [_HEADS[p] for p in names if p != "certified"]:
        notes.append(f"Constants of {', '.join(below)} are found from below: the true ones are at least as large.")
    if "certified" in names:
        notes.append("Constants of certified are upper bounds at the codes drawn: the true ones are at most as large.")
    over = f"mean ± standard deviation over {d.trials} trials" if d.trials > 1 else "1 trial"
    title = (f"Local Lipschitz constants of {rows[0].model or 'the generator'}, r = {d.radius:g}, "
             f"{d.codes} codes, {d.neighbours} neighbours, {over}")
    return Table("estimate", title, ("class", *(_HEADS[p] for p in names)), tuple(lines), tuple(notes))


_WAYS = {"ball": "random neighbours in the ball", "orthant": "random neighbours in the positive orthant",
         "ascent": "power iteration on chords", "certificate": "bounds of chords, layer by layer"}
_HEADS = {p.name: word for word, p in PROTOCOLS.items()}


def _cell(r: Row) -> Cell:
    spread = r.detail.std
    return Cell(f"{r.value:.2f}" + (f" ± {spread:.2f}" if spread is not None else ""), r.value, spread)
