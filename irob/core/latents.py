"""The law of a generator's codes, as a value: how a standard normal code becomes one of them.

Isoperimetry speaks of Gaussian codes.  Every product law is the image of one, coordinate by coordinate,

    u = F^-1(Phi(z)),    z ~ N(0, I),

so the map is taken as the first part of the generator: irob's codes are standard normal everywhere, radii are in
latent standard deviations, and a Lipschitz constant is that of g(F^-1(Phi(.)), y).  The maps here are odd about 0 up
to a constant and steepest there:

    Normal       u = mean + deviation z                     slope deviation
    Uniform      u = low + (high - low) Phi(z)              slope (high - low) phi(z), at most (high - low) / sqrt(2 pi)
    Truncated    Phi(u) = Phi(-c) + (1 - 2 Phi(-c)) Phi(z)  slope (1 - 2 Phi(-c)) phi(z) / phi(u), which falls with |z|
"""

import abc
import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from irob.core.check import InputError, number

if TYPE_CHECKING:
    import jax

ROOT = math.sqrt(2 * math.pi)
CLOSE = 1e-12  # rounding of `exact` and `slope`; erf and its kin are right to a few units of 1e-16
FAR = 8.0  # the truncation beyond which nothing is cut off that float32 could tell


@dataclasses.dataclass(frozen=True)
class Law(abc.ABC):
    """A law of codes whose coordinates are independent and alike, each an increasing map of a standard normal one."""

    @abc.abstractmethod
    def __call__(self, z: "jax.Array") -> "jax.Array":
        """Standard normal codes f[...] as codes of this law."""

    @abc.abstractmethod
    def exact(self, z) -> np.ndarray:
        """The same in float64 on the host, up to CLOSE of the larger of 1 and its bounds."""

    @abc.abstractmethod
    def slope(self, z) -> np.ndarray:
        """The derivative f[...] of `exact`, up to CLOSE of its size; it never grows with |z|."""

    @abc.abstractmethod
    def gaussian(self, u) -> np.ndarray:
        """The standard normal codes f[...] of codes of this law: the inverse."""

    @property
    def known(self) -> bool:
        """Whether it is the image of a standard normal law by the map that stands here."""
        return True

    @property
    def standard(self) -> bool:
        """Whether the map is the identity."""
        return False

    @property
    def steepest(self) -> float:
        """The Lipschitz constant of the map, rounded up: its slope at 0."""
        return float(self.slope(0.0)) * (1 + CLOSE)

    def record(self) -> dict[str, Any]:
        """What `law` makes it of again, for JSON."""
        return {"law": type(self).__name__.lower(), **vars(self)}


def _finite(given: "Law", name: str, v: float) -> None:
    if not math.isfinite(v):
        raise InputError(f"{name}: got {v:g}, wanted a finite number")
    object.__setattr__(given, name, v)


@dataclasses.dataclass(frozen=True)
class Normal(Law):
    """Independent normal coordinates.

    >>> Normal(1.0, 2.0)(np.ones(2)).tolist(), Normal().standard
    ([3.0, 3.0], True)
    """

    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self):
        _finite(self, "mean", number("mean", self.mean))
        _finite(self, "deviation", number("deviation", self.deviation, low=0.0, open_low=True))

    @property
    def standard(self) -> bool:
        return (self.mean, self.deviation) == (0.0, 1.0)

    def __call__(self, z):
        return z if self.standard else self.mean + self.deviation * z

    def exact(self, z):
        return self.mean + self.deviation * np.asarray(z, np.float64)

    def slope(self, z):
        return np.full(np.shape(z), self.deviation)

    def gaussian(self, u):
        return (np.asarray(u, np.float64) - self.mean) / self.deviation


@dataclasses.dataclass(frozen=True)
class Uniform(Law):
    """Independent coordinates, uniform on [low, high].

    >>> Uniform(-1.0, 3.0)(np.zeros(1)).tolist(), round(float(Uniform(0.0, 1.0).slope(0.0)), 4)
    ([1.0], 0.3989)
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        _finite(self, "low", number("low", self.low))
        _finite(self, "high", number("high", self.high, low=self.low, open_low=True))

    def __call__(self, z):
        import jax  # here, so that `import irob.bounds` need not wait for it

        return self.low + (self.high - self.low) * jax.scipy.special.ndtr(z)

    def exact(self, z):
        return self.low + (self.high - self.low) * special.ndtr(np.asarray(z, np.float64))

    def slope(self, z):
        return (self.high - self.low) * np.exp(-np.square(np.asarray(z, np.float64)) / 2) / ROOT

    def gaussian(self, u):
        return special.ndtri((np.asarray(u, np.float64) - self.low) / (self.high - self.low))


@dataclasses.dataclass(frozen=True)
class Truncated(Law):
    """Independent standard normal coordinates, given that each lies in [-c, c].

    >>> u = Truncated(2.0)(np.array([-30.0, 0.0, 30.0]))
    >>> u.round(4).tolist()
    [-2.0, 0.0, 2.0]
    """

    c: float = 2.0

    def __post_init__(self):
        _finite(self, "c", number("c", self.c, low=0.0, high=FAR, open_low=True))

    @property
    def tail(self) -> float:
        """Phi(-c)."""
        return float(special.ndtr(-self.c))

    @property
    def kept(self) -> float:
        """1 - 2 Phi(-c)."""
        return float(special.erf(self.c / math.sqrt(2)))

    def __call__(self, z):
        import jax
        import jax.numpy as jnp

        below = jax.scipy.special.ndtri(self.tail + self.kept * jax.scipy.special.ndtr(-jnp.abs(z)))
        # Both tails are small numbers, and the slope at 0 is that of either side.
        return jnp.where(z == 0, self.kept * z, -jnp.sign(z) * below)

    def exact(self, z):
        z = np.asarray(z, np.float64)
        return -np.sign(z) * special.ndtri(self.tail + self.kept * special.ndtr(-np.abs(z)))

    def slope(self, z):
        return self.kept * np.exp((np.square(self.exact(z)) - np.square(np.asarray(z, np.float64))) / 2)

    def gaussian(self, u):
        u = np.asarray(u, np.float64)
        return -np.sign(u) * special.ndtri((special.ndtr(-np.abs(u)) - self.tail) / self.kept)


@dataclasses.dataclass(frozen=True)
class Unknown(Law):
    """A law that is known by its name alone: no map makes it of a normal one, and no bound speaks of it.

    >>> Unknown("sphere").known
    False
    """

    name: str

    @property
    def known(self) -> bool:
        return False

    def __call__(self, z):
        return z

    def exact(self, z):
        raise InputError(f"latent codes: got the law {self.name!r}, of which nothing can be certified")

    slope = gaussian = exact


STANDARD = Normal()


def law(given: "Law | str | dict") -> Law:
    """A law by value, by what `record` says, or by name: "normal" is the standard one, others are unknown ones.

    Raises:
        InputError: a record of no law.

    >>> law("normal") == Normal(), law(Uniform(0.0, 2.0).record()), law("sphere")
    (True, Uniform(low=0.0, high=2.0), Unknown(name='sphere'))
    """
    if isinstance(given, Law):
        return given
    if isinstance(given, str):
        return STANDARD if given == "normal" else Unknown(given)
    kinds = {kind.__name__.lower(): kind for kind in (Normal, Uniform, Truncated, Unknown)}
    options = dict(given)
    try:
        return kinds[options.pop("law")](**options)
    except (KeyError, TypeError):
        raise InputError(f"latent: got {given}, wanted a law: {', '.join(kinds)}") from None


def require(latent: Law) -> None:
    """Raises `InputError` unless codes of this law can be drawn."""
    if not latent.known:
        raise InputError(f"generator: got the latent law {latent}, wanted one that is made of a normal "
                         "code: Normal(), Uniform(low, high) or Truncated(c)")
