"""The in-distribution attack: adversarial examples that the generator itself draws (paper, section 5.4 and App. B.2).

    min_z  D(g(z, y), x) + lambda * loss(f(g(z, y)), y),       D = |.|_2 or |.|_2^2

by Adam in the latent z, with a search over lambda for each example.  A small lambda stays near x, a large one crosses
the decision boundary; the nearest misclassified iterate that was seen is kept.  So one run gives a *distance*, and
with it the verdict at every smaller epsilon: the success at e <= epsilon is `success & (distance <= e)`.

Three searches (irob.attacks.search.walk, irob.attacks.search.lagrangian):
  "metric"    no lambda: a walk along the constraint in coordinates where the image metric is Euclidean, the default;
  "binary"    steps iterations for each of search_steps values: halve the bracket, or multiply by 10 while failing;
  "adaptive"  one run of steps iterations in which lambda grows by a fixed factor while the iterate is classified
              correctly and shrinks while it is not, so that z slides along the boundary.

Losses (0 once the image is misclassified, or nearly so):
  "margin"    max(f_y - max_k!=y f_k, 0)             (Carlini and Wagner, 2017)
  "ce"        -log Pr[not y] = log(1 + e^-s),  s = log sum_k!=y e^f_k - f_y

Every z is a point of the support of N(0, I_d), far from the origin too, and the definition of in-distribution risk asks
for no more; `latent_radius` bounds |z| where only typical codes shall count (99.9 % of N(0, I_100) have |z| < 12.2).

Reference: Zhang et al., 2020, https://arxiv.org/abs/2003.00378
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.attacks.referee import margin
from irob.attacks.search.ascent import odds
from irob.attacks.search.inversion import INITIALISATIONS, METHODS, InversionPlan, invert, require
from irob.attacks.search.lagrangian import adaptive, binary
from irob.attacks.search.walk import BLOCK, Ground, walk
from irob.core.check import InputError, integer, number, unknown
from irob.core.promises import Attack
from irob.core.threat import ImageThreat, ManifoldBall
from irob.core.types import Classifier, Generator, Proposal, value
from irob.math import balls

TIP = 1e-3  # image units
CHOICES = {
    "search": ("metric", "adaptive", "binary"),
    "loss": ("margin", "ce"),
    "distance": ("l2", "l2_squared"),
    "initialisation": INITIALISATIONS,
    "inversion": METHODS,
}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "default": {
        "search": "metric",
        "loss": "margin",
        "distance": "l2",
        "initialisation": "code",
        "steps": 50,
        "search_steps": 9,
        "learning_rate": None,
        "damping": 0.02,
        "penalty": 1.0,
        "carry": False,
        "abort": False,
        "restarts": 1,
        "noise": 0.3,
        "inversion": "gauss_newton",
        "inversion_restarts": 1,
        "inversion_steps": 4,
        "inversion_learning_rate": 0.1,
    },
    # 3 x 1000 steps of plain gradient descent from random codes (the optimiser is rebuilt at every step, which leaves
    # its momentum without effect), then 4 x 100 steps of Adam, z carried from one lambda to the next.
    "paper": {
        "search": "binary",
        "loss": "margin",
        "distance": "l2_squared",
        "initialisation": "inversion",
        "steps": 100,
        "search_steps": 4,
        "learning_rate": 0.01,
        "damping": 0.02,
        "penalty": 1.0,
        "carry": True,
        "abort": True,
        "restarts": 1,
        "noise": 0.0,
        "inversion": "gradient",
        "inversion_restarts": 3,
        "inversion_steps": 1000,
        "inversion_learning_rate": 1e-3,
    },
}
RATES = {"metric": 0.25, "adaptive": 0.1, "binary": 0.01}
_NUMBERS = ("learning_rate", "damping", "penalty", "noise", "inversion_learning_rate")


@value(
    "search",
    "loss",
    "distance",
    "initialisation",
    "steps",
    "search_steps",
    "carry",
    "abort",
    "restarts",
    "inversion",
    "inversion_restarts",
    "inversion_steps",
    "latent_radius",
    "protocol",
)
class InDistribution(Attack):
    """A search for the nearest misclassified image of a generator; `build` explains its fields."""

    threat: ManifoldBall
    learning_rate: jax.Array | float
    damping: jax.Array | float
    penalty: jax.Array | float
    noise: jax.Array | float
    inversion_learning_rate: jax.Array | float
    search: str
    loss: str
    distance: str
    initialisation: str
    steps: int
    search_steps: int
    carry: bool
    abort: bool
    restarts: int
    inversion: str
    inversion_restarts: int
    inversion_steps: int
    latent_radius: float | None
    protocol: str

    minimum_norm = True

    @property
    def needs_codes(self) -> bool:  # type: ignore[override]
        """Whether it starts from the codes: unless the images are inverted."""
        return self.initialisation == "code"

    @property
    def copies(self) -> int:  # type: ignore[override]
        """Evaluations of the generator at once for one example: columns of the Jacobian are many."""
        return BLOCK if self.search == "metric" else 2

    def require(self, x: np.ndarray, z: np.ndarray | None) -> None:
        """Raises `InputError` unless the codes are there where they are needed and the generator draws such images."""
        require(self.generator, x, z, inversion=self.initialisation == "inversion")

    def perturb(self, key: jax.Array, classifier: Classifier, x: jax.Array, y: jax.Array, *, z=None) -> Proposal:
        """x: f[H,W,C], y: i[], z: f[d] -> x_adv f[restarts,H,W,C] = g(z_adv, y), z_adv f[restarts,d]."""
        if self.initialisation == "inversion":
            plan = InversionPlan(
                self.inversion_restarts, self.inversion_steps, self.inversion, self.inversion_learning_rate)
            z = invert(jax.random.fold_in(key, 0), self.generator, x, y, plan)

        def bounded(z_t):
            return z_t if self.latent_radius is None else balls.project(z_t, self.latent_radius)

        def goal(image):
            """What the walk climbs, and the margin that decides."""
            logits = classifier(image)
            m = margin(logits, y)
            return (m if self.loss == "margin" else odds(logits, y)), m

        def look(z_t):
            """Distance term, loss term, distance, margin, at g(z_t, y)."""
            image = self.generator(bounded(z_t), y)
            logits = classifier(image)
            m = margin(logits, y)
            loss = jnp.maximum(-m, 0.0) if self.loss == "margin" else jax.nn.softplus(-odds(logits, y))
            square = jnp.sum((image - x) ** 2)
            # Rounded at the tip: at z = z_0 the difference is float noise, and the norm's gradient its direction.
            term = square if self.distance == "l2_squared" else jnp.sqrt(square + TIP**2)
            return term, loss, self.threat.distance(x, image), m

        def once(r):
            # The first restart starts from the code itself, so more of them can only help.
            moved = z + jnp.where(r == 0, 0.0, self.noise) * jax.random.normal(jax.random.fold_in(key, r + 1), z.shape)
            if self.search == "metric":
                ground = Ground(
                    lambda z_t: self.generator(bounded(z_t), y), goal, lambda image: self.threat.distance(x, image))
                return walk(
                    ground, moved, radius=self.threat.strength, steps=self.steps, step_size=self.learning_rate,
                    damping=self.damping, origin=margin(classifier(x), y))[0]
            if self.search == "adaptive":
                return adaptive(
                    look, moved, steps=self.steps, learning_rate=self.learning_rate, penalty=self.penalty
                )
            return binary(
                look,
                moved,
                steps=self.steps,
                search_steps=self.search_steps,
                learning_rate=self.learning_rate,
                penalty=self.penalty,
                carry=self.carry,
                abort=self.abort,
            )

        z_adv = jax.vmap(bounded)(jax.lax.map(once, jnp.arange(self.restarts)))
        return Proposal(jax.vmap(lambda code: self.generator(code, y))(z_adv), z_adv)


def build(
    threat: ImageThreat,
    *,
    generator: Generator | None = None,
    protocol: str = "default",
    search: str | None = None,
    loss: str | None = None,
    distance: str | None = None,
    initialisation: str | None = None,
    steps: int | None = None,
    search_steps: int | None = None,
    learning_rate: float | None = None,
    damping: float | None = None,
    penalty: float | None = None,
    carry: bool | None = None,
    abort: bool | None = None,
    restarts: int | None = None,
    noise: float | None = None,
    inversion: str | None = None,
    inversion_restarts: int | None = None,
    inversion_steps: int | None = None,
    inversion_learning_rate: float | None = None,
    latent_radius: float | None = None,
) -> InDistribution:
    """The in-distribution attack on a generator; an option that is None has the value of the protocol.

    Args:
        generator: g(z, y), every stage included.
        protocol: "default", or "paper" for the published procedure.
        search: "metric", "adaptive" or "binary".
        loss: "margin" or "ce".  distance: "l2" or "l2_squared" (of the two searches over lambda).
        initialisation: "code" (the z given to `run`) or "inversion" (of the image).
        steps: of the walk, or of Adam for each lambda.  search_steps: values of lambda ("binary" only).
        learning_rate: first step of the walk, as a share of the radius (0.25); or Adam's rate, in latent standard
            deviations ("adaptive" 0.1, "binary" 0.01).
        damping: of the walk's metric, as a share of its mean eigenvalue.  penalty: the first lambda.
        carry: go on from the last z at the next lambda, instead of from the start ("binary" only).
        abort: stop an example whose objective no longer falls ("binary" only).
        restarts: from the code plus noise * N(0, I), the first without noise.
        inversion, inversion_restarts, inversion_steps, inversion_learning_rate: see `invert`.
        latent_radius: bound on |z|; None for none.

    Raises:
        InputError: no generator, an unknown name, a number out of range.
    """
    given = dict(locals())
    if generator is None:
        raise InputError('generator: got none, wanted one; pass generator=irob.generators.load("acgan_mnist")')
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    o = {k: v if given[k] is None else given[k] for k, v in PROTOCOLS[protocol].items()}
    for name, choices in CHOICES.items():
        if o[name] not in choices:
            raise unknown(name, o[name], choices)
    for name in ("steps", "search_steps", "restarts", "inversion_restarts", "inversion_steps"):
        o[name] = integer(name, o[name], low=1)
    if o["learning_rate"] is None:
        o["learning_rate"] = RATES[o["search"]]
    if latent_radius is not None:
        latent_radius = number("latent_radius", latent_radius, low=0.0, open_low=True)
    for name in _NUMBERS:
        o[name] = number(name, o[name], low=0.0, open_low=name != "noise")
    within = ManifoldBall(generator, threat.strength, threat.norm, threat.bounds)
    return InDistribution(threat=within, protocol=protocol, latent_radius=latent_radius, **o)
