"""The minimum itself, by mixed-integer programming (HiGHS): for small networks, or small tails of larger ones.

    minimise f_y(x') - f_k(x')   over x' in the ball, h_i >= 0, h_i >= z_i, h_i <= z_i - l_i (1 - b_i), h_i <= u_i b_i

for every ReLU h = relu(z) with l < 0 < u.  With b in {0, 1} this is the network; with b in [0, 1] it is the triangle
linear programme.  `exact` says how many layers of ReLUs, counted from the last, are taken exactly.  [l, u] is CROWN's,
and so is the bound of every class that needs no programme.  It runs on the host, one example after the other.

Units are scaled so that every variable has size 1 at most.  What HiGHS lets pass of constraints and integrality only
widens the programme; its dual values may be wrong by 1e-7 a variable, which is subtracted, and so is what the float32
evaluation may lose, carried forward from layer to layer.  Beyond that the solver is trusted: no proof of its bound is
checked.

Reference: Tjeng, Xiao, Tedrake, 2019, https://arxiv.org/abs/1711.07356
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, sparse

from irob.certify.proof import backward, envelope, roundoff
from irob.certify.proof.functionals import AFFINE, Rows
from irob.core import check, compile, layers
from irob.core.batch import Work
from irob.core.evidence import Certificate
from irob.core.progress import progress
from irob.core.promises import ModelCertifier
from irob.core.threat import Threat
from irob.core.types import value
from irob.math.rounding import TINY

TOLERANCE = 1e-7  # of HiGHS, for a variable of size 1
LARGEST = 20_000  # units


@dataclasses.dataclass(frozen=True)
class Milp(ModelCertifier):
    """The exact minimum by mixed-integer programming; `build` explains its fields."""

    exact: int | None
    seconds: float

    norms = ("l1", "linf")
    otherwise = "crown takes l2, which is not linear"

    def run(self, classifier, x, y, threat: Threat, *, work: Work = Work()) -> Certificate:
        """Certifies one example after the other; arguments as of `certify.run`, and chunks change nothing.

        Raises:
            InputError: a layer that is neither affine nor ReLU; a network too large; logits that are not finite.
        """
        check.images(x, y, num_classes=classifier.num_classes)
        x, y = np.asarray(x, np.float32), np.asarray(y, np.int32)
        walked = layers.of(classifier)
        supported(walked, x.shape[1:])
        walked = roundoff.single(walked)
        parts = segments(walked, x.shape[1:])
        ball = threat.at(jnp.float32(threat.strength))
        margins: list[float] = []
        guesses: list[int] = []
        with jax.default_matmul_precision("float32"):
            for image, label_ in progress(list(zip(x, y, strict=True)), total=len(y), label=work.label):
                relaxed = jax.tree.map(np.asarray, _relaxed(walked, image, label_, ball))
                if not np.isfinite(relaxed.logits).all():
                    raise check.InputError(f"logits: got NaN or infinity on clean image {len(margins)}, wanted finite "
                                           "numbers")
                margins.append(minimum(self, parts, image, int(label_), threat, relaxed))
                guesses.append(int(np.argmax(relaxed.logits)))
        margin, prediction = np.asarray(margins, np.float64), np.asarray(guesses, np.int32)
        return Certificate(margin, (margin > 0) & (prediction == y), None, prediction, "milp")


def build(*, exact: int | None = None, seconds: float = 60.0) -> Milp:
    """The exact minimum for l1 and linf, of networks of affine layers and ReLU.

    Args:
        exact: layers of ReLUs, from the last, that are taken exactly; all by default, 0 for the triangles alone.
        seconds: for one class of one example; what is proved by then counts.

    Raises:
        InputError: a number out of range.

    >>> build(exact=1).exact
    1
    """
    exact = None if exact is None else check.integer("exact", exact)
    return Milp(exact, check.number("seconds", seconds, low=0, open_low=True))


def supported(given: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    """Raises `InputError` for a layer that is no part of a programme, by name, or a network too large."""
    for i, layer in enumerate(given):
        if not isinstance(layer, (*AFFINE, layers.ReLU)):
            wanted = ", ".join(k.__name__ for k in (*AFFINE, layers.ReLU))
            raise check.InputError(f"milp: got layer {type(layer).__name__} at place {i}, wanted one of {wanted}")
    units = sum(math.prod(s) for s in backward.shapes(given, jax.ShapeDtypeStruct(shape, jnp.float32)))
    if units > LARGEST:
        raise check.InputError(f"milp: got a network of {units} units, wanted at most {LARGEST}; use crown")


@value()
class Relaxed:
    """What CROWN says of one example.

    logits: f[K].  bounds: (l, u) of every ReLU.  lower: f[K-1], the bound of every other class.
    lost: f[K], what rounding may cost the logits.
    """

    logits: Any
    bounds: list[Any]
    lower: Any
    lost: Any


@compile.jit
def _relaxed(walked, x, y, threat) -> Relaxed:
    region = backward.ball(threat, x)
    bounds, free, losses = backward.inner(walked, region, start=envelope.adaptive)
    sizes = backward.shapes(walked, x)
    curved = [a for a in walked if isinstance(a, layers.ReLU)]
    found = [envelope.lines(a, *b, f) for a, b, f in zip(curved, bounds, free, strict=True)]
    rows = Rows(backward.differences(sizes[-1][0], y), sizes[-1])
    lost = jnp.zeros(x.shape)
    for layer, loss in zip(walked, losses[1:], strict=True):
        lost = lost if isinstance(layer, layers.ReLU) else backward.absolute(layer)(lost)
        lost = 1.01 * lost + (0.0 if loss.each is None else loss.each)
    lower = backward.lower(rows, walked, sizes, found, region, losses)
    return Relaxed(layers.run(walked, x), bounds, lower, lost)


def segments(given: tuple[Any, ...], shape: tuple[int, ...]) -> list[tuple[sparse.csr_array, np.ndarray]]:
    """(matrix f[out,in], bias f[out]) of every run of affine layers between ReLUs, the last one included; in float64.
    """
    with jax.enable_x64(True):
        return _segments(jax.tree.map(lambda a: np.asarray(a, np.float64), given), shape)


def _segments(given, shape):
    found: list[tuple[sparse.csr_array, np.ndarray]] = []
    pending: list[Any] = []
    for layer in (*given, layers.ReLU()):
        if not isinstance(layer, layers.ReLU):
            pending.append(layer)
            continue
        run, size = tuple(pending), math.prod(shape)

        def affine(v, run=run, shape=shape):
            return layers.run(run, v.reshape(shape)).ravel()

        bias = np.asarray(affine(jnp.zeros(size)), np.float64)
        matrix = np.asarray(jax.jacfwd(affine)(jnp.zeros(size)), np.float64)
        found.append((sparse.csr_array(matrix), bias))
        shape = jax.eval_shape(lambda v, run=run: layers.run(run, v), jax.ShapeDtypeStruct(shape, jnp.float64)).shape
        pending = []
    return found


def minimum(certifier: Milp, parts, x: np.ndarray, y: int, threat: Threat, relaxed: Relaxed) -> float:
    """A lower bound of the margin of one example: the smallest of all classes."""
    bounds, lower, lost = relaxed.bounds, relaxed.lower, relaxed.lost
    lower = np.where(np.isnan(lower), -math.inf, lower).astype(np.float64)
    if not all(np.isfinite(b).all() for pair in bounds for b in pair) or not np.isfinite(lost).all():
        return float(lower.min())
    scales = [np.ones(x.size), *(np.maximum(np.maximum(np.abs(l), np.abs(u)).astype(np.float64).ravel(), TINY)
                                 for l, u in bounds)]
    unit = [(sparse.csr_array(m.multiply(before) / after[:, None]), b / after)
            for (m, b), before, after in zip(parts[:-1], scales, scales[1:])]
    last = (sparse.csr_array(parts[-1][0].multiply(scales[-1])), parts[-1][1])
    parts, bounds = [*unit, last], [
        tuple(np.asarray(v, np.float64).ravel() / s for v in pair) for pair, s in zip(bounds, scales[1:])]
    programme = _programme(parts, x, threat, bounds, certifier.exact)
    matrix, bias = parts[-1]
    classes, best = len(bias), math.inf
    for i in np.argsort(lower):
        if lower[i] >= best:
            break  # the others are larger by CROWN already
        k = (y + 1 + int(i)) % classes
        row = matrix[[y]] - matrix[[k]]
        proved = programme(row.toarray().ravel(), bias[y] - bias[k], certifier.seconds)
        proved -= float(lost[y]) + float(lost[k])
        best = min(best, max(float(lower[i]), proved))
    return best


def _programme(parts, x, threat, bounds, exact):
    """(objective of the last hidden units, constant, seconds) -> what is proved of their minimum."""
    x = np.asarray(x, np.float64).ravel()
    epsilon, (floor, ceiling) = float(threat.strength), threat.bounds
    low, high = [np.maximum(x - epsilon, floor)], [np.minimum(x + epsilon, ceiling)]
    rows, last, place = [], np.arange(len(x)), len(x)  # rows: (places, coefficients as a sparse matrix, from, to)
    integral = [np.zeros(len(x))]
    if threat.norm == "l1":  # |x' - x| <= t, sum of t <= epsilon
        t, one = place + np.arange(len(x)), sparse.eye_array(len(x))
        low.append(np.zeros(len(x)))
        high.append(np.full(len(x), epsilon))
        integral.append(np.zeros(len(x)))
        place += len(x)
        rows += [([(last, one), (t, -one)], -np.inf, x), ([(last, one), (t, one)], x, np.inf),
                 ([(t, sparse.csr_array(np.ones((1, len(x)))))], -np.inf, np.array([epsilon]))]
    for i, (matrix, bias) in enumerate(parts[:-1]):
        l, u = (np.asarray(b, np.float64).ravel() for b in bounds[i])
        n, one = len(bias), sparse.eye_array(len(bias))
        h, b = place + np.arange(n), place + n + np.arange(n)
        place += 2 * n
        unstable = (l < 0) & (u > 0)
        low += [np.maximum(l, 0), np.where(l >= 0, 1.0, 0.0)]
        high += [np.maximum(u, 0), np.where(u > 0, 1.0, 0.0)]
        whole = exact is None or i >= len(parts) - 1 - exact
        integral += [np.zeros(n), np.where(unstable & whole, 1.0, 0.0)]
        # h - z >= 0;  h - z + l (1 - b) <= 0, which for b = 1 is equality;  h <= u b.  Dead units are 0 by their box.
        dead = u <= 0
        rows += [([(h, one), (last, -matrix)], np.where(dead, -np.inf, bias), np.inf),
                 ([(h, one), (last, -matrix), (b, sparse.diags_array(-l))], -np.inf, np.where(dead, np.inf, bias - l)),
                 ([(h, one), (b, sparse.diags_array(-np.maximum(u, 0)))], -np.inf, 0.0)]
        last = h
    blocks, least, most = [], [], []
    for terms, start, end in rows:
        n = terms[0][1].shape[0]
        wide = sum((m.tocsr() @ sparse.csr_array((np.ones(len(p)), (np.arange(len(p)), p)), shape=(len(p), place))
                    for p, m in terms[1:]), start=terms[0][1].tocsr() @ sparse.csr_array(
                        (np.ones(len(terms[0][0])), (np.arange(len(terms[0][0])), terms[0][0])),
                        shape=(len(terms[0][0]), place)))
        blocks.append(wide)
        least.append(np.broadcast_to(start, n))
        most.append(np.broadcast_to(end, n))
    limits = optimize.Bounds(np.concatenate(low), np.maximum(np.concatenate(low), np.concatenate(high)))
    constraint = optimize.LinearConstraint(
        sparse.vstack(blocks, format="csr"), np.concatenate(least), np.concatenate(most)) if blocks else ()
    kinds = np.concatenate(integral)

    def solve(objective: np.ndarray, constant: float, seconds: float) -> float:
        size = float(np.abs(objective).sum())
        costs = np.zeros(place)
        costs[last] = objective / (size or 1.0)
        found = optimize.milp(costs, integrality=kinds, bounds=limits, constraints=constraint,
                              options={"time_limit": seconds, "mip_rel_gap": 0.0})
        proved = found.mip_dual_bound if found.mip_dual_bound is not None else found.fun
        if proved is None or not np.isfinite(proved):
            return -math.inf
        allowed = TOLERANCE * (place + 1) * size + 1e-12 * abs(constant)
        return float(proved * (size or 1.0) + constant - allowed)

    return solve


__all__ = ["Milp", "build"]
