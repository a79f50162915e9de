"""Attacks: build one by name, run it over many examples, let the referee judge.

    attack = build("pgd", LpBall("l2", 3.0), steps=100)
    result = run(attack, key, classifier, x, y)          # AttackResult(x_adv, z_adv, success, distance)

An attack is a frozen pytree with `threat`, `generator` (or None), `needs_generator` and
`perturb(key, classifier, x, y, *, z=None) -> Proposal` for one example, with a leading axis of restarts.
Adding one is adding a file with `build(threat, **options)`; the file's name is its name.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np

from irob.attacks import referee
from irob.core import batch, check, compile, keys, memory, mesh, registry
from irob.core.threat import LpBall
from irob.core.types import AttackResult, Classifier

__all__ = ["build", "names", "run"]


def names() -> tuple[str, ...]:
    """The attacks there are.

    >>> "pgd" in names()
    True
    """
    return registry.names("irob.attacks")


def build(name: str, threat: LpBall | None = None, **options):
    """The attack `name` on a threat set, by default the l2 ball of radius 3.

    Raises:
        InputError: unknown attack or option (the nearest is suggested), or a value out of range.

    >>> build("pgd", LpBall("linf", 0.3), steps=40).steps
    40
    """
    make = registry.module("irob.attacks", name, kind="attack").build
    known = [p for p in inspect.signature(make).parameters if p != "threat"]
    for option in options:
        if option not in known:
            raise check.unknown(f"option of attack {name!r}", option, known)
    return make(LpBall("l2", 3.0) if threat is None else threat.validate(), **options)


def run(
    attack, key, classifier: Classifier, x, y, z=None, *, chunk: int | None = None, label: str = ""
) -> AttackResult:
    """Attacks every example and judges the outcome, in chunks, under float32 matrix products.

    One compiled program serves all chunks, restarts, radii, and classifiers of equal structure.  Example i has the
    key fold_in(key, i), so the result does not depend on `chunk`.

    Args:
        attack: from `build`.
        key: typed key.
        classifier: logits of one image.
        x: f[n,H,W,C] in [0,1].  y: i[n] in [0, num_classes).
        z: f[n,d], the codes of x, for attacks in the latent space that start from them.
        chunk: examples at a time; 128 on the CPU, 1024 for each device elsewhere; fewer where they do not fit.
            Memory grows with it, not with n.
        label: shown with the progress; an empty one shows nothing.

    Returns:
        AttackResult of numpy arrays.  success: misclassified within the threat set, naturally wrong points included.
        distance: of x_adv from x; among successes the smallest that was found (0 where naturally wrong).

    Raises:
        InputError: wrong shapes, pixels outside [0,1], labels out of range, missing codes, NaN logits.
    """
    keys.require(key)
    attack.threat.validate()
    check.images(x, y, num_classes=classifier.num_classes)
    x, y = np.asarray(x, np.float32), np.asarray(y, np.int32)
    if len(y) == 0:
        raise check.InputError("images: got none, wanted at least one")
    if classifier.image_shape is not None and x.shape[1:] != tuple(classifier.image_shape):
        raise check.InputError(f"images: got {x.shape[1:]}, the classifier wants {tuple(classifier.image_shape)}")
    if z is not None:
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or len(z) != len(x):
            raise check.InputError(f"codes z: got shape {z.shape}, wanted ({len(x)}, latent_dim)")
    if hasattr(attack, "require"):
        attack.require(x, z)
    if chunk is None:
        chunk = 128 if jax.default_backend() == "cpu" else 1024 * mesh.count()
    chunk = check.integer("chunk", chunk, low=1)
    if attack.needs_generator:
        chunk = memory.fitting(attack.generator, chunk, gradient=True, copies=attack.copies)
    # Every number becomes a float32 array, so that 3, 3.0 and a NumPy scalar share one program.
    number = (int, float, np.number)
    attack = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32) if isinstance(a, number) else a, attack)
    attack, classifier = mesh.everywhere((attack, classifier))  # weights move once, not once a chunk

    with jax.default_matmul_precision("float32"):
        result, finite = batch.stream(
            lambda index, x, y, z: _chunk(key, attack, classifier, index, x, y, z), x, y, z, chunk=chunk, label=label
        )
    if not finite.all():
        first = int(np.argmin(finite))
        raise check.InputError(f"logits: got NaN or infinity on clean image {first}, wanted finite numbers")
    return result


@compile.jit
def _chunk(key, attack, classifier, index, x, y, z):
    """Attack and judge the examples of one chunk.  index: i[c]."""

    def one(key, x, y, z):
        proposal = attack.perturb(key, classifier, x, y, z=z)
        return referee.judge(classifier, attack.threat, x, y, proposal, z, attack.generator)

    return jax.vmap(one)(keys.for_examples(key, index), x, y, z)
