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

Real arithmetic is bounded: sums are taken in float32, and every norm is raised by 1e-4, a hundred times their error.
"""

import math

import jax.numpy as jnp
import numpy as np

from irob.core import check, layers
from irob.core.evidence import LipschitzEstimate
from irob.core.progress import progress
from irob.core.types import Generator
from irob.lipschitz import parts as chain
from irob.lipschitz.parts import EXPLICIT, MARGIN, Part, norm
from irob.lipschitz.sampling import SMALLEST, codes
from irob.lipschitz.slopes import chords, steepest

METHODS = ("best", "local", "product")


def certified(
    generator: Generator, z, y, *, radius: float, method: str = "best", label: str = ""
) -> LipschitzEstimate:
    """An upper bound on the local Lipschitz constant at every code, in the sense of the chords from it.

    Args:
        generator: made of explicit layers (irob.core.layers): dense, convolution, transposed convolution, batch-norm
            in inference, ReLU, leaky ReLU, tanh, clip; sorting only for "product".
        z: f[n,d], codes.  y: i[n], their classes, or one class for all.
        radius: of the ball about each code, in latent standard deviations, positive.
        method: "local" as above, "product" of the layers' norms, or the "best" of both.
        label: shown with the progress; an empty one shows nothing.

    Returns:
        LipschitzEstimate with value f[n], side "upper".

    Raises:
        InputError: radius out of range, wrong shapes, an unknown method, a layer that the method does not know.

    >>> import jax
    >>> from irob.generators import affine
    >>> g = affine.build(key=jax.random.key(0), latent_dim=3, singular_values=[3.0, 2.0, 1.0])
    >>> certified(g, jnp.zeros((1, 3)), 0, radius=0.5).value.round(2).tolist()
    [3.0]
    """
    z, y = codes(generator, z, y)
    radius = check.number("radius", radius, low=SMALLEST, high=1e6)
    if method not in METHODS:
        raise check.unknown("method", method, METHODS)
    known = _Classes(generator)
    value = np.asarray([known.constant(a, int(b), radius, method) for a, b in _shown(z, y, label)])
    return LipschitzEstimate(value, z, y, radius, "upper", f"certified, {method}")


def certified_radius(
    generator: Generator, z, y, *, epsilon: float, steps: int = 4, label: str = ""
) -> np.ndarray:
    """The escape radius from below: f[n], a distance within which no image moves by more than epsilon.

    The largest rho that is found with rho L(rho) <= epsilon; the search is on log L over log rho.

    Args:
        epsilon: l2 distance in image units, positive.  steps: of the search; more come closer to the largest rho.

    Raises:
        InputError: as `certified`.

    >>> import jax
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
    """Parts and products of each class, made when first asked for."""

    def __init__(self, generator: Generator):
        self.generator = generator
        self.made: dict[int, tuple[tuple[Part, ...] | None, float, Exception | None]] = {}

    def of(self, y: int) -> tuple[tuple[Part, ...] | None, float, Exception | None]:
        """(parts or None, product of norms, why there are no parts)."""
        if y not in self.made:
            given = layers.of_generator(self.generator, y)
            sorting = any(isinstance(layer, layers.GroupSort) for layer in given)
            plain = tuple(layer for layer in given if not isinstance(layer, layers.GroupSort))
            parts = chain.split(plain, self.generator.latent_dim)
            why = check.InputError("layers: got GroupSort, which method 'local' does not know; use method 'product'")
            self.made[y] = (None if sorting else parts, product(parts), why if sorting else None)
        return self.made[y]

    def constant(self, z: np.ndarray, y: int, radius: float, method: str) -> float:
        parts, whole, why = self.of(y)
        if method == "product" or (parts is None and method == "best"):
            return whole
        if parts is None:
            raise why or AssertionError("unreachable: where there are no parts, there is a reason")
        found = local(parts, z, radius)
        return found if method == "local" else min(found, whole)

    def radius(self, z: np.ndarray, y: int, epsilon: float, steps: int) -> float:
        parts, whole, _ = self.of(y)
        best = epsilon / max(whole, 1e-6 * epsilon)
        if parts is None:
            return best
        rho = epsilon / local(parts, z, best)  # where L would be if it did not grow
        low, high = best, math.inf
        for _ in range(steps):
            reach = min(epsilon / local(parts, z, rho), 1e6)
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


def product(parts: tuple[Part, ...]) -> float:
    """The product of operator norms and steepest slopes: it holds for all codes."""
    return math.prod(chain.part_norm(p) * steepest(p.activation) for p in parts)


def local(parts: tuple[Part, ...], z: np.ndarray, radius: float) -> float:
    """L as in the head of this file, for one code z: f[d]."""
    h = np.asarray(z, np.float32)
    reach = np.eye(len(h), dtype=np.float32)  # rows: P_k of the latent basis
    rests: list[_Rest] = []
    for k, part in enumerate(parts):
        a = part.push(h[None])[0] + part.bias
        reach = part.push(reach)
        for rest in rests:
            rest.advance(part)
        rows = _lengths(reach) + sum(rest.rows() * rest.bound for rest in rests)
        delta = radius * rows * (1 + MARGIN)
        low, high = chords(part.activation, a, delta)
        if k == len(parts) - 1:
            return norm(reach * high) + sum(rest.norm(high, last=True) * rest.bound for rest in rests)
        middle, error = (low + high) / 2, np.maximum(high - low, 0) / 2
        live = error > 0
        if live.any():
            t = np.sqrt(error * np.maximum(rows, 1e-12))
            weight = np.where(live, error / np.where(live, t, 1), 0).astype(np.float32)
            bound = norm(reach * weight) + sum(rest.norm(weight) * rest.bound for rest in rests)
        reach = reach * middle
        for rest in rests:
            rest.slope(middle)
        if live.any():
            rests.append(_Rest(np.where(live, t, 0).astype(np.float32), bound))
        h = np.asarray(part.activation(jnp.asarray(a.reshape(part.shape_out))) if part.activation else a).ravel()
    raise AssertionError("unreachable: the last part returns")


def _lengths(rows: np.ndarray) -> np.ndarray:
    """Euclidean length of each column."""
    return np.sqrt(np.einsum("ij,ij->j", rows, rows))


class _Rest:
    """T_kj diag(t_j) of one j as k advances: explicit columns of unstable units if they are few, else the chain itself.

    bound: u_j.
    """

    def __init__(self, t: np.ndarray, bound: float):
        self.t, self.bound = t, bound
        live = np.flatnonzero(t)
        self.explicit = None
        if len(live) <= EXPLICIT:
            self.explicit = np.zeros((len(live), len(t)), np.float32)
            self.explicit[np.arange(len(live)), live] = t[live]
        self.parts: list[Part] = []
        self.slopes: list[np.ndarray] = []
        self.above = float(t.max())  # operator norm of what lies behind the newest part, from above

    def advance(self, part: Part) -> None:
        """Through the linear map of the next part."""
        if self.explicit is not None:
            self.explicit = part.push(self.explicit)
        else:
            self.parts.append(part)

    def slope(self, middle: np.ndarray) -> None:
        """Through its slopes."""
        if self.explicit is not None:
            self.explicit = self.explicit * middle
        else:
            ones = np.ones(self.parts[-1].size, np.float32)
            self.above = self.norm(ones) * float(np.max(np.abs(middle)))
            self.slopes.append(middle.astype(np.float32))

    def rows(self) -> np.ndarray:
        """The length of every row of T_kj diag(t_j), from above."""
        if self.explicit is not None:
            return _lengths(self.explicit)
        part = self.parts[-1]
        if len(self.parts) == 1:
            return np.sqrt(np.maximum(part.squared().push((self.t**2)[None])[0], 0))
        if part.size <= EXPLICIT:
            return _lengths(self._pulled(np.ones(part.size, np.float32)).T)
        return np.sqrt(np.maximum(part.squared().push(np.ones((1, math.prod(part.shape_in)), np.float32))[0], 0)
                       ) * self.above

    def norm(self, left: np.ndarray, last: bool = False) -> float:
        """|diag(left) T_kj diag(t_j)|, from above."""
        if self.explicit is not None:
            return norm(self.explicit * left)
        part = self.parts[-1]
        if part.size <= EXPLICIT:
            return norm(self._pulled(left))
        right = self.t if len(self.parts) == 1 else np.ones(math.prod(part.shape_in), np.float32)
        behind = 1.0 if len(self.parts) == 1 else self.above
        plain = chain.part_norm(part) * float(left.max() * right.max())
        return min(chain.absolute_norm(part, left, right), plain) * behind

    def _pulled(self, left: np.ndarray) -> np.ndarray:
        """diag(left) T_kj diag(t_j), row by row, from the output."""
        rows = np.diag(left).astype(np.float32)
        for i in reversed(range(len(self.parts))):
            rows = self.parts[i].pull(rows)
            if i:
                rows = rows * self.slopes[i - 1]
        return rows * self.t
