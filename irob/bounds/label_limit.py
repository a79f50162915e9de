"""The limit for label robustness: examples of different labels that no classifier can keep together.

(x, y) is kept if f(x') = y for all |x' - x| <= epsilon.  If |x_i - x_j| <= 2 epsilon and y_i != y_j, the midpoint is
within epsilon of both, and f has one value there.  So no classifier keeps both; a randomised one keeps them with
probabilities p_i + p_j <= 1.  The domain only has to be convex, as [0, 1]^D is.  With nu the largest fractional
matching of the graph of these conflicts (the dual linear program), a sample of n examples has

    kept share  <=  1 - nu / n.

Attained where the graph is bipartite, as for two labels: there it is the least error of `transport`.  With more labels
the best fractional assignment of the p_i is attained, which three balls that share a point may forbid.

For the distribution of n independent examples, E[kept share] of any classifier is its robust accuracy, so that is at
most 1 - E[nu] / n.  nu changes by at most 1 with one example, and taking example i out lowers it by d_i in [0, 1], at
most the weight of the matching at i, hence sum_i d_i <= 2 nu: nu is (2, 0)-self-bounding.  With L = log(1 / (1 - c)),
each of

    nu <= E[nu] + sqrt(n L / 2)                              (McDiarmid)
    nu <= E[nu] + t,  t^2 = 2 L (2 E[nu] + 5 t / 6)          (Boucheron, Lugosi, Massart)

fails with probability at most 1 - c.  E[nu] is one number and not random, so the smaller right side holds with
confidence c too, and E[nu] is at least the larger of what both leave:

    E[nu] >= nu - min(sqrt(n L / 2),  sqrt(4 L nu + (7 L / 6)^2) - 7 L / 6).

The second in short: by the entropy method G(s) = log E exp(s (nu - E[nu])) obeys, with phi(s) = exp(-s) + s - 1,

    (s - 2 phi(s)) G'(s) - G(s)  <=  2 E[nu] phi(s),

and E[nu] s^2 / (1 - 5 s / 6) obeys the reverse for 0 < s < 6/5 (tested), with the same value and slope at 0, so it is
at least G there; Chernoff's bound does the rest.

Examples may also come in groups that are independent of each other, while those of one group are not, as long as their
labels and examples have the right law on average (coupled codes; the frames of one film).  A group of c examples
changes nu by at most c, so sum c^2 takes the place of n in McDiarmid's term; with k the largest c, nu / k is
(2, 0)-self-bounding over groups, and the second term is k times that of nu / k.

References: Bhagoji, Cullina, Mittal (2019), https://arxiv.org/abs/1909.12272, for two labels; Dai et al. (2023),
https://arxiv.org/abs/2302.10722, for several on a finite set; Boucheron, Lugosi, Massart, "On concentration of
self-bounding functions", Electronic Journal of Probability 14 (2009) 1884-1899, with a = 2, b = 0, c = 5/6.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from irob.bounds.conflicts import Edges, Search
from irob.bounds.matching import largest_fractional_matchings
from irob.bounds.regions import METRIC
from irob.core.check import InputError, number, unknown

CHECKED = 4096  # examples at a time
ROUNDING = 1e-12  # a share is rounded up by this


@dataclasses.dataclass(frozen=True)
class LabelLimit:
    """No classifier keeps more than `sample` of these examples, nor of the distribution more than `upper`.

    matching: the largest fractional one, sample = 1 - matching / n.  upper holds with `confidence`, for this epsilon.
    complete: False if the graph had more edges than memory is given to, so that a smaller matching stands for it.
    """

    epsilon: float
    sample: float
    upper: float
    matching: float
    n: int
    confidence: float
    complete: bool = True


def label_limit(
    x, y, epsilons: Sequence[float], *, norm: str = "l2", confidence: float = 0.95, joint: bool = False, groups=None
) -> list[LabelLimit]:
    """The largest share of examples that any classifier can keep robustly right, for each epsilon.

    Args:
        x: f[n,...], independent examples of one distribution; any numbers of a convex domain.
        y: i[n], their labels.
        epsilons: at least 0, in units of the examples; the balls are closed.
        norm: "l1", "l2" or "linf".
        confidence: of each `upper` by itself, in (0, 1).
        joint: whether all statements together shall hold with `confidence`: each of m gets 1 - (1 - confidence) / m.
        groups: i[n], equal for examples that may depend on each other; default: all are independent.

    Returns:
        One LabelLimit for each epsilon, in the order given.

    Raises:
        InputError: shapes that do not belong together, labels that are no integers, values out of range, NaN.

    >>> x, y = [[0.0], [1.0], [1.5], [9.0]], [0, 1, 2, 0]
    >>> [v.sample for v in label_limit(x, y, [0.2, 0.25, 0.75, 4.0])]
    [1.0, 0.75, 0.625, 0.5]
    """
    from irob.math import norms  # brings JAX, which `import irob.bounds` does not wait for

    norm = norms.named(norm)
    x, y, radii = examined(x, y, epsilons, norm)
    level = each(confidence, len(radii)) if joint else each(confidence, 1)
    distinct = sorted(set(radii))
    search = Search(x, y, distinct, norm)
    found = dict(zip(distinct, limits(search.run(), len(x), distinct, level, group_sizes(groups, len(x)))))
    return [found[e] for e in radii]


def limits(
    edges: Edges, n: int, epsilons: Sequence[float], confidence: float, sizes: Sequence[int] | np.ndarray = (1,)
) -> list[LabelLimit]:
    """The limits from the conflicts of n examples; epsilons: increasing, those that the edges were searched for."""
    found = largest_fractional_matchings(edges.i, edges.j, edges.level, n, len(epsilons))
    return [LabelLimit(e, 1 - nu / n, upper(nu, n, confidence, sizes), nu, n, confidence, edges.all)
            for e, nu in zip(epsilons, found.tolist())]


def upper(matching: float, n: int, confidence: float, sizes: Sequence[int] | np.ndarray = (1,)) -> float:
    """The limit for the distribution from the largest fractional matching of n examples; at most 1, rounded up.

    sizes: of the groups of examples that depend on each other, or a list that is repeated until it makes n.

    >>> [round(upper(m, 50_000, 0.95), 4) for m in (0, 100, 7500)]
    [1.0, 0.9986, 0.8555]
    >>> [round(upper(m, 50_000, 0.95, (2, 1)), 4) for m in (0, 100, 7500)]
    [1.0, 0.9988, 0.8571]
    """
    most, c = math.log(1 / (1 - confidence)), np.asarray(sizes, np.float64)
    k, squares = float(c.max()), n * float(c @ c / c.sum())
    small = k * (math.sqrt(4 * most * matching / k + (7 * most / 6) ** 2) - 7 * most / 6)
    expected = max(0.0, matching - min(math.sqrt(squares * most / 2), small))
    return min(1.0, 1 - expected / n + ROUNDING)


def group_sizes(groups, n: int) -> np.ndarray:
    """How many of n examples each group has; groups: i[n], or None where each is its own."""
    if groups is None:
        return np.ones(1, int)
    groups = np.asarray(groups)
    if groups.shape != (n,) or groups.dtype.kind not in "iu":
        raise InputError(f"groups: got {groups.dtype}{list(groups.shape)}, wanted one integer for each of {n} examples")
    return np.unique(groups, return_counts=True)[1]


def each(confidence: float, count: int) -> float:
    """The confidence at which each of `count` statements must hold so that all do with `confidence`.

    >>> each(0.95, 5)
    0.99
    """
    if not 0 < number("confidence", confidence) < 1:
        raise InputError(f"confidence: got {confidence!r}, wanted a number in (0, 1)")
    return confidence if count == 1 else 1 - (1 - confidence) / count


def examined(x, y, epsilons, norm: str) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """(examples as floats, labels, epsilons), or an error that says what is wrong with them."""
    x, y = np.asanyarray(x), np.asarray(y)
    if x.ndim < 2 or not x.size:
        raise InputError(f"examples: got shape {x.shape}, wanted (n, ...) with n at least 1")
    if x.dtype.kind not in "fiub":
        raise InputError(f"examples: got type {x.dtype}, wanted numbers")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise InputError(f"labels: got {y.dtype}{list(y.shape)}, wanted one integer for each of {len(x)} examples")
    if norm not in METRIC:
        raise unknown("norm", norm, METRIC)
    radii = [number("epsilon", e, low=0.0) for e in np.atleast_1d(np.asarray(epsilons, dtype=object))]
    if not radii or math.inf in radii:
        raise InputError(f"epsilon: got {radii}, wanted at least one finite number")
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64)
    for s in range(0, len(x), CHECKED):
        bad = ~np.isfinite(x[s : s + CHECKED]).reshape(len(x[s : s + CHECKED]), -1).all(axis=1)
        if bad.any():
            raise InputError(f"examples: got NaN or infinity in example {s + int(np.argmax(bad))}, "
                             "wanted finite numbers; leave such examples out")
    return x, y, radii
