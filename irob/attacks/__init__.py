"""Attacks: build one by name, run it over many examples, let the referee judge.

    attack = build("pgd", LpBall("l2", 3.0), steps=100)
    result = run(attack, key, classifier, x, y)          # AttackResult(x_adv, z_adv, success, distance)

An attack is an `irob.core.promises.Attack` for one example, or an `Ensemble` of several.  Adding one is adding a file
with `build(threat, **options)`, whose name is the attack's; one that stands elsewhere has the name package.module:build
or path/to/file.py:build.
"""

import dataclasses
import inspect

import jax
import numpy as np

from irob.attacks import program
from irob.core import batch, check, drawing, keys, memory, mesh, registry
from irob.core.batch import Work
from irob.core.promises import Attack, Ensemble
from irob.core.threat import LpBall, Threat
from irob.core.types import AttackResult, Classifier

__all__ = ["build", "names", "run", "takes"]


def names() -> tuple[str, ...]:
    """The attacks there are.

    >>> "pgd" in names()
    True
    """
    return registry.names("irob.attacks")


def takes(name: str) -> list[str]:
    """The options of an attack, `generator` among them if it attacks in the latent space.

    >>> "generator" in takes("in_distribution"), "generator" in takes("pgd")
    (True, False)
    """
    make = registry.factory("irob.attacks", name, kind="attack")
    return [p for p in inspect.signature(make).parameters if p != "threat"]


def build(name: str, threat: Threat | None = None, **options) -> Attack | Ensemble:
    """The attack `name` on a threat set, by default the l2 ball of radius 3.

    name: registered, or package.module:build or path/to/file.py:build for one of your own.

    Raises:
        InputError: unknown attack or option (the nearest is suggested), a value out of range, a threat or a norm that
            the attack is not for, or what is built is no attack.

    >>> build("pgd", LpBall("linf", 0.3), steps=40).steps
    40
    """
    known = takes(name)
    for option in options:
        if option not in known:
            raise check.unknown(f"option of attack {name!r}", option, known)
    make = registry.factory("irob.attacks", name, kind="attack")
    threat = LpBall("l2", 3.0) if threat is None else threat
    check.instance("threat", threat, Threat, "LpBall('l2', 3.0)")
    threat.validate()
    with registry.failing(name, kind="attack"):
        attack = make(threat, **options)
    require(attack, name)
    attack.meets(threat, f"attack {name!r}")
    return attack


def require(attack, name: str = "") -> None:
    """Raises `InputError` unless this is an attack or an ensemble."""
    if not isinstance(attack, Attack | Ensemble):
        what = f"attack {name!r}" if name else "attack"
        raise check.InputError(f"{what}: got {type(attack).__name__}, wanted an Attack or Ensemble of "
                               "irob.core.promises")


def run(
    attack: Attack | Ensemble, key, classifier: Classifier, x, y, z=None, *, work: Work = Work(), state=None
) -> AttackResult:
    """Attacks every example and judges the outcome, in chunks, under float32 matrix products.

    One compiled program serves all chunks, restarts, radii, and classifiers of equal structure.  Example i has the
    key fold_in(key, i), so the result does not depend on chunks.

    Args:
        attack: from `build`.
        key: typed key.
        classifier: logits of one image.
        x: f[n,H,W,C] in [0,1]; what is outside by no more than float noise (1e-6) is clipped.
        y: i[n] in [0, num_classes).
        z: f[n,d], the codes of x, for attacks in the latent space that start from them: x must be g(z, y) up to the
            rounding of 8-bit or half-precision images.
        work: its chunk is examples at a time, by default 128 on the CPU, 1024 for each device elsewhere, and fewer
            where they do not fit; memory grows with it, not with n.
        state: a file in which an ensemble keeps what is finished, so that a run that was killed goes on from there.

    Returns:
        AttackResult of numpy arrays.  success: misclassified within the threat set, naturally wrong points included.
        distance: of x_adv from x in the unit of the threat's strength; among successes the smallest that was found (0
            where naturally wrong).
        broken_by: of an ensemble, the index into `attack.names`, -1 where it is robust.

    Raises:
        InputError: wrong shapes, pixels outside [0,1], labels out of range, codes that are missing, not finite or of
            other images, a generator whose images are in another box than the threat's, too few classes, logits of
            the wrong shape or NaN, a state file of another run or for an attack that has no parts.
    """
    keys.require(key)
    require(attack)
    attack.threat.validate()
    check.instance("classifier", classifier, Classifier, "classifiers.load(NAME) or classifiers.wrap(MODEL)")
    check.images(x, y, num_classes=classifier.num_classes)
    x, y = np.clip(np.asarray(x, np.float32), 0.0, 1.0), np.asarray(y, np.int32)
    if len(y) == 0:
        raise check.InputError("images: got none, wanted at least one")
    if classifier.image_shape is not None and x.shape[1:] != tuple(classifier.image_shape):
        raise check.InputError(f"images: got {x.shape[1:]}, the classifier wants {tuple(classifier.image_shape)}")
    if z is not None:
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or len(z) != len(x):
            raise check.InputError(f"codes z: got shape {z.shape}, wanted ({len(x)}, latent_dim)")
        check.finite("codes z", z)
    attack.require(x, z)
    program.logits(classifier, x.shape[1:])
    if classifier.num_classes < attack.least_classes:
        got, least = classifier.num_classes, attack.least_classes
        raise check.InputError(f"classes: got {got}, the loss wants at least {least}; take apgd_ce or autoattack")
    chunk = work.chunk or (128 if jax.default_backend() == "cpu" else 1024 * mesh.count())
    if attack.needs_generator:
        chunk = memory.fitting(attack.generator, chunk, gradient=True, copies=attack.copies)
    attack, classifier = mesh.everywhere((program.numbers(attack), classifier))  # weights move once, not once a chunk

    if attack.needs_generator and z is not None and attack.needs_codes:
        drawing.belong(attack.generator, x, y, z, chunk=chunk)
    elif attack.needs_generator:
        drawing.scaled(attack.generator, attack.threat.bounds, boxless=False)

    with jax.default_matmul_precision("float32"):
        if isinstance(attack, Ensemble):
            return attack.run(key, classifier, x, y, z, work=dataclasses.replace(work, chunk=chunk), state=state)
        if state is not None:
            raise check.InputError("state: got a file for a single attack, wanted none; only an ensemble resumes")

        def one(index, x, y, z):
            result, finite = program.chunk(key, attack, classifier, index, x, y, z)
            program.finite(finite, index)
            return result

        return batch.stream(one, x, y, z, chunk=chunk, label=work.label, start=work.start)
