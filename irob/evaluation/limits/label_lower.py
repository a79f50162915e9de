"""The lower end for label robustness: what certified classifiers keep, counted on fresh images of the generator.

An example (x, y) is kept at epsilon where f(x') = y for every x' within epsilon of x; y is the class that the generator
was asked for.  A certificate proves it, so the best classifier there is keeps at least the share that one classifier
keeps certifiably.  For every epsilon the best of several classifiers is chosen on one sample and counted on another, so
that the choice costs nothing.  With n fresh images the lower end is Clopper-Pearson's, shared over the epsilons
(Bonferroni): all rows hold together with the stated confidence.

Smoothing's certificates are wrong with a probability of at most 1 - c for each example; the share that is certified
then exceeds the share that is kept by at most 1 - c, which is taken off the lower end.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from irob import certify, classifiers
from irob.certify import smoothing
from irob.core import check, keys, registry, weights
from irob.core.progress import say
from irob.core.rows import KeptLabels, Number, Row
from irob.core.store import Task, fingerprint
from irob.core.threat import LpBall, ThreatRecord
from irob.core.types import Classifier, Generator
from irob.evaluation.limits.regions import Images, draw
from irob.evaluation.verbs.certify import recipe
from irob.math.confidence import clopper_pearson

BLOCK = 5000  # images at a time
FEW = 500  # images for a certifier that takes a second an image
OUTWARD = 1e-9  # more than the inverse of the beta distribution is off by


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A classifier and the certifier that is run on it.  most: how many images at most; None for any number."""

    name: str
    classifier: Classifier
    certifier: Any
    most: int | None = None

    @property
    def miss(self) -> float:
        """An upper bound of the probability that a certificate is wrong."""
        return 1 - self.certifier.confidence if isinstance(self.certifier, smoothing.Smoothing) else 0.0

    def certified(self, key: jax.Array, x: np.ndarray, y: np.ndarray, epsilons: Sequence[float]) -> np.ndarray:
        """bool[E,n]: whether (x, y) is kept for certain at each epsilon, in l2."""
        certifier = self.certifier
        if isinstance(certifier, smoothing.Smoothing):  # its noise is to be independent of the last block's
            certifier = dataclasses.replace(certifier, key=key)
        found, kept = None, []
        for e in epsilons:
            if found is None or found.radius is None:
                found = certify.run(certifier, self.classifier, x, y, LpBall("l2", float(e)))
            right = found.prediction == y
            kept.append(found.certified if found.radius is None else right & (found.radius > e))
        return np.stack(kept)


def shipped(generator: Generator, *, dear: bool = False) -> list[Candidate]:
    """The shipped certified classifiers that were trained on this very generator.

    dear: also LP-Certify with the dual certificate, about a second an image, and the smoothed classifier.
    """
    found, ours = [], fingerprint(generator.variables)
    for path in sorted(weights.SHIPPED.glob(f"*/{weights.CONFIG}")):
        about = json.loads(path.read_text(encoding="utf-8"))
        if about.get("architecture") == "one_lipschitz" and about.get("generator_fingerprint") == ours:
            name = path.parent.name
            found.append(Candidate(name, classifiers.load(name), certify.build("lipschitz")))
    known = registry.room("generators").load("acgan_mnist")
    if dear and fingerprint(known.variables) == ours:
        found.append(Candidate("mnist_gen_lp_certify", classifiers.load("mnist_gen_lp_certify"),
                               certify.build("dual"), FEW))
        noise = certify.build("smoothing", key=jax.random.key(0), sigma=recipe("mnist_gen_smooth")["sigma"])
        found.append(Candidate("mnist_gen_smooth", classifiers.load("mnist_gen_smooth"), noise, FEW))
    return found


def count(key: jax.Array, generator: Generator, candidates: Sequence[Candidate], epsilons: Sequence[float],
          samples: int, *, label: str = "") -> list[tuple[np.ndarray, int]]:
    """For each candidate (certified images at each epsilon i[E], n) of fresh images, the same for all.

    n is `samples`, or the most that the candidate can be asked about.
    """
    asked = [samples if c.most is None else min(samples, c.most) for c in candidates]
    hits = np.zeros((len(candidates), len(epsilons)), int)
    for start in range(0, max(asked), BLOCK):
        x, y = (np.asarray(a) for a in draw(key, generator, min(BLOCK, max(asked) - start), Images(), start=start))
        noise = jax.random.fold_in(keys.named(key, "noise"), start)
        for i, c in enumerate(candidates):
            few = max(0, asked[i] - start)
            if few:
                hits[i] += c.certified(noise, x[:few], y[:few], epsilons).sum(1)
        if label:
            say(f"{label}: {start + len(y)}/{max(asked)} images")
    return list(zip(hits, asked))


def rows(
    key: jax.Array,
    generator: Generator,
    *,
    epsilons: Sequence[float] = (1.0, 2.0, 3.0),
    confidence: float = 0.95,
    samples: int = 20_000,
    choice: int = 5_000,
    candidates: Sequence[Candidate] | None = None,
    task: Task = Task(),
) -> list[Row]:
    """Certified lower ends of label robustness, one row for each epsilon; all together hold with the confidence.

    Args:
        key: typed key, independent of the one that trained the classifiers.
        generator: with Gaussian codes and two classes or more.
        epsilons: radii in l2, in image units, above 0.
        confidence: of all rows together, in (0, 1).
        samples, choice: images on which the chosen classifier is measured, and on which it is chosen.
        candidates: classifiers with their certifiers; None: those shipped for this very generator, which may be none.

    Returns:
        Rows with `KeptLabels`.  value: the certified lower end.

    Raises:
        InputError: values out of range; what certifiers say of their input.
    """
    keys.require(key)
    radii = [check.number("epsilon", e, low=0, open_low=True) for e in epsilons]
    if not radii:
        raise check.InputError("epsilon: got none, wanted at least one radius")
    if not 0 < check.number("confidence", confidence) < 1:
        raise check.InputError(f"confidence: got {confidence:g}, wanted a number in (0, 1)")
    check.integer("samples", samples, low=1)
    check.integer("choice", choice, low=1)
    candidates = shipped(generator) if candidates is None else list(candidates)
    if not candidates:
        return []
    tries = count(keys.named(key, "choice"), generator, candidates, radii, choice, label=task.says("choice"))
    shares = np.stack([hits / n for hits, n in tries])
    best = shares.argmax(0)
    level = (1 - confidence) / len(radii)
    used = np.unique(best)
    measured = dict(zip(used, count(keys.named(key, "measurement"), generator, [candidates[i] for i in used], radii,
                                    samples, label=task.label)))
    found = []
    for j, (e, i) in enumerate(zip(radii, best)):
        hits, n = measured[i]
        chosen = candidates[i]
        low, high = (clopper_pearson(int(hits[j]), n, 1 - level, side) for side in ("lower", "upper"))
        low = max(0.0, low - chosen.miss - OUTWARD)
        kind = certify.method(chosen.certifier)
        detail = KeptLabels(
            confidence=confidence, certifier=kind, kept=int(hits[j]), joint=f"over {len(radii)} epsilons",
            choice=choice, candidates=tuple(c.name for c in candidates),
            assumptions="the label of an image is the class that the generator was asked for")
        found.append(detail.row(task.dataset, chosen.name, ThreatRecord.lp("l2", e),
                                Number(low, low, min(1.0, high + OUTWARD), n), f"{kind}: {chosen.name}"))
    return found


def figures(key: jax.Array, generator: Generator, classifier: Classifier, *, epsilons: Sequence[float], samples: int,
            label: str = "") -> dict[str, Any]:
    """Natural and certified accuracy on fresh images, for a recipe, each with its own 95 % lower end."""
    candidate = Candidate("certified", classifier, certify.build("lipschitz"))
    ((hits, n),) = count(key, generator, [candidate], [0.0, *epsilons], samples, label=label)
    low = clopper_pearson(hits[1:], n, 0.95, "lower")
    return {
        "natural": hits[0] / n,
        "certified": {f"{e:g}": h / n for e, h in zip(epsilons, hits[1:])},
        "certified_at_least": {f"{e:g}": math.floor(v * 1e5) / 1e5 for e, v in zip(epsilons, np.atleast_1d(low))},
        "certified_by": "lipschitz", "certified_images": n}
