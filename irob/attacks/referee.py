"""The referee: an attack proposes, this file judges.

For one example and its proposals [r, ...]:
  1. the clean point is a candidate too, at distance 0: a naturally wrong point counts as not robust;
  2. images are rendered here, by the threat: in a ball an image is projected onto it again; a code is judged by its
     own image g(z_adv, y), which is never projected, for that would leave the manifold: it is in the threat or out;
  3. what is NaN, outside the threat or outside the box is thrown away;
  4. predictions are recomputed; success is argmax f(x_adv) != y;
  5. of the successes the nearest wins; without one, the candidate with the largest margin max_k!=y f_k - f_y.
"""

import jax
import jax.numpy as jnp

from irob.core.check import InputError
from irob.core.threat import Threat
from irob.core.types import AttackResult, Classifier, Proposal


def margin(logits: jax.Array, y: jax.Array) -> jax.Array:
    """max_{k != y} f_k - f_y: positive where misclassified.  logits: f[K], y: i[].

    >>> float(margin(jnp.array([1.0, 4.0, 2.0]), 1))
    -2.0
    """
    others = jnp.where(jnp.arange(logits.shape[-1]) == y, -jnp.inf, logits)
    return jnp.max(others) - logits[y]


def judge(
    classifier: Classifier,
    threat: Threat,
    x: jax.Array,
    y: jax.Array,
    proposal: Proposal,
    z: jax.Array | None = None,
) -> tuple[AttackResult, jax.Array]:
    """The verdict on one example.

    Args:
        x: f[H,W,C] in [0,1], the clean image.  y: i[], its label.
        proposal: x_adv f[r,H,W,C], and z_adv f[r,d] if the attack moves in the latent space.
        z: f[d], the code of x, returned as z_adv where the clean point wins.

    Returns:
        The result, with a distance in the unit of the threat's strength, and whether the classifier's logits were
        finite at the clean point.
    """

    def moved(move, image):
        return threat.moved(x, z, move, image)

    def sound(move, image):
        return threat.allows(move, image, moved(move, image)) & jnp.all(jnp.isfinite(image))

    moves = threat.moves(proposal)
    images = jax.vmap(lambda move: threat.render(x, y, move))(moves)
    sane = jax.vmap(sound)(moves, images)
    # What is thrown away becomes the clean point, which is the first candidate.
    home = threat.home(x, z)
    images = jnp.where(sane.reshape(-1, *[1] * x.ndim), images, x)
    candidates = jnp.concatenate([x[None], images])
    chosen = jnp.concatenate([home[None], jnp.where(sane.reshape(-1, *[1] * home.ndim), moves, home)])
    sane = jnp.concatenate([jnp.ones(1, bool), sane])

    logits = jax.vmap(classifier)(candidates)
    if logits.shape[1:] != (classifier.num_classes,):
        wanted = f"({classifier.num_classes},)"
        raise InputError(f"logits: got shape {logits.shape[1:]} for one image, wanted {wanted}; check num_classes")
    finite = jnp.all(jnp.isfinite(logits), axis=1)
    wrong = (jnp.argmax(logits, axis=1) != y) & sane & finite
    distances = jax.vmap(moved)(chosen, candidates)
    margins = jnp.where(sane & finite, jax.vmap(lambda f: margin(f, y))(logits), -jnp.inf)
    best = jnp.where(jnp.any(wrong), jnp.argmin(jnp.where(wrong, distances, jnp.inf)), jnp.argmax(margins))
    return AttackResult(candidates[best], threat.code(chosen[best]), jnp.any(wrong), distances[best]), finite[0]
