"""The smallest radius at which Theorem 4.3 may be used: r L(r) = epsilon.

The theorem speaks of error sets that grow by epsilon / L(r), which must not exceed r.  The true L(r) grows with r, and
so does r L(r); the smallest r with r L(r) >= epsilon gives the smallest L(r), that is the best bound.  With sampled or
maximised constants the crossing is that of their monotone envelope, max over r' <= r of L(r').

Any value of L, at whatever radius, limits the crossing r* from both sides, since L grows:

    r large enough:  epsilon / L(r) <= epsilon / L(r*) = r* <= r;
    r too small:     r < r* = epsilon / L(r*) <= epsilon / L(r).

The Jacobian's L(0) starts from above.  On a nearly affine generator a step or two close the gap.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from irob.core.batch import Work
from irob.core.check import InputError, number
from irob.core.types import Generator
from irob.lipschitz.maximising import maximised
from irob.lipschitz.quantiles import quantile
from irob.lipschitz.sampling import SMALLEST


@dataclasses.dataclass(frozen=True)
class AutoRadius:
    """The smallest radius that was found.

    radius: with radius * constant >= epsilon.  constant: L there.  tried: pairs (r, L(r)) of all that was tried.
    """

    radius: float
    constant: float
    epsilon: float
    tried: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class RadiusPlan:
    """How the smallest radius is looked for.

    delta, confidence: of the quantile of the constants, in (0, 1).
    tolerance: relative, of the radius.
    steps, restarts: as in `maximised`.
    """

    delta: float = 0.001
    confidence: float = 0.95
    tolerance: float = 0.01
    steps: int = 30
    restarts: int = 4


def smallest_radius(
    constant: Callable[[float], float], epsilon: float, *, start: float, tolerance: float = 0.01, most: int = 12
) -> AutoRadius:
    """Solves r L(r) = epsilon for the monotone envelope of `constant`, from above.

    Args:
        constant: r -> L(r), positive; each call may be expensive.
        epsilon: in image units, positive.
        start: a radius that is thought to be large enough; it is doubled while it is not.
        tolerance: relative, of the radius.
        most: calls of `constant` at most.

    Returns:
        AutoRadius, whose radius satisfies the proviso for the constants as found.

    Raises:
        InputError: no radius satisfies the proviso within `most` calls.

    >>> found = smallest_radius(lambda r: 4.0 + r, 3.0, start=0.75)
    >>> 3.0 <= found.radius * found.constant < 3.05, len(found.tried) < 6
    (True, True)
    """
    epsilon, start = number("epsilon", epsilon, low=0.0, open_low=True), number("start", start, low=0.0, open_low=True)
    tried: dict[float, float] = {}

    def envelope(r: float) -> float:
        if r not in tried:
            tried[r] = float(constant(r))
        return max(v for s, v in tried.items() if s <= r)

    low, high = 0.0, start
    while high * envelope(high) < epsilon:
        if len(tried) >= most:
            raise InputError(f"radius: got r L(r) = {high * envelope(high):g} at r = {high:g}, wanted at least "
                             f"epsilon = {epsilon:g}; take a smaller epsilon")
        low, high = high, 2 * high
    low = max(low, epsilon / envelope(high))
    while high - low > tolerance * high and len(tried) < most - 1:
        middle = (low + high) / 2
        limit = epsilon / envelope(middle)
        low, high = (max(low, limit), middle) if limit <= middle else (middle, min(high, limit))
    return AutoRadius(high, envelope(high), epsilon, tuple(sorted(tried.items())))


def auto_radius(
    key: jax.Array,
    generator: Generator,
    z,
    y,
    *,
    epsilon: float,
    constants: Callable[[float], np.ndarray] | None = None,
    plan: RadiusPlan = RadiusPlan(),
    work: Work = Work(),
) -> AutoRadius:
    """The smallest r with r L(r) >= epsilon for the constants of these codes, as a rule those of one class.

    L(r) is the order statistic of the codes' constants that covers their (1 - delta)-quantile with the confidence, the
    largest where they are few.

    Args:
        key: typed key.
        generator, z, y: as in `maximised`; a hundred codes will do.
        epsilon: in image units, positive.
        constants: r -> f[n], another estimate of the codes' constants, such as `certified`; `maximised` by default.
        plan: which quantile, and how exactly.
        work: as in `maximised`.

    Raises:
        InputError: as in `maximised`; a generator on which r L(r) does not reach epsilon.

    >>> from irob.generators import affine
    >>> g = affine.build(key=jax.random.key(0), latent_dim=3, singular_values=[3.0, 2.0, 1.0])
    >>> found = auto_radius(jax.random.key(1), g, np.zeros((2, 3)), 0, epsilon=1.5)
    >>> round(found.radius, 3), round(found.constant, 3)
    (0.5, 3.0)
    """
    epsilon = number("epsilon", epsilon, low=0.0, high=1e6, open_low=True)

    def quantile_of(found: np.ndarray) -> float:
        return quantile(found, 1 - plan.delta, plan.confidence)[0]

    def climbed(r: float) -> np.ndarray:
        return maximised(
            key, generator, z, y, radius=r, steps=plan.steps, restarts=plan.restarts, work=work).value

    # restarts = 0 leaves the Jacobian at the codes, which no radius enters.
    quiet = dataclasses.replace(work, label="")
    at_codes = quantile_of(maximised(key, generator, z, y, radius=1.0, steps=plan.steps, restarts=0, work=quiet).value)
    if not at_codes > 0:
        raise InputError("generator: got Jacobians that are 0 at the codes, wanted one that moves; radius='auto' "
                         "needs it, so pass a radius")
    return smallest_radius(lambda r: quantile_of((constants or climbed)(r)), epsilon,
                           start=max(epsilon / at_codes, SMALLEST), tolerance=plan.tolerance)
