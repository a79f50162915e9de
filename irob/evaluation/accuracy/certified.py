"""Certificates beside attacks on the same examples: certified <= true <= attacked, example by example.

A certifier that walks layers speaks of the classifier itself, and is held against the attacks on it.  Smoothing speaks
of the smoothed classifier g(x) = argmax_k Pr[f(x + sigma xi) = k], which is another one: its rows carry another name,
and the attack that stands beside them is one on g.  That attack climbs a surrogate with gradients
(`smoothing.smoothed`), and what it finds counts only if PREDICT, on noise of its own, says that g errs there.

Certificates of smoothing are wrong with a small probability, and so is PREDICT.  Of n examples that both speak of,
no more may contradict each other than `allowed`; a certificate without noise may not be contradicted once.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from irob import attacks, certify
from irob.certify import smoothing
from irob.core import keys, layers, registry
from irob.core.batch import Work
from irob.core.check import InputError, integer
from irob.core.laws import EvidenceError
from irob.core.promises import LayerCertifier, ModelCertifier
from irob.core.rows import CertifiedAccuracy, Curve, Detail, Natural, Number, Robust, Row
from irob.core.store import fingerprint
from irob.core.threat import Threat
from irob.core.types import Classifier, Dataset
from irob.evaluation.accuracy import attacked

SMOOTHING = "smoothing"
BEYOND = 1.25  # of the largest epsilon: how far radii are searched
CHANCE = 1e-6  # of a report with more contradictions than are allowed, if every confidence is what it says
COPIES = 32  # noisy copies in the surrogate that is attacked
TOGETHER = 16  # examples whose copies are attacked at a time


@dataclasses.dataclass(frozen=True)
class CertifierPlan:
    """A certifier with its options, for `certify.build`.

    chunk: examples (smoothing: noisy copies) at a time.  curve: search the largest certified radius of every example
    too, by bisection, at the cost of a dozen certificates; smoothing finds it anyway.
    """

    certifier: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    chunk: int | None = None
    curve: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one certifier proved, and what the attacks left of the same classifier.

    certified, robust: bool[epsilons, n].  radius: f[n] of the certificates that have one.  model: whose they are.
    """

    plan: CertifierPlan
    model: str
    certified: np.ndarray
    robust: np.ndarray
    radius: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class _Job:
    """What every certifier and attack of one evaluation shares."""

    key: jax.Array
    classifier: Classifier
    on: attacked.Evaluation
    attack: attacked.AttackPlan

    def identity(self, plan: CertifierPlan) -> dict[str, Any]:
        """What a certificate depends on, for `Pieces`."""
        return {"certifier": plan.certifier, "code": registry.source(plan.certifier, kind="certifier"),
                "options": plan.options, "norm": self.on.threat.norm,
                "module": self.classifier.name, "classifier": fingerprint(self.classifier.variables),
                "data": fingerprint((self.on.data.x, self.on.data.y))}

    def row(self, model: str, detail: Detail, kept: np.ndarray, method: str, epsilon: float | None = None) -> Row:
        """The row of an accuracy.  kept: bool[n], which images were answered rightly."""
        number = Number(float(kept.mean()), *attacked.interval(int(kept.sum()), len(kept)), len(kept))
        where = None if epsilon is None else self.on.threat.at(epsilon).record()
        return detail.row(self.on.data.name, model, where, number, method)


def evaluate(
    key: jax.Array, classifier: Classifier, plans: Sequence[CertifierPlan], on: attacked.Evaluation, *,
    attack: attacked.AttackPlan | None = None, beside: np.ndarray | None = None,
) -> tuple[list[Row], list[Outcome]]:
    """Rows: natural, attacked and certified accuracy of the classifier, and of the smoothed one if that is asked for.

    Args:
        key: typed key of attacks and of smoothing's noise.
        on: all of its images are attacked and certified, at epsilons above 0, in one trial.
        attack: what stands beside the certificates; PGD by default.  Its `samples` is not looked at.
        beside: bool[epsilons, n], what attacks on the classifier left, where they have been run already; then none is
            run and their rows are not given again.

    Raises:
        InputError: no plan, no radius, a radius not above 0; what a certifier or an attack says of its input.
        EvidenceError: an example that is certified and fooled within the same ball.
    """
    keys.require(key)
    if not len(on.epsilons) or not plans:
        raise InputError("certify: got no epsilon or no certifier, wanted at least one of each")
    data, count = on.data, integer("images", len(on.data), low=1)
    if not on.radii[0] > 0:
        raise InputError(f"epsilon: got {on.radii[0]:g}, wanted numbers above 0")
    attack = dataclasses.replace(attack or attacked.AttackPlan("pgd", count), samples=count)
    on = dataclasses.replace(on, name=on.name or classifier.name, trials=1, threat=on.threat.at(on.radii[0]))
    job, threat = _Job(key, classifier, on, attack), on.threat
    built = [build(p, keys.named(key, SMOOTHING)) for p in plans]
    for certifier in built:  # what cannot be certified is said before any work
        examine(certifier, classifier, data, threat)
    attacks.build(attack.attack, threat.at(on.radii[-1]), **attack.options)
    rows: list[Row] = []
    outcomes: list[Outcome] = []
    if beside is None and not all(isinstance(c, smoothing.Smoothing) for c in built):
        rows, (found,) = attacked.evaluate(
            keys.named(key, "attack"), classifier, [attack],
            dataclasses.replace(on, section=f"{on.section}-attack"))
        beside = found.robust[0]
    for p, certifier in zip(plans, built):
        if isinstance(certifier, smoothing.Smoothing):
            more, outcome = _smoothed(job, p, certifier)
        else:
            assert beside is not None
            more, outcome = _walked(job, p, certifier, beside)
        rows += more
        outcomes.append(outcome)
    return rows, outcomes


def build(plan: CertifierPlan, key: jax.Array) -> LayerCertifier | ModelCertifier:
    """The certifier of a plan; one that draws random numbers gets the key."""
    given = {"key": key} if "key" in certify.takes(plan.certifier) else {}
    return certify.build(plan.certifier, **plan.options, **given)


def examine(certifier: LayerCertifier | ModelCertifier, classifier: Classifier, data: Dataset, threat: Threat) -> None:
    """Raises `InputError` where the certifier cannot take this classifier or threat; tries it on one example."""
    if isinstance(certifier, smoothing.Smoothing):
        few = dataclasses.replace(certifier, samples=smoothing.least(certifier.confidence), selection=1)
        certify.run(few, classifier, data.x[:1], data.y[:1], threat)
        return
    walked = layers.of(classifier) if certifier.needs_layers else ()
    if isinstance(certifier, ModelCertifier):  # it works on the host, and says what it does not take when it runs
        return
    jax.eval_shape(lambda x, y: certifier.margin(walked, x, y, threat), data.x[0], data.y[0])


def _walked(
    job: _Job, plan: CertifierPlan, certifier: LayerCertifier | ModelCertifier, robust: np.ndarray
) -> tuple[list[Row], Outcome]:
    """Rows and outcome of a certifier that walks layers.

    Only those that are certified at one radius are tried at the next: leaving others out is sound, and a certificate
    holds for every smaller radius.
    """
    x, y = job.on.data.x, job.on.data.y
    size = min(plan.chunk or certifier.chunk, len(y))
    certified, method = np.zeros(robust.shape, bool), plan.certifier
    radius = None
    clean = attacked.predictions(job.classifier, x) == y

    def proved(chosen, ball, prove, label):
        """What `prove` finds of the chosen examples, filled up to one chunk so that few need no new program."""
        filled = np.resize(chosen, max(len(chosen), size))
        found = prove(certifier, job.classifier, x[filled], y[filled], ball, work=Work(size, label))
        kept = {"certified": found.certified, "radius": found.radius}
        return {"method": found.method, **{k: v[:len(chosen)] for k, v in kept.items() if v is not None}}

    alive = clean
    for i, epsilon in enumerate(job.on.radii):
        chosen = np.flatnonzero(alive)
        if not len(chosen):
            break
        settings = {**job.identity(plan), "epsilon": epsilon, "examples": fingerprint(chosen)}
        found = job.on.pieces.get(job.on.section, settings, functools.partial(
            proved, chosen, job.on.threat.at(epsilon), certify.run, job.on.says(f"{plan.certifier} ε={epsilon:g}")))
        method = str(found["method"])
        certified[i, chosen] = found["certified"]
        alive = certified[i]
        if i == 0 and "radius" in found:  # a certifier that finds radii as it goes
            radius = np.zeros(len(y))
            radius[chosen] = found["radius"]
    chosen = np.flatnonzero(clean)
    if plan.curve and radius is None and len(chosen):
        settings = {**job.identity(plan), "high": BEYOND * job.on.radii[-1], "examples": fingerprint(chosen)}
        work = functools.partial(
            proved, chosen, job.on.threat.at(BEYOND * job.on.radii[-1]), certify.radius, job.on.says(plan.certifier))
        found = job.on.pieces.get(f"{job.on.section}-radius", settings, work)
        radius = np.max(certified * np.asarray(job.on.radii)[:, None], axis=0)  # what is certified already
        radius[chosen] = np.maximum(radius[chosen], found["radius"])
    outcome = Outcome(plan, job.on.name, certified, robust, radius)
    return _certified(job, outcome, method, CertifiedAccuracy(options=plan.options)), outcome


def _smoothed(job: _Job, plan: CertifierPlan, certifier: smoothing.Smoothing) -> tuple[list[Row], Outcome]:
    """Rows and outcome of the smoothed classifier: CERTIFY once for all radii, and an attack on it at each."""
    x, y = job.on.data.x, job.on.data.y
    sigma, confidence = float(certifier.sigma), certifier.confidence
    identity = job.identity(plan) | {"key": fingerprint(job.key)}

    def prove():
        found = certify.run(certifier, job.classifier, x, y, job.on.threat.at(job.on.radii[0]),
                            work=Work(plan.chunk, job.on.says("smoothing")))
        return {"prediction": found.prediction, "radius": found.radius, "method": found.method}

    found = job.on.pieces.get(job.on.section, identity, prove)
    right, method = found["prediction"] == y, str(found["method"])
    radius = np.where(right, found["radius"], 0.0)
    certified = radius > np.asarray(job.on.radii)[:, None]
    surrogate = smoothing.smoothed(job.classifier, keys.named(job.key, "surrogate"), sigma, COPIES,
                                   image_shape=tuple(job.on.data.image_shape))
    judge = dataclasses.replace(certifier, key=keys.named(job.key, "judge"))
    attack = attacks.build(job.attack.attack, job.on.threat, **job.attack.options)
    robust, alive = np.zeros_like(certified), right.copy()
    for i, epsilon in enumerate(job.on.radii):
        chosen = np.flatnonzero(alive)

        def fool(epsilon=epsilon, chosen=chosen):
            filled = np.resize(chosen, max(len(chosen), min(TOGETHER, len(y))))
            label = job.on.says(f"{job.attack.attack} on smoothed ε={epsilon:g}")
            x_adv = attacks.run(attack.at(epsilon), keys.named(job.key, "attack"), surrogate, x[filled], y[filled],
                                work=Work(TOGETHER, label)).x_adv
            said = judge.predict(job.classifier, x_adv[:len(chosen)], work=Work(plan.chunk))
            return {"wrong": (said != y[chosen]) & (said != smoothing.ABSTAIN)}

        if len(chosen):
            settings = {**identity, "attack": job.attack.attack, "attack_options": job.attack.options,
                        "copies": COPIES, "epsilon": epsilon, "examples": fingerprint(chosen)}
            alive[chosen] = ~job.on.pieces.get(f"{job.on.section}-attack", settings, fool)["wrong"]
        robust[i] = alive
    outcome = Outcome(plan, f"{job.on.name} smoothed σ={sigma:g}", certified, robust, radius)
    natural = Natural(
        sigma=sigma, confidence=confidence, abstained=int(np.sum(found["prediction"] == smoothing.ABSTAIN)))
    left = Robust(sigma=sigma, confidence=confidence, copies=COPIES, options=job.attack.options)
    rows = [job.row(outcome.model, natural, right, "CERTIFY; abstaining counts as an error")]
    rows += [job.row(outcome.model, left, robust[i], f"{job.attack.attack}, judged by PREDICT", epsilon)
             for i, epsilon in enumerate(job.on.radii)]
    from scipy import stats  # half a second to import, which other evaluations need not wait for

    # CERTIFY and PREDICT may each be wrong with probability 1 - confidence.
    allowed = int(stats.binom.isf(CHANCE, len(y), min(1.0, 2 * (1 - confidence))))
    about = CertifiedAccuracy(
        options=plan.options, sigma=sigma, confidence=confidence, allowed=allowed, largest=certifier.largest)
    return rows + _certified(job, outcome, method, about), outcome


def _certified(job: _Job, outcome: Outcome, method: str, about: CertifiedAccuracy) -> list[Row]:
    """One row a radius; the first carries the whole curve where radii of single examples are known.

    Raises:
        EvidenceError: more contradictions than are allowed.
    """
    rows = []
    for i, epsilon in enumerate(job.on.radii):
        against = np.flatnonzero(outcome.certified[i] & ~outcome.robust[i])
        if len(against) > about.allowed:
            raise EvidenceError(
                f"{outcome.model}: {method} certifies images {against[:5].tolist()} at epsilon {epsilon:g} and the "
                f"attack fools the classifier there ({len(against)} of {len(outcome.robust[i])} images)")
        detail = dataclasses.replace(
            about, certifier=outcome.plan.certifier, contradictions=len(against),
            curve=_curve(outcome.radius) if i == 0 and outcome.radius is not None else None)
        rows.append(job.row(outcome.model, detail, outcome.certified[i], method, epsilon))
    return rows


def _curve(radius: np.ndarray) -> Curve:
    """Certified accuracy as a function of epsilon: it falls at each certified radius."""
    steps = np.unique(radius[radius > 0])
    return {"epsilon": (0.0, *map(float, steps)), "value": tuple(float(np.mean(radius > e)) for e in (0.0, *steps))}
