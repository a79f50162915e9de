"""One chunk of examples, attacked and judged: the program that single attacks and ensembles share."""

import jax
import jax.numpy as jnp
import numpy as np

from irob.attacks import referee
from irob.core import check, compile, keys
from irob.core.types import AttackResult, Classifier


def numbers(attack):
    """Every number becomes a float32 array, so that 3, 3.0 and a NumPy scalar share one program."""
    number = (int, float, np.number)
    return jax.tree.map(lambda a: np.asarray(a, np.float32) if isinstance(a, number) else a, attack)


@compile.jit
def chunk(key, attack, classifier, index, x, y, z) -> tuple[AttackResult, jax.Array]:
    """Attack and judge the examples of one chunk, index: i[c]; and whether their clean logits are finite."""

    def one(key, x, y, z):
        proposal = attack.perturb(key, classifier, x, y, z=z)
        return referee.judge(classifier, attack.threat, x, y, proposal, z)

    return jax.vmap(one)(keys.for_examples(key, index), x, y, z)


@compile.jit
def look(classifier, x, y) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Misclassified bool[c], margin f[c], finite bool[c]; as the referee sees them."""

    def one(x, y):
        logits = classifier(x)
        finite = jnp.all(jnp.isfinite(logits))
        return (jnp.argmax(logits) != y) & finite, jnp.where(finite, referee.margin(logits, y), -jnp.inf), finite

    return jax.vmap(one)(x, y)


@compile.jit
def outputs(classifier, x) -> jax.Array:
    """Logits f[c,K] of a chunk of images."""
    return jax.vmap(classifier)(x)


@compile.jit
def _logits(classifier, x):
    return classifier(x)


def logits(classifier: Classifier, image_shape: tuple[int, ...]) -> None:
    """Raises `InputError` unless one image gives one logit a class; nothing is computed."""
    # The jitted function remembers what it traced, so that a further call with an equal model costs nothing.
    got = _logits.compiled().eval_shape(classifier, jax.ShapeDtypeStruct(image_shape, jnp.float32))
    if not isinstance(got, jax.ShapeDtypeStruct) or got.shape != (classifier.num_classes,):
        said = f"shape {got.shape}" if isinstance(got, jax.ShapeDtypeStruct) else type(got).__name__
        raise check.InputError(
            f"logits: got {said} for one image, wanted ({classifier.num_classes},); check num_classes")
    if not jnp.issubdtype(got.dtype, jnp.floating):
        raise check.InputError(f"logits: got type {got.dtype}, wanted floating point")


def finite(flags, index) -> None:
    """Raises `InputError` at the first example whose clean logits are not finite."""
    flags = np.asarray(flags)
    if not flags.all():
        first = int(np.asarray(index)[np.argmin(flags)])
        what = f"got NaN or infinity on clean image {first}, wanted finite numbers"
        raise check.InputError(f"logits: {what}; check the classifier's weights")
