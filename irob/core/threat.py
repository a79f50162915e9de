"""The threat: what an adversary may do to an image.  Attacks, referee, certificates and rows share the one value.

    LpBall          x' in [low, high]^D with |x' - x|_p <= epsilon
    ManifoldBall    those of them that a generator draws:  x' = g(z', y)
    LatentBall      x' = g(z', y) with |z' - z|_p <= eta, z the code of x

What the adversary chooses is a move: an image, or a code.  `render` shows it, `moved` says how far it goes in the unit
of the strength.  Everything here is for one example, without a batch axis: vmap it.
"""

import abc
import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.check import InputError, number, unknown
from irob.core.types import Generator, Proposal, value
from irob.math import balls, norms

SLACK = 1e-5  # that is granted to float noise, in the unit of the strength and of pixels


@dataclasses.dataclass(frozen=True)
class ThreatRecord:
    """What rows and files keep of a threat: no generator, no box; equal by value.

    >>> str(ThreatRecord("l2", 3.0, "l2"))
    'l2 3'
    """

    name: str
    strength: float
    norm: str

    @classmethod
    def lp(cls, norm: str, epsilon: float) -> "ThreatRecord":
        """That of a ball of radius epsilon about an image, checked.

        >>> ThreatRecord.lp("l2", 1.0) == LpBall("l2", 1.0).record()
        True
        """
        return LpBall(norm, float(epsilon)).record()

    def __str__(self) -> str:
        return f"{self.name} {self.strength:g}"


class Threat(abc.ABC):
    """A set of moves about an image, with a strength that is a leaf: one compiled program serves every strength.

    norm: in which moves are measured.  bounds: lowest and highest pixel.
    """

    norm: str
    bounds: tuple[float, float]

    nested: bool = False
    """Every move of a smaller strength is one of a larger: what broke an image breaks it at every larger strength."""

    coded: bool = False
    """Moves are codes of a generator, which is then the threat's `generator`."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The kind of threat, without its strength; the first word of a row's threat."""

    @property
    @abc.abstractmethod
    def strength(self) -> jax.Array | float:
        """How far a move may go."""

    @abc.abstractmethod
    def at(self, strength: jax.Array | float) -> Self:
        """This threat at another strength."""

    def record(self) -> ThreatRecord:
        """What rows and files keep of it."""
        return ThreatRecord(self.name, float(self.strength), self.norm)

    @abc.abstractmethod
    def moves(self, proposal: Proposal) -> jax.Array:
        """The moves of a proposal, with its leading axis of restarts."""

    @abc.abstractmethod
    def render(self, x: jax.Array, y: jax.Array, move: jax.Array) -> jax.Array:
        """The image of a move."""

    @abc.abstractmethod
    def moved(self, x: jax.Array, z: jax.Array | None, move: jax.Array, image: jax.Array) -> jax.Array:
        """How far a move goes from x, whose code is z, in the unit of the strength.  image: what `render` made."""

    @abc.abstractmethod
    def home(self, x: jax.Array, z: jax.Array | None) -> jax.Array:
        """The move that changes nothing."""

    def code(self, move: jax.Array) -> jax.Array | None:
        """The code of a move, where moves are codes."""
        return None

    def allows(self, move: jax.Array, image: jax.Array, far: jax.Array, tolerance: float = SLACK) -> jax.Array:
        """Whether a move is within the strength and its image in the box, up to float noise; NaN is in neither."""
        low, high = self.bounds
        in_box = jnp.all((image >= low - tolerance) & (image <= high + tolerance))
        return in_box & (far <= self.strength + tolerance)

    def validate(self) -> Self:
        """Raises `InputError` unless the strength is one number >= 0; for the edge, where no tracer comes."""
        number("strength", self.strength, low=0.0)
        return self

    def __str__(self) -> str:
        """Name and strength, as rows say it.

        >>> str(LpBall("l2", 3.0))
        'l2 3'
        """
        return str(self.record())


def _checked(threat: Any, field: str) -> None:
    """Checks the static fields, and the strength if it is a number; "Linf" becomes "linf", "8/255" a number."""
    if isinstance(threat, CodeThreat) and isinstance(threat.generator, Generator):
        threat.generator.alike(f"the threat {threat.name}")
    object.__setattr__(threat, "norm", norms.named(threat.norm))
    if threat.norm not in norms.NORMS:
        raise unknown("norm", threat.norm, norms.NORMS)
    low, high = (float(b) for b in threat.bounds)
    if not low < high:
        raise InputError(f"bounds: got ({low:g}, {high:g}), wanted lowest < highest pixel")
    object.__setattr__(threat, "bounds", (low, high))
    # Leaves pass through here as tracers and placeholders too: only a number of the user's is judged.
    strength = vars(threat)[field]
    if isinstance(strength, str):
        strength = number(field, strength)
        object.__setattr__(threat, field, strength)
    if isinstance(strength, int | float | np.number):
        threat.validate()


class ImageThreat(Threat):
    """A threat whose moves are images, with the geometry that a search among images needs."""

    @abc.abstractmethod
    def project(self, x: jax.Array, x_adv: jax.Array) -> jax.Array:
        """An image of the threat and of the box near x_adv."""

    @abc.abstractmethod
    def sample(self, key: jax.Array, x: jax.Array) -> jax.Array:
        """A random image of the threat and of the box."""

    @abc.abstractmethod
    def distance(self, x: jax.Array, x_adv: jax.Array) -> jax.Array:
        """How far x_adv is from x, in the unit of the strength."""

    @abc.abstractmethod
    def normalise(self, gradient: jax.Array) -> jax.Array:
        """The step of length 1 that climbs a gradient most steeply."""

    def moves(self, proposal: Proposal) -> jax.Array:
        """Images."""
        return proposal.x_adv

    def home(self, x: jax.Array, z: jax.Array | None) -> jax.Array:
        """The image itself."""
        return x

    def render(self, x: jax.Array, y: jax.Array, move: jax.Array) -> jax.Array:
        """The image, brought back into threat and box."""
        return self.project(x, move)

    def moved(self, x: jax.Array, z: jax.Array | None, move: jax.Array, image: jax.Array) -> jax.Array:
        """The distance of the image."""
        return self.distance(x, image)

    def contains(self, x: jax.Array, x_adv: jax.Array, tolerance: float = SLACK) -> jax.Array:
        """Whether x_adv is in the threat and in the box, up to float noise; NaN is in neither."""
        return self.allows(x_adv, x_adv, self.distance(x, x_adv), tolerance)


@value("norm", "bounds")
class LpBall(ImageThreat):
    """An lp ball within the box of images.

    Args:
        norm: "l1", "l2" or "linf" (static).
        epsilon: radius in image units, at least 0; a leaf, so that one compiled program serves every radius
            and `vmap` over it gives a whole curve.
        bounds: lowest and highest pixel (static).

    Raises:
        InputError: unknown norm; epsilon negative or NaN; bounds out of order.

    >>> ball = LpBall("l2", 1.0)
    >>> x, x_adv = jnp.array([0.5, 0.5]), jnp.array([3.5, 4.5])
    >>> ball.project(x, x_adv).tolist()
    [1.0, 1.0]
    >>> float(ball.distance(x, x_adv))
    5.0
    """

    norm: str = "l2"
    epsilon: jax.Array | float = 3.0
    bounds: tuple[float, float] = (0.0, 1.0)

    nested = True

    def __post_init__(self):
        _checked(self, "epsilon")

    @property
    def name(self) -> str:
        """The norm."""
        return self.norm

    @property
    def strength(self) -> jax.Array | float:
        """epsilon, in image units."""
        return self.epsilon

    def at(self, strength: jax.Array | float) -> "LpBall":
        """The ball of another radius.

        >>> LpBall("linf", 0.3).at(0.1).epsilon
        0.1
        """
        return dataclasses.replace(self, epsilon=strength)

    def validate(self) -> "LpBall":
        """Raises `InputError` unless epsilon is one number >= 0; for the edge, where no tracer comes."""
        number("epsilon", self.epsilon, low=0.0)
        return self

    def project(self, x: jax.Array, x_adv: jax.Array) -> jax.Array:
        """Onto the ball about x, then onto the box, as the field does.

        The result is in both: x is in the box, and clipping towards the box shortens every coordinate of x_adv - x.
        """
        return jnp.clip(x + balls.project(x_adv - x, self.epsilon, self.norm), *self.bounds)

    def sample(self, key: jax.Array, x: jax.Array) -> jax.Array:
        """A uniform draw from the ball about x, clipped to the box."""
        return self.project(x, x + balls.sample(key, x.shape, self.epsilon, self.norm))

    def distance(self, x: jax.Array, x_adv: jax.Array) -> jax.Array:
        """|x_adv - x| in this ball's norm."""
        return norms.norm(x_adv - x, self.norm)

    def normalise(self, gradient: jax.Array) -> jax.Array:
        """The direction of steepest ascent: |d| <= 1 that maximises d . gradient; 0 where the gradient is 0."""
        return norms.steepest(gradient, self.norm)


class CodeThreat(Threat):
    """A threat whose moves are codes: the adversary shows only what the generator draws.  y stays that of x."""

    generator: Generator

    coded = True

    def moves(self, proposal: Proposal) -> jax.Array:
        """Codes.

        Raises:
            InputError: a proposal without them.
        """
        if proposal.z_adv is None:
            raise InputError(f"proposal: got images alone, the threat {self.name} wants codes")
        return proposal.z_adv

    def home(self, x: jax.Array, z: jax.Array | None) -> jax.Array:
        """The code of x; where the caller does not know it, NaN says that there is none."""
        return jnp.full(self.generator.latent_dim, jnp.nan) if z is None else z

    def code(self, move: jax.Array) -> jax.Array:
        """The move itself."""
        return move

    def render(self, x: jax.Array, y: jax.Array, move: jax.Array) -> jax.Array:
        """g(z', y); it is never projected, which would leave the manifold."""
        return self.generator(move, y)


@value("norm", "bounds")
class ManifoldBall(CodeThreat):
    """The images within epsilon that a generator draws.

    Args:
        generator: g(z, y), every stage included.
        epsilon: radius in image units; a leaf.  norm, bounds: as of `LpBall`.
    """

    generator: Generator
    epsilon: jax.Array | float = 3.0
    norm: str = "l2"
    bounds: tuple[float, float] = (0.0, 1.0)

    nested = True

    def __post_init__(self):
        _checked(self, "epsilon")

    @property
    def ball(self) -> LpBall:
        """The ball of all images within epsilon."""
        return LpBall(self.norm, self.epsilon, self.bounds)

    @property
    def name(self) -> str:
        """"manifold" and the norm of images."""
        return f"manifold {self.norm}"

    @property
    def strength(self) -> jax.Array | float:
        """epsilon, in image units."""
        return self.epsilon

    def at(self, strength: jax.Array | float) -> "ManifoldBall":
        """The part of another ball."""
        return dataclasses.replace(self, epsilon=strength)

    def moved(self, x: jax.Array, z: jax.Array | None, move: jax.Array, image: jax.Array) -> jax.Array:
        """|g(z', y) - x|."""
        return self.distance(x, image)

    def distance(self, x: jax.Array, x_adv: jax.Array) -> jax.Array:
        """|x_adv - x| of images."""
        return norms.norm(x_adv - x, self.norm)

    def project(self, x: jax.Array, x_adv: jax.Array) -> jax.Array:
        """The nearest image of the ball, which need not be one that the generator draws."""
        return self.ball.project(x, x_adv)


@value("norm", "bounds")
class LatentBall(CodeThreat):
    """The images of codes near that of x (Stutz, Hein and Schiele, 2019); how far the image moves is not asked.

    Args:
        generator: g(z, y), every stage included.
        eta: radius in latent standard deviations, at least 0; a leaf.
        norm: of codes, "linf" or "l2" (static).  bounds: lowest and highest pixel (static).

    >>> line = Generator((), lambda v, z, y: z.reshape(1, 1, 2), 2, 1, (1, 1, 2))
    >>> str(LatentBall(line, 0.3)), LatentBall(line, 0.3).at(0.1).eta
    ('latent linf 0.3', 0.1)
    """

    generator: Generator
    eta: jax.Array | float = 0.3
    norm: str = "linf"
    bounds: tuple[float, float] = (0.0, 1.0)

    nested = True

    def __post_init__(self):
        _checked(self, "eta")

    @property
    def name(self) -> str:
        """The norm of codes."""
        return f"latent {self.norm}"

    @property
    def strength(self) -> jax.Array | float:
        """eta, in latent standard deviations."""
        return self.eta

    def at(self, strength: jax.Array | float) -> "LatentBall":
        """The ball of another radius."""
        return dataclasses.replace(self, eta=strength)

    def validate(self) -> "LatentBall":
        """Raises `InputError` unless eta is one number >= 0."""
        number("eta", self.eta, low=0.0)
        return self

    def moved(self, x: jax.Array, z: jax.Array | None, move: jax.Array, image: jax.Array) -> jax.Array:
        """|z' - z|.

        Raises:
            InputError: the code of x is not known.
        """
        if z is None:
            raise InputError(f"codes z: got none, the threat {self.name} is a ball about the code of x")
        return norms.norm(move - z, self.norm)
