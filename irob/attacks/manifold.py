"""The attack on the image manifold itself: the nearest misclassified image that the generator draws.

    min_z  |g(z, y) - x|     subject to     max_k!=y f_k(g(z, y)) > f_y(g(z, y))

A start walks along the constraint in the pullback metric J'J + mu I (irob.attacks.search.walk), in which |dz| is the
image distance: uphill in the margin inside the ball, along its surface where that is reached, back by a Gauss-Newton
step where it was overshot.  Every `steps` steps the metric is computed anew at the nearest success.  Start 0 is the
code and climbs the margin; start r > 0 is the code with noise and climbs f_k - f_y for the r-th most likely wrong class
k, so that one class that is near at first does not hide another.

The smallest distance is kept, so one run gives the verdict at every epsilon' <= epsilon:  success & (distance <=
epsilon').  The image is in the box because the generator draws no other.
"""

import jax
import jax.numpy as jnp
import numpy as np

from irob.attacks.referee import margin
from irob.attacks.search.inversion import INITIALISATIONS, InversionPlan, invert, require
from irob.attacks.search.walk import BLOCK, Ground, refreshed
from irob.core.check import InputError, integer, number, unknown
from irob.core.promises import Attack
from irob.core.threat import ImageThreat, ManifoldBall
from irob.core.types import Classifier, Generator, Proposal, value
from irob.math import balls

REACH = 1.5  # a walk looks this much farther than epsilon: a success outside is pulled in by the next walk


@value("initialisation", "walks", "restarts", "inversion_restarts", "inversion_steps", "latent_radius")
class Manifold(Attack):
    """Walks on the image manifold; `build` explains its fields."""

    threat: ManifoldBall
    step_size: jax.Array | float
    damping: jax.Array | float
    noise: jax.Array | float
    initialisation: str
    steps: jax.Array | int
    walks: int
    restarts: int
    inversion_restarts: int
    inversion_steps: int
    latent_radius: float | None

    minimum_norm = True
    copies = BLOCK

    @property
    def needs_codes(self) -> bool:  # type: ignore[override]
        """Whether it starts from the codes: unless the images are inverted."""
        return self.initialisation == "code"

    def require(self, x: np.ndarray, z: np.ndarray | None) -> None:
        """Raises `InputError` unless the codes are there where they are needed."""
        require(self.generator, x, z, inversion=self.initialisation == "inversion")

    def perturb(self, key: jax.Array, classifier: Classifier, x: jax.Array, y: jax.Array, *, z=None) -> Proposal:
        """x: f[H,W,C], y: i[], z: f[d] -> x_adv f[restarts,H,W,C] = g(z_adv, y), z_adv f[restarts,d]."""
        if self.initialisation == "inversion":
            plan = InversionPlan(self.inversion_restarts, self.inversion_steps)
            z = invert(jax.random.fold_in(key, 0), self.generator, x, y, plan)
        clean = classifier(x)
        others = jnp.arange(clean.size) != y
        likely = jnp.argsort(jnp.where(others, -clean, jnp.inf))

        def bounded(z_t):
            return z_t if self.latent_radius is None else balls.project(z_t, self.latent_radius)

        def once(r):
            target = likely[(r - 1) % max(1, clean.size - 1)]

            def goal(image):
                """What the walk climbs, and the margin that decides."""
                logits = classifier(image)
                m = margin(logits, y)
                return jnp.where(r == 0, m, logits[target] - logits[y]), m

            moved = z + jnp.where(r == 0, 0.0, self.noise) * jax.random.normal(jax.random.fold_in(key, r + 1), z.shape)
            ground = Ground(
                lambda z_t: self.generator(bounded(z_t), y), goal, lambda image: self.threat.distance(x, image))
            return refreshed(
                ground, moved, walks=self.walks, origin=margin(clean, y), radius=REACH * self.threat.strength,
                steps=self.steps, step_size=self.step_size, damping=self.damping)[0]

        z_adv = jax.vmap(bounded)(jax.lax.map(once, jnp.arange(self.restarts)))
        return Proposal(jax.vmap(lambda code: self.generator(code, y))(z_adv), z_adv)


def build(
    threat: ImageThreat,
    *,
    generator: Generator | None = None,
    initialisation: str = "code",
    steps: int = 50,
    walks: int = 4,
    restarts: int = 1,
    step_size: float = 0.25,
    damping: float = 0.02,
    noise: float = 0.1,
    inversion_restarts: int = 1,
    inversion_steps: int = 4,
    latent_radius: float | None = None,
) -> Manifold:
    """The attack on the image manifold of a generator.

    Args:
        generator: g(z, y), every stage included.
        initialisation: "code" (the z given to `run`) or "inversion" (of the image, by Gauss-Newton).
        steps: images drawn in one walk.  walks: for each start, each in the metric at the nearest success so far.
        restarts: starts; with more of them the distance can only fall.
        step_size: a walk's first step, as a share of the radius it searches; it falls to a tenth.
        damping: mu as a share of the mean eigenvalue of J'J.
        noise: of starts after the first, in latent standard deviations.
        inversion_restarts, inversion_steps: see `irob.attacks.search.inversion.invert`.
        latent_radius: bound on |z|; None for none.

    Raises:
        InputError: no generator, an unknown name, a number out of range.

    >>> from irob import attacks, generators
    >>> attack = attacks.build("manifold", generator=generators.build("affine", key=jax.random.key(0)))
    >>> attack.minimum_norm, attack.walks
    (True, 4)
    """
    if generator is None:
        raise InputError('generator: got none, wanted one; pass generator=irob.generators.load("acgan_mnist")')
    if initialisation not in INITIALISATIONS:
        raise unknown("initialisation", initialisation, INITIALISATIONS)
    return Manifold(
        threat=ManifoldBall(generator, threat.strength, threat.norm, threat.bounds),
        step_size=number("step_size", step_size, low=0.0, open_low=True),
        damping=number("damping", damping, low=0.0, open_low=True),
        noise=number("noise", noise, low=0.0),
        initialisation=initialisation,
        steps=integer("steps", steps, low=1),
        walks=integer("walks", walks, low=1),
        restarts=integer("restarts", restarts, low=1),
        inversion_restarts=integer("inversion_restarts", inversion_restarts, low=1),
        inversion_steps=integer("inversion_steps", inversion_steps, low=1),
        latent_radius=None if latent_radius is None else number("latent_radius", latent_radius, low=0, open_low=True),
    )
