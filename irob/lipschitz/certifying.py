"""The local Lipschitz constant of a generator from above: |g(z + v) - g(z)| <= L |v| for all |v| <= r.

Chords from a fixed centre.  Part k of the generator (irob.lipschitz.parts) changes its pre-activation by Delta_k, and
its output by D_k Delta_k, where D_k is diagonal: the slope of the chord from a_k to a_k + Delta_k.  A bound
|Delta_k| <= delta_k of every unit confines it, D_k in [lo_k, hi_k] = C_k +- e_k; a ReLU's chord from a > 0 has a
slope of at least a / delta even where it may switch off.  Write D_k = C_k + E_k and collect by the last factor E_j:

    g(z + v) - g(z) = C W ... C_1 W_1 v  +  sum_j (C W_K ... C_{j+1} W_{j+1}) E_j Delta_j.

With any t_j > 0, u_j bounding |diag(1/t_j) E_j Delta_j| / |v|, and T_kj = W_k C_{k-1} ... W_{j+1}:

    |Delta_k|      <=  |P_k v| + sum_{j<k} |T_kj diag(t_j)| u_j |v|   (by rows: delta_k; P_k = W_k C ... W_1)
    u_k            <=  |diag(e_k/t_k) P_k| + sum_{j<k} |diag(e_k/t_k) T_kj diag(t_j)| u_j
    L              <=  |diag(hi) P_K| + sum_{j<K} |diag(hi) T_Kj diag(t_j)| u_j.

P_k has one column for each latent dimension, T_kj those of the unstable units only, so that most of these norms are
those of small matrices.  At r -> 0 the sums vanish, and L is the largest singular value of the Jacobian at z.

The product of the parts' norms holds everywhere; it is exact for isometric parts, and hopeless otherwise.

What is bounded is the map that the layers describe, in real arithmetic, for any finite weights: everything is computed
on the host in float64 with proved allowances.  P_k and T_kj as computed are off by Q_k and S_kj; the lengths of the
rows of |Q_k| + sum_j |S_kj| u_j are at most n_k,

    n_k  =  |W_k| (|C_{k-1}| n_{k-1} + gamma m_{k-1}),    m_k the same sum of P_k and T_kj themselves,

since a product is off by gamma |W| |x| (irob.lipschitz.linear).  So delta_k takes n_k on top, and every norm the
length of diag(.) n.  The centre is off by |W| (gamma |h| + noise) + |b| 4 UNIT, which `chords` is told; norms are
proved in irob.lipschitz.norms; sums of positive numbers are raised by SLACK.  What leaves float64's range is +inf.
"""

import dataclasses
import math

import numpy as np

from irob.core import check, layers
from irob.core.evidence import LipschitzEstimate
from irob.core.progress import progress
from irob.core.types import Generator
from irob.lipschitz.linear import TINY, Linear
from irob.lipschitz.norms import EXPLICIT, SLACK, absolute_norm, lengths, map_norm, norm
from irob.lipschitz.parts import Part, split
from irob.lipschitz.sampling import SMALLEST, codes
from irob.lipschitz.slopes import chords

METHODS = ("best", "local", "product")
FARTHEST = 1e6  # largest radius that is asked for, and the certified radius where nothing moves


def certified(
    generator: Generator, z, y, *, radius: float, method: str = "best", label: str = ""
) -> LipschitzEstimate:
    """An upper bound on the local Lipschitz constant at every code, in the sense of the chords from it.

    Args:
        generator: made of explicit layers (irob.core.layers): dense, convolution, transposed convolution, batch-norm
            in inference, ReLU, leaky ReLU, tanh, clip; sorting only for "product".  Its latent law is one of them.
        z: f[n,d], codes.  y: i[n], their classes, or one class for all.
        radius: of the ball about each code, in latent standard deviations, positive.
        method: "local" as above, "product" of the layers' norms, or the "best" of both.
        label: shown with the progress; an empty one shows nothing.

    Returns:
        LipschitzEstimate with value f[n], side "upper"; 0 where the generator is flat, +inf beyond float64's range.

    Raises:
        InputError: radius out of range, wrong shapes, an unknown method, a layer that the method does not know,
            weights that are not finite.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from irob.generators import affine
    >>> g = affine.build(key=jax.random.key(0), latent_dim=3, singular_values=[3.0, 2.0, 1.0])
    >>> certified(g, jnp.zeros((1, 3)), 0, radius=0.5).value.round(2).tolist()
    [3.0]
    """
    z, y = codes(generator, z, y)
    radius = check.number("radius", radius, low=SMALLEST, high=FARTHEST)
    if method not in METHODS:
        raise check.unknown("method", method, METHODS)
    known = _Classes(generator)
    value = np.asarray([known.constant(a, int(b), radius, method) for a, b in _shown(z, y, label)])
    return LipschitzEstimate(value, z, y, radius, "upper", f"certified, {method}")


def certified_radius(
    generator: Generator, z, y, *, epsilon: float, steps: int = 4, label: str = ""
) -> np.ndarray:
    """The escape radius from below: f[n], a distance within which no image moves by more than epsilon.

    The largest rho that is found with rho L(rho) <= epsilon; the search is on log L over log rho.  At most 1e6, which
    stands for everywhere.

    Args:
        epsilon: l2 distance in image units, positive.  steps: of the search; more come closer to the largest rho.

    Raises:
        InputError: as `certified`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from irob.generators import affine
    >>> g = affine.build(key=jax.random.key(0), latent_dim=3, singular_values=[3.0, 2.0, 1.0])
    >>> certified_radius(g, jnp.zeros((1, 3)), 0, epsilon=6.0).round(2).tolist()
    [2.0]
    """
    z, y = codes(generator, z, y)
    epsilon = check.number("epsilon", epsilon, low=0.0, high=1e6, open_low=True)
    steps = check.integer("steps", steps, low=1)
    known = _Classes(generator)
    return np.asarray([known.radius(a, int(b), epsilon, steps) for a, b in _shown(z, y, label)])


def _shown(z, y, label: str):
    pairs = list(zip(np.asarray(z), np.asarray(y)))
    return progress(pairs, total=len(pairs), label=label) if label else pairs


class _Classes:
    """Parts and products of each class, made when first asked for; classes share the maps that they have in common."""

    def __init__(self, generator: Generator):
        self.generator = generator
        self.made: dict[int, tuple[tuple[Part, ...], float]] = {}
        self.maps: dict[tuple, Linear] = {}

    def of(self, y: int) -> tuple[tuple[Part, ...], float]:
        """(parts, product of norms)."""
        if y not in self.made:
            parts = split(layers.of_generator(self.generator, y), self.generator.latent_dim)
            parts = tuple(dataclasses.replace(p, map=self.maps.setdefault(p.map.name, p.map)) for p in parts)
            self.made[y] = parts, product(parts)
        return self.made[y]

    def constant(self, z: np.ndarray, y: int, radius: float, method: str) -> float:
        parts, whole = self.of(y)
        if method == "product" or (method == "best" and _sorts(parts)):
            return whole
        if _sorts(parts):
            raise check.InputError("layers: got GroupSort, which method 'local' does not know; use method 'product'")
        found = local(parts, z, radius)
        return found if method == "local" else min(found, whole)

    def radius(self, z: np.ndarray, y: int, epsilon: float, steps: int) -> float:
        parts, whole = self.of(y)
        best = _reach(epsilon, whole)
        if _sorts(parts) or best == FARTHEST:
            return best
        rho = _reach(epsilon, local(parts, z, best))  # where L would be if it did not grow
        low, high = best, math.inf
        for _ in range(steps):
            if rho <= best:
                break
            reach = _reach(epsilon, local(parts, z, rho))
            if reach >= rho:  # no image within rho moves by more than epsilon
                low, best = rho, max(best, rho)
            else:
                high = min(high, rho)
                best = max(best, min(reach, rho))  # L(rho) holds within every smaller ball, too
                low = max(low, best)
            if high == math.inf and reach < rho * 1.01:
                break
            rho = reach if high == math.inf else math.sqrt(low * high)
            if rho < low * 1.005:
                break
        return best


def _sorts(parts: tuple[Part, ...]) -> bool:
    return any(isinstance(p.activation, layers.GroupSort) for p in parts)


def _reach(epsilon: float, constant: float) -> float:
    """epsilon / constant rounded down, FARTHEST at most."""
    return epsilon / constant * (1 - SLACK) if constant > epsilon / FARTHEST else FARTHEST


def product(parts: tuple[Part, ...]) -> float:
    """The product of operator norms and of the activations' steepest slopes: it holds for all codes."""
    norms = [n for p in parts for n in (map_norm(p.map), p.stretch)]
    if 0 in norms:
        return 0.0
    # Logarithms neither overflow nor vanish on the way; each is right to 1e-15 of its size.
    log = math.fsum(map(math.log, norms))
    wider = 1e-14 * (1 + math.fsum(abs(math.log(n)) for n in norms))
    return math.exp(log + wider) * (1 + SLACK) + TINY if log < 700 else math.inf


def local(parts: tuple[Part, ...], z: np.ndarray, radius: float) -> float:
    """L as in the head of this file, for one code z: f[d]; +inf where it leaves the range of float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = _local(parts, z, radius)
    return found if found >= 0 else math.inf  # NaN, as of inf - inf


def _local(parts: tuple[Part, ...], z: np.ndarray, radius: float) -> float:
    h = np.asarray(z, np.float64)
    noise = np.zeros_like(h)
    terms = [_Term(np.ones_like(h), 1.0)]  # P_k, and T_kj diag(t_j) of every j
    error, size = np.zeros_like(h), np.ones_like(h)
    for k, part in enumerate(parts):
        a, noise = part.before(h, noise)
        for term in terms:
            term.advance(part.map)
        error = part.map.bound(error + part.map.gamma * size)
        rows = (sum(term.rows() * term.bound for term in terms) + error) * (1 + SLACK)
        delta = radius * rows * (1 + SLACK)
        if not (np.isfinite(delta).all() and np.isfinite(a).all() and np.isfinite(noise).all()):
            return math.inf
        if not rows.any():
            return 0.0  # nothing of z gets through
        low, high = chords(part.activation, a, delta, noise)
        if k == len(parts) - 1:
            return _norm(terms, error, high)
        middle = (low + high) / 2
        off = np.maximum(high - middle, middle - low) * (1 + SLACK)  # 0 where low = high
        live = off > 0
        t = np.where(live, np.sqrt(off * np.maximum(rows / rows.max(), 1e-12)), 0)
        if live.any():
            bound = _norm(terms, error, np.where(live, off / np.where(live, t, 1), 0))
        for term in terms:
            term.slope(middle)
        error, size = error * middle, rows * middle
        if live.any():
            terms.append(_Term(t, bound))
            size = size + t * bound
        h, noise = part.after(a, noise)
    raise AssertionError("unreachable: the last part returns")


def _norm(terms: "list[_Term]", error: np.ndarray, left: np.ndarray) -> float:
    """sum |diag(left) T_kj diag(t_j)| u_j, the error of the computed ones included."""
    return float(sum(term.norm(left) * term.bound for term in terms) + _length(left * error)) * (1 + SLACK)


def _length(v: np.ndarray) -> float:
    return float(lengths(v[:, None])[0])


class _Term:
    """T_kj diag(t_j) of one j as k advances: explicit columns of unstable units if they are few, else the chain itself.

    bound: u_j.  The error of explicit columns is carried by the caller, for all terms at once.
    """

    def __init__(self, t: np.ndarray, bound: float):
        self.t, self.bound = t, bound
        live = np.flatnonzero(t)
        self.explicit = None
        if len(live) <= EXPLICIT:
            self.explicit = np.zeros((len(live), len(t)))
            self.explicit[np.arange(len(live)), live] = t[live]
        self.maps: list[Linear] = []
        self.slopes: list[np.ndarray] = []
        self.above = float(t.max())  # operator norm of what lies behind the newest map, from above

    def advance(self, map: Linear) -> None:
        """Through the linear map of the next part."""
        if self.explicit is not None:
            self.explicit = map.push(self.explicit)
        else:
            self.maps.append(map)

    def slope(self, middle: np.ndarray) -> None:
        """Through its slopes."""
        if self.explicit is not None:
            self.explicit = self.explicit * middle
        else:
            self.above = self.norm(np.ones_like(middle)) * float(np.max(np.abs(middle)))
            self.slopes.append(middle)

    def rows(self) -> np.ndarray:
        """The length of every row of T_kj diag(t_j), from above."""
        if self.explicit is not None:
            return lengths(self.explicit)
        map = self.maps[-1]
        n_out = math.prod(map.shape_out)
        if len(self.maps) > 1 and n_out <= EXPLICIT:
            rows, error = self._pulled(np.ones(n_out))
            return lengths(rows.T) + _length(error)
        # |row| of one map: of the squares of its entries, scaled so that none is lost but to underflow far below.
        most = float(np.abs(map.kernel).max(initial=0))
        squares = map.changed((map.kernel / (most or 1)) ** 2)
        entering = self.t if len(self.maps) == 1 else np.ones(math.prod(map.shape_in))
        scale = float(entering.max()) * most
        found = np.sqrt(squares.bound((entering / entering.max()) ** 2)) * scale
        return found * (1 if len(self.maps) == 1 else self.above) * (1 + SLACK)

    def norm(self, left: np.ndarray) -> float:
        """|diag(left) T_kj diag(t_j)|, from above."""
        if self.explicit is not None:
            return norm(self.explicit * left)
        map = self.maps[-1]
        if math.prod(map.shape_out) <= EXPLICIT:
            rows, error = self._pulled(left)
            return norm(rows) + _length(error)
        right = self.t if len(self.maps) == 1 else np.ones(math.prod(map.shape_in))
        behind = 1.0 if len(self.maps) == 1 else self.above
        plain = map_norm(map) * float(left.max() * right.max())
        return min(absolute_norm(map, left, right), plain) * behind * (1 + SLACK)

    def _pulled(self, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """diag(left) T_kj diag(t_j), row by row, from the output, and bounds of the error of each column's length."""
        rows, error, size = np.diag(left), np.zeros_like(left), left
        for i in reversed(range(len(self.maps))):
            back = self.maps[i].transposed
            rows, error = back.push(rows), back.bound(error + back.gamma * size)
            gain = self.slopes[i - 1] if i else self.t
            rows, error = rows * gain, error * gain * (1 + SLACK)
            size = lengths(rows) + error
        return rows, error
