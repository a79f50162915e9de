"""The known on-manifold attack (Stutz, Hein and Schiele, 2019): a ball about the code, not about the image.

    max_zeta  CE(f(g(z + zeta, y)), y)     subject to     |zeta|_p <= eta,     p = infinity or 2

by Adam ascent on zeta, projected before every evaluation; an example stops at its first misclassified image.  A start
is eta U(0, 1) n / |n|_p with n ~ N(0, I).

The published threat is the latent ball, `LatentBall(generator, eta)`: eta says nothing of how far the image moves.  In
an image threat the attack keeps to a latent ball too, and the referee throws away what is outside
|x_adv - x| <= epsilon, so that its rows stand beside those of other attacks.  With `keep="nearest"` an example goes on
after the first misclassified image and keeps the nearest in the threat's own distance.

It looks for a success, not for the nearest: every strength is a run of its own.

Reference: Stutz, Hein and Schiele, 2019, https://arxiv.org/abs/1812.00740
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob.attacks.referee import margin
from irob.attacks.search.ascent import odds, repeat
from irob.attacks.search.inversion import INITIALISATIONS, InversionPlan, invert, require
from irob.attacks.search.walk import BLOCK, nearer
from irob.core.check import InputError, integer, number, unknown
from irob.core.promises import Attack
from irob.core.threat import LatentBall, ManifoldBall, Threat
from irob.core.types import Classifier, Generator, Proposal, value
from irob.math import balls, norms

LATENT = ("linf", "l2")
KEEP = ("first", "nearest")


@value("latent_norm", "keep", "initialisation", "restarts", "inversion_restarts", "inversion_steps")
class OnManifold(Attack):
    """Adam ascent in a ball of codes; `build` explains its fields.  eta: None where the threat is a latent ball."""

    threat: Threat
    eta: jax.Array | float | None
    learning_rate: jax.Array | float
    latent_norm: str
    keep: str
    initialisation: str
    steps: jax.Array | int
    restarts: int
    inversion_restarts: int
    inversion_steps: int

    threats = (*Attack.threats, LatentBall)

    @property
    def needs_codes(self) -> bool:  # type: ignore[override]
        """Whether it starts from the codes: unless the images are inverted."""
        return self.initialisation == "code"

    @property
    def copies(self) -> int:  # type: ignore[override]
        """Evaluations of the generator at once for one example: an inversion draws columns of the Jacobian."""
        return BLOCK if self.initialisation == "inversion" else 2

    def require(self, x: np.ndarray, z: np.ndarray | None) -> None:
        """Raises `InputError` unless the codes are there where they are needed."""
        require(self.generator, x, z, inversion=self.initialisation == "inversion")

    def perturb(self, key: jax.Array, classifier: Classifier, x: jax.Array, y: jax.Array, *, z=None) -> Proposal:
        """x: f[H,W,C], y: i[], z: f[d] -> x_adv f[restarts,H,W,C] = g(z_adv, y), z_adv f[restarts,d]."""
        if self.initialisation == "inversion":
            plan = InversionPlan(self.inversion_restarts, self.inversion_steps)
            z = invert(jax.random.fold_in(key, 0), self.generator, x, y, plan)
        rule = optax.scale_by_adam()

        eta = self.threat.strength if self.eta is None else self.eta

        def project(zeta):
            return balls.project(zeta, eta, self.latent_norm)

        def climb(zeta):
            image = self.generator(z + zeta, y)
            logits = classifier(image)
            # softplus of the odds is the cross entropy, and unlike it has a gradient where the softmax rounds to 1
            return odds(logits, y), (self.threat.moved(x, z, z + zeta, image), margin(logits, y))

        def look(best, zeta, d, m):
            score = d if self.keep == "nearest" else jnp.where(jnp.isinf(best[1]), 0.0, jnp.inf)
            return nearer(best, zeta, score, m > 0)

        def once(r):
            size, direction = jax.random.split(jax.random.fold_in(key, r + 1))
            n = jax.random.normal(direction, z.shape)
            start = eta * jax.random.uniform(size) * n / norms.norm(n, self.latent_norm)

            def step(_, carry):
                zeta, state, best = carry
                (_, seen), gradient = jax.value_and_grad(climb, has_aux=True)(zeta)
                updates, state = rule.update(gradient, state)
                return project(zeta + self.learning_rate * updates), state, look(best, zeta, *seen)

            first = (start, rule.init(z), (start, jnp.asarray(jnp.inf, z.dtype)))
            last, _, best = repeat(self.steps, step, first)
            best = look(best, last, *climb(last)[1])
            return z + jnp.where(jnp.isinf(best[1]), last, best[0])

        z_adv = jax.lax.map(once, jnp.arange(self.restarts))
        return Proposal(jax.vmap(lambda code: self.generator(code, y))(z_adv), z_adv)


def build(
    threat: Threat,
    *,
    generator: Generator | None = None,
    eta: float | None = None,
    latent_norm: str | None = None,
    steps: int = 40,
    learning_rate: float = 0.005,
    restarts: int = 5,
    keep: str = "first",
    initialisation: str = "code",
    inversion_restarts: int = 1,
    inversion_steps: int = 4,
) -> OnManifold:
    """The attack in a ball of codes; the defaults are the published ones.

    Args:
        threat: the latent ball, or the image threat in which the referee judges.
        generator: g(z, y), every stage included; that of the latent ball if the threat is one.
        eta, latent_norm: of the latent ball in an image threat; by default 0.3 standard deviations and "linf".
        steps, learning_rate: of Adam, for each of `restarts` random starts.
        keep: "first" (misclassified image) or "nearest" (misclassified image to x).
        initialisation: "code" (the z given to `run`) or "inversion" (of the image, by Gauss-Newton).
        inversion_restarts, inversion_steps: see `irob.attacks.search.inversion.invert`.

    Raises:
        InputError: no generator, an unknown name, a number out of range.

    >>> from irob import attacks, generators
    >>> g = generators.build("affine", key=jax.random.key(0))
    >>> attacks.build("on_manifold", generator=g, eta=0.5).latent_norm
    'linf'
    """
    if threat.coded:
        if eta is not None or latent_norm is not None:
            raise InputError("eta: got one beside a latent ball, which has its own; leave out eta and latent_norm")
        if initialisation != "code":
            raise InputError(f'initialisation: got {initialisation!r}, wanted "code": a latent ball is about the code')
        within = threat
        latent_norm = threat.norm
    elif generator is None:
        raise InputError('generator: got none, wanted one; pass generator=irob.generators.load("acgan_mnist")')
    else:
        within = ManifoldBall(generator, threat.strength, threat.norm, threat.bounds)
        eta, latent_norm = number("eta", 0.3 if eta is None else eta, low=0.0), latent_norm or "linf"
    named = (("latent_norm", latent_norm, LATENT), ("keep", keep, KEEP))
    for what, name, choices in (*named, ("initialisation", initialisation, INITIALISATIONS)):
        if name not in choices:
            raise unknown(what, name, choices)
    return OnManifold(
        threat=within,
        eta=eta,
        learning_rate=number("learning_rate", learning_rate, low=0.0, open_low=True),
        latent_norm=latent_norm,
        keep=keep,
        initialisation=initialisation,
        steps=integer("steps", steps, low=1),
        restarts=integer("restarts", restarts, low=1),
        inversion_restarts=integer("inversion_restarts", inversion_restarts, low=1),
        inversion_steps=integer("inversion_steps", inversion_steps, low=1),
    )
