"""Warnings about an evaluation: signs that a classifier hides its gradients or that an attack was too weak.

A robust accuracy means little where gradients are masked, outputs are random, or a weak attack beats a strong one
(Athalye, Carlini and Wagner, 2018; Croce and Hein, 2020).
"""

from collections.abc import Sequence

import jax
import numpy as np

from irob.attacks import warnings
from irob.core.threat import ImageThreat
from irob.core.types import Classifier, Dataset
from irob.evaluation.accuracy.attacked import Outcome, latent


def of(
    key: jax.Array,
    classifier: Classifier,
    data: Dataset,
    outcomes: Sequence[Outcome] = (),
    *,
    epsilons: Sequence[float] = (),
    threat: ImageThreat | None = None,
    count: int = 32,
) -> tuple[warnings.Warning, ...]:
    """The warnings about one classifier and what attacks found on it.

    Args:
        key: typed key.
        data: the first `count` images are probed.
        outcomes: of `attacked.evaluate`, with its epsilons in rising order.
        threat: with it attacks are probed too (more steps, a larger ball, a black box), which takes some seconds.
    """
    few = data.take(count)
    found = list(warnings.examine(key, classifier, few.x, few.y, threat=threat, count=count))
    free = [o for o in outcomes if not latent(o.plan.attack)]
    white = [o for o in free if not o.black_boxes and not o.broken_by]
    for i, epsilon in enumerate(sorted(epsilons)):
        for o in free:
            at = f"{o.plan.attack} at epsilon {epsilon:g}"
            if o.black_boxes and not o.broken_by and white:
                n = min(w.plan.samples for w in (*white, o))
                caught = np.any([~w.robust[:, i, :n] for w in white], axis=0).ravel()
                found += _named(warnings.black_box_beats_white_box(~o.robust[:, i, :n].ravel(), caught), at)
            if o.broken_by:  # members of an ensemble attack what others left: what a black box broke, only it did
                total = o.robust[:, i].size
                alone = np.arange(total) < sum(o.broken_by[i].get(b, 0) for b in o.black_boxes)
                found += _named(warnings.black_box_beats_white_box(alone, np.zeros(total, bool)), at)
    for o in free:
        if not o.plan.monotone:
            success = {e: ~o.robust[:, i].ravel() for i, e in enumerate(sorted(epsilons))}
            found += _named(warnings.larger_epsilon(success), o.plan.attack)
    return tuple(found)


def _named(found: Sequence[warnings.Warning], where: str) -> list[warnings.Warning]:
    return [warnings.Warning(w.code, f"{where}: {w.message}", w.count, w.of) for w in found]
