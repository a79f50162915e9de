"""The threat set: what an adversary may do to an image.  Attack and certificate share the one object.

    B(x) = { x' in [low, high]^D : |x' - x|_p <= epsilon },   epsilon in image units ([0, 1] pixels)

Everything here is for one example, without a batch axis: vmap it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.check import InputError, number, unknown
from irob.core.types import value
from irob.math import balls, norms


@value("norm", "bounds")
class LpBall:
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

    def __post_init__(self):
        if self.norm not in norms.NORMS:
            raise unknown("norm", self.norm, norms.NORMS)
        low, high = (float(b) for b in self.bounds)
        if not low < high:
            raise InputError(f"bounds: got ({low:g}, {high:g}), wanted lowest < highest pixel")
        object.__setattr__(self, "bounds", (low, high))
        # Leaves pass through here as tracers and placeholders too: only a number of the user's is judged.
        if isinstance(self.epsilon, int | float | str | np.number):
            self.validate()

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

    def contains(self, x: jax.Array, x_adv: jax.Array, tolerance: float = 1e-5) -> jax.Array:
        """Whether x_adv is in the ball and in the box, up to float noise; NaN is in neither."""
        low, high = self.bounds
        in_box = jnp.all((x_adv >= low - tolerance) & (x_adv <= high + tolerance))
        return in_box & (self.distance(x, x_adv) <= self.epsilon + tolerance)

    def normalise(self, gradient: jax.Array) -> jax.Array:
        """The direction of steepest ascent: |d| <= 1 that maximises d . gradient; 0 where the gradient is 0."""
        return norms.steepest(gradient, self.norm)
