"""The section "limits" of a report: constants at common codes, the limit by every method, witnesses, the bracket."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from scipy import special

from irob import lipschitz
from irob.core import keys
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.rows import Quantity, Row, select
from irob.core.store import Task
from irob.core.types import Classifier, Dataset, Generator
from irob.evaluation.accuracy import attacked
from irob.evaluation.limits import constants, lower, upper
from irob.evaluation.limits.constants import draw
from irob.evaluation.limits.earlier import Given, Question, comparison_rows
from irob.evaluation.limits.sampled import Risk

CODES = 100  # of the unconditional generator
SLACK = 1e3  # a constant of the whole space above this says nothing at any epsilon in use


def both(
    key: jax.Array,
    generator: Generator,
    plan: constants.ConstantsPlan,
    risks: Sequence[Risk],
    *,
    fresh: int,
    name: str,
    confidence: float = 0.95,
    task: Task = Task(),
) -> list[Row]:
    """Upper and lower ends of the limit of one generator.

    Args:
        fresh: samples that measure witnesses; as many set their thresholds.
        name: of the generator, in rows of constants and in words of progress.
    """
    measured = constants.measure(keys.named(key, "codes"), generator, plan, pieces=task.pieces, label=task.label)
    everywhere = whole(generator)
    rows = upper.constant_rows(measured, dataset=task.dataset, model=name)
    rows += upper.ratio_rows(measured, dataset=task.dataset, model=name)
    ends = upper.rung_rows(measured, risks, dataset=task.dataset, confidence=confidence, everywhere=everywhere)
    sizes = lower.BracketPlan(
        tuple(r.alpha for r in risks if not isinstance(r.alpha, tuple)), plan.epsilons, confidence=confidence,
        samples=fresh, calibration=fresh)
    found = lower.bracket(keys.named(key, "witnesses"), generator, sizes, upper=ends,
                        task=dataclasses.replace(task, label=task.says("witnesses")))
    return rows + [dataclasses.replace(r, section="limits") for r in (*ends, *found)]


def earlier(
    key: jax.Array,
    data: Dataset,
    ends: Sequence[Row],
    question: Question,
    *,
    unconditional: Generator | None = None,
    judge: Classifier | None = None,
    radius: float = 0.5,
    label: str = "",
) -> list[Row]:
    """Earlier bounds on independent images of the same distribution, beside Theorem 4.4's.

    Args:
        ends: rows of ladders; those of this data set and the overall family that count their sample are shown beside.
        unconditional: generator whose steepest chord over CODES codes enters Fawzi's bounds, an estimate.
        judge: classifier whose probabilities stand for people's, in label uncertainty.
    """
    shown = [r for r in select(ends, Quantity.BOUND, dataset=data.name, side="upper", family="overall")
             if r.detail.rung in ("supported", "certified")]
    constant = None
    if unconditional is not None:
        z, y = draw(keys.named(key, "unconditional"), unconditional, CODES)
        constant = float(np.max(lipschitz.maximised(
            key, unconditional, z, y, radius=radius, work=Work(label=f"{label} unconditional" if label else "")).value))
    probabilities = None if judge is None else special.softmax(attacked.logits(judge, data.x), axis=-1)
    return comparison_rows(data, question, Given(constant, theorem=shown, probabilities=probabilities))


def whole(generator: Generator) -> float | None:
    """The certified constant of the whole latent space, the largest over the classes; None if it says nothing."""
    count = generator.components
    try:
        found = lipschitz.certified(
            generator, np.zeros((count, generator.latent_dim)), np.arange(count), radius=1.0, method="product")
    except InputError:  # layers that no certifier knows
        return None
    constant = float(np.max(found.value))
    return constant if constant < SLACK else None
