"""FAB, the fast adaptive boundary attack (Croce and Hein, 2020): a short adversarial step, not a strong one.

At the iterate x_i the margin of a class t is taken as linear, so that its boundary is a hyperplane
{x : m_i + w . (x - x_i) = 0},  m = f_t - f_y,  w = grad m.  With d_i and d_0 the shortest steps onto it from x_i and
from the clean image x_0, within the box and in the norm of the threat set (irob.math.planes),

    a = min(|d_i| / (|d_i| + |d_0|), alpha_max)
    x_{i+1} = clip((1 - a) (x_i + eta d_i) + a (x_0 + eta d_0))

eta > 1 oversteps the boundary, a draws towards the clean image.  A misclassified iterate is kept if it is the nearest
so far, and the next one starts from x_0 + beta (x_{i+1} - x_0), back across the boundary.

So the attack minimises the distance and knows epsilon only as the radius of its random restarts: one run at a large
epsilon gives the verdict at every smaller one, `success & (distance <= e)`.

Untargeted, t is at each step the class whose plane is nearest, which takes K gradients; `fab_t` runs once for each of
the likeliest wrong classes and takes one.

Reference: https://arxiv.org/abs/1907.02044
"""

import jax
import jax.numpy as jnp

from irob.attacks.referee import margin
from irob.attacks.search.ascent import repeat
from irob.core.check import integer, number
from irob.core.promises import Attack
from irob.core.threat import ImageThreat
from irob.core.types import Classifier, Proposal, value
from irob.math.norms import DUAL, norm
from irob.math.planes import step_onto

TINY = 1e-8  # a step of length 0 counts as this long, so that 0 / 0 draws towards the clean image


@value("targets", "restarts")
class FAB(Attack):
    """FAB; `build` explains its fields.

    targets: how many wrong classes are tried one by one, 0 for the untargeted attack.
    """

    threat: ImageThreat
    alpha_max: jax.Array | float
    eta: jax.Array | float
    beta: jax.Array | float
    steps: jax.Array | int
    targets: int
    restarts: int

    minimum_norm = True

    def perturb(self, key: jax.Array, classifier: Classifier, x: jax.Array, y: jax.Array, *, z=None) -> Proposal:
        """x: f[H,W,C], y: i[] -> x_adv f[targets * restarts,H,W,C]; without success a proposal is x itself."""
        likeliest = jnp.argsort(classifier(x).at[y].set(-jnp.inf), descending=True)
        targets = likeliest[: min(self.targets, classifier.num_classes - 1)] if self.targets else jnp.array([-1])
        # Restarts outermost, so that the later ones start within the nearest success of all targets.
        runs = (jnp.repeat(jnp.arange(self.restarts), len(targets)), jnp.tile(targets, self.restarts))

        def one(nearest, run):
            restart, target = run
            stream = jax.random.fold_in(jax.random.fold_in(key, restart), target + 1)
            towards = jax.random.normal(stream, x.shape, x.dtype)
            if self.threat.norm == "linf":
                towards = jax.random.uniform(stream, x.shape, x.dtype, -1.0, 1.0)
            radius = 0.5 * jnp.minimum(nearest, self.threat.strength)
            moved = jnp.clip(x + radius * towards / norm(towards, self.threat.norm), *self.threat.bounds)
            start = jnp.where(restart == 0, x, moved)
            x_adv, distance = self._descend(classifier, x, y, start, target)
            return jnp.minimum(nearest, distance), x_adv

        _, found = jax.lax.scan(one, jnp.asarray(jnp.inf, x.dtype), runs)
        return Proposal(found)

    def _descend(self, classifier, x, y, start, target):
        """One run: (nearest success, its distance), or (x, inf)."""
        order, (low, high) = self.threat.norm, self.threat.bounds

        def onto(point, w, gap):
            d = step_onto(point, w, gap, self.threat.bounds, order)
            return d, jnp.maximum(norm(d, order), TINY)

        def step(_, carry):
            x_i, best, best_distance = carry
            m, w = self._plane(classifier, x_i, y, target)
            (d_i, length_i), (d_0, length_0) = onto(x_i, w, -m), onto(x, w, jnp.sum(w * (x_i - x)) - m)
            a = jnp.minimum(length_i / (length_i + length_0), self.alpha_max)
            x_i = jnp.clip((1 - a) * (x_i + self.eta * d_i) + a * (x + self.eta * d_0), low, high)

            wrong = margin(classifier(x_i), y) > 0
            distance = self.threat.distance(x, x_i)
            better = wrong & (distance < best_distance)
            best, best_distance = jnp.where(better, x_i, best), jnp.where(better, distance, best_distance)
            return jnp.where(wrong, x + self.beta * (x_i - x), x_i), best, best_distance

        begin = (start, x, jnp.asarray(jnp.inf, x.dtype))
        _, best, best_distance = repeat(self.steps, step, begin)
        return best, best_distance

    def _plane(self, classifier, x_i, y, target):
        """m and w = grad m of the target, or of the class whose plane is nearest in the attack's norm."""
        if self.targets:

            def lead(v):
                logits = classifier(v)
                return logits[target] - logits[y]

            return jax.value_and_grad(lead)(x_i)

        def leads(v):
            logits = classifier(v)
            return logits - logits[y], logits - logits[y]

        jacobian, m = jax.jacrev(leads, has_aux=True)(x_i)
        slopes = jax.vmap(lambda w: norm(w, DUAL[self.threat.norm]))(jacobian)
        away = jnp.where(jnp.arange(len(m)) == y, jnp.inf, jnp.abs(m) / (1e-12 + slopes))
        nearest = jnp.argmin(away)
        return m[nearest], jacobian[nearest]


def make(
    threat: ImageThreat, *, steps: int, targets: int, restarts: int, alpha_max: float, eta: float, beta: float
) -> FAB:
    """The checked attack, for `build` here and in `fab_t`."""
    return FAB(
        threat=threat,
        alpha_max=number("alpha_max", alpha_max, low=0.0, high=1.0),
        eta=number("eta", eta, low=1.0),
        beta=number("beta", beta, low=0.0, high=1.0, open_low=True),
        steps=integer("steps", steps, low=1),
        targets=integer("targets", targets),
        restarts=integer("restarts", restarts, low=1),
    )


def build(
    threat: ImageThreat,
    *,
    steps: int = 100,
    restarts: int = 1,
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
) -> FAB:
    """FAB towards the nearest of all wrong classes.

    Args:
        steps: linearisations for each restart, each with the gradients of all logits.
        restarts: the first from the clean image, the others from half of min(nearest success, epsilon) away.
        alpha_max: largest share of the step from the clean image, in [0, 1].
        eta: overstep, at least 1.  beta: way back towards the clean image after a success, in (0, 1].

    Raises:
        InputError: a number out of range.

    >>> from irob import attacks
    >>> attacks.build("fab").minimum_norm
    True
    """
    return make(threat, steps=steps, targets=0, restarts=restarts, alpha_max=alpha_max, eta=eta, beta=beta)
