"""The referee: an attack proposes, this file judges.

For one example and its proposals [r, ...]:
  1. the clean point is a candidate too, at distance 0: a naturally wrong point counts as not robust;
  2. an image is projected onto the threat set again; an in-distribution proposal is judged by its own image
     g(z_adv, y), recomputed here, and is never projected, which would leave the manifold: it is in the ball or out;
  3. what is NaN, outside the ball or outside the box is thrown away;
  4. predictions are recomputed; success is argmax f(x_adv) != y;
  5. of the successes the nearest wins; without one, the candidate with the largest margin max_k!=y f_k - f_y.
"""

import jax
import jax.numpy as jnp

from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.core.types import AttackResult, Classifier, Generator, Proposal


def margin(logits: jax.Array, y: jax.Array) -> jax.Array:
    """max_{k != y} f_k - f_y: positive where misclassified.  logits: f[K], y: i[].

    >>> float(margin(jnp.array([1.0, 4.0, 2.0]), 1))
    -2.0
    """
    others = jnp.where(jnp.arange(logits.shape[-1]) == y, -jnp.inf, logits)
    return jnp.max(others) - logits[y]


def judge(
    classifier: Classifier,
    threat: LpBall,
    x: jax.Array,
    y: jax.Array,
    proposal: Proposal,
    z: jax.Array | None = None,
    generator: Generator | None = None,
) -> tuple[AttackResult, jax.Array]:
    """The verdict on one example.

    Args:
        x: f[H,W,C] in [0,1], the clean image.  y: i[], its label.
        proposal: x_adv f[r,H,W,C], and z_adv f[r,d] if the attack moves in the latent space.
        z: f[d], the code of x, returned as z_adv where the clean point wins.
        generator: with it, images are recomputed as g(z_adv, y).

    Returns:
        The result, and whether the classifier's logits were finite at the clean point.
    """
    z_adv = proposal.z_adv
    if generator is not None and z_adv is not None:
        images = jax.vmap(lambda code: generator(code, y))(z_adv)
    else:
        images = jax.vmap(lambda x_adv: threat.project(x, x_adv))(proposal.x_adv)
    sane = jax.vmap(lambda x_adv: threat.contains(x, x_adv) & jnp.all(jnp.isfinite(x_adv)))(images)
    images = jnp.where(sane.reshape(-1, *[1] * x.ndim), images, x)
    candidates = jnp.concatenate([x[None], images])
    sane = jnp.concatenate([jnp.ones(1, bool), sane])

    logits = jax.vmap(classifier)(candidates)
    if logits.shape[1:] != (classifier.num_classes,):
        wanted = f"({classifier.num_classes},)"
        raise InputError(f"logits: got shape {logits.shape[1:]} for one image, wanted {wanted}; check num_classes")
    finite = jnp.all(jnp.isfinite(logits), axis=1)
    wrong = (jnp.argmax(logits, axis=1) != y) & sane & finite
    distances = jax.vmap(lambda c: threat.distance(x, c))(candidates)
    margins = jnp.where(sane & finite, jax.vmap(lambda f: margin(f, y))(logits), -jnp.inf)
    best = jnp.where(jnp.any(wrong), jnp.argmin(jnp.where(wrong, distances, jnp.inf)), jnp.argmax(margins))

    code = None
    if generator is not None and z_adv is not None:
        # The clean image has a code only if the caller knows it: otherwise NaN says that there is none.
        home = jnp.full(z_adv.shape[1:], jnp.nan, z_adv.dtype) if z is None else z
        code = jnp.concatenate([home[None], jnp.where(sane[1:, None], z_adv, home)])[best]
    return AttackResult(candidates[best], code, jnp.any(wrong), distances[best]), finite[0]
