"""Training of classifiers: state, step and evaluation, common to every method; the loop is `fit`.

The attack sees the classifier in inference mode, the update runs in training mode (dropout on).
"""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob import attacks, classifiers
from irob.core import batch, keys
from irob.core.check import integer, number, unknown
from irob.core.compile import jit
from irob.core.threat import Threat
from irob.core.types import Classifier, Dataset
from irob.training import schedule as schedules
from irob.training import source as sources
from irob.training.fit import Run, fit
from irob.training.method import Method, Network
from irob.training.settings import Settings
from irob.training.source import Source

STEPS = 100  # of PGD, whose figures stand in log and recipe
RULES = ("sgd", "adam")


def optimiser(
    schedule: str = "trades",
    *,
    learning_rate: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    epochs: int = 100,
    steps_per_epoch: int = 468,
    rule: str = "sgd",
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum: v <- momentum v + grad + weight_decay w, w <- w - rate v.

    rule: "sgd", or "adam", in which `momentum` is the decay of the first moment and 0.999 that of the second.
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    number("momentum", momentum, low=0, high=1)
    rate = schedules.learning_rate(schedule, learning_rate, epochs, steps_per_epoch)
    descend = optax.adam(rate, b1=momentum) if rule == "adam" else optax.sgd(rate, momentum=momentum or None)
    return optax.chain(optax.add_decayed_weights(number("weight decay", weight_decay, low=0)), descend)


def create(classifier: Classifier, tx: optax.GradientTransformation, *, average: float = 0.0) -> dict[str, Any]:
    """The state of a fresh run: variables, the optimiser's own, and with `average` the running mean of variables."""
    state = {"variables": classifier.variables, "optimiser": tx.init(classifier.variables)}
    return {**state, "average": classifier.variables} if average else state


def make_step(
    classifier: Classifier, method: Method, tx: optax.GradientTransformation, *, warm_up: int = 0, average: float = 0.0
):
    """step(key, state, batch: Batch) -> (state, metrics), for `fit`; of the classifier all but the weights.

    warm_up: steps over which the method's threat grows linearly from 0; 0 for none.
    average: decay d of the running mean of the weights w_1, w_2, ..., unbiased from the first step on:
        a_t = (1 - d) / (1 - d^t) sum_i d^(t-i) w_i,  that is  a_t = a_(t-1) + (1 - d) / (1 - d^t) (w_t - a_(t-1))
    """

    def step(key, state, batch):
        batch = jax.tree.map(jnp.asarray, batch)
        variables, now = state["variables"], method
        if warm_up or average:
            counts = optax.tree_utils.tree_get_all_with_path(state["optimiser"], "count")  # updates so far
            count = counts[0][1] + 1  # of the schedule, and with Adam of its moments too: the same
        if warm_up:
            now = method.ramp(jnp.minimum(count / warm_up, 1.0))

        def with_weights(variables) -> Classifier:
            return dataclasses.replace(classifier, variables=variables)

        adversarial = now.perturb(keys.named(key, "attack"), with_weights(variables), batch)

        def objective(variables):
            dropout = {"dropout": keys.named(key, "dropout")}
            return now.loss(Network(with_weights(variables), {"train": True, "rngs": dropout}), batch, adversarial)

        loss, gradient = jax.value_and_grad(objective)(variables)
        updates, own = tx.update(gradient, state["optimiser"], variables)
        state = state | {"variables": optax.apply_updates(variables, updates), "optimiser": own}
        if average:
            share = math.expm1(math.log(average)) / jnp.expm1(math.log(average) * count)
            state["average"] = optax.incremental_update(state["variables"], state["average"], share)
        return state, {"loss": loss}

    return step


@jit
def _correct(classifier: Classifier, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.argmax(jax.vmap(classifier)(x), axis=-1) == y


def accuracy(classifier: Classifier, data: Dataset, *, chunk: int = 500) -> float:
    """Share of the images that are classified correctly."""
    return float(np.mean(batch.stream(lambda _, x, y: _correct(classifier, x, y), data.x, data.y, chunk=chunk)))


def balls(threat: Threat, radii=()) -> list[Threat]:
    """The threat at the radii of the figures above 0; by default a third, two thirds and all of its own."""
    return [threat.at(r) for r in radii or [float(threat.strength) * k / 3 for k in (1, 2, 3)] if r > 0]


def robust_accuracy(key, classifier: Classifier, data: Dataset, threat: Threat, largest: float | None = None) -> float:
    """Share that stays correct under PGD from the clean point: 100 steps of a sixth of the largest radius, the last
    iterate, 0.5 each at the paper's radius.  The one attack behind the figures of log and recipe."""
    size = max(float(threat.strength), largest or 0.0) / 6 or None
    attack = attacks.build("pgd", threat, steps=STEPS, step_size=size, start="zero", best=False)
    return float(1 - attacks.run(attack, key, classifier, data.x, data.y).success.mean())


def figures(
    key, classifier: Classifier, test: Dataset, threat: Threat, *, method: Method, count: int, radii=()
) -> dict[str, Any]:
    """What stands in the recipe of trained weights: natural accuracy on all test images, PGD-100 on the first `count`
    (0 leaves it out) at `radii`, see `balls`; and what the method measures itself, after every epoch or at the end."""
    result: dict[str, Any] = {"natural": accuracy(classifier, test)}
    if count:
        tried, few, key = balls(threat, radii), test.take(count), keys.named(key, "figures")
        largest = max((float(ball.strength) for ball in tried), default=0.0)
        result["pgd_100"] = {
            f"{ball.strength:g}": robust_accuracy(key, classifier, few, ball, largest) for ball in tried}
        for name, measure in method.measures.items():
            result[name] = {f"{ball.strength:g}": measure(classifier, few, ball) for ball in tried}
        result["pgd_100_images"] = min(count, len(test))
    return result


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the log says after every epoch: accuracy on the first `count` images of `test`, natural and under PGD-100.

    export_every: epochs between weights written to workdir/exports/<epoch> (float16, with their accuracy); 0 writes
    none.  radii: at which the end result will be attacked; the steps of PGD are as long here as there.
    """

    test: Dataset
    threat: Threat
    count: int = 200
    export_every: int = 0
    radii: Sequence[float] = ()


def train(
    key: jax.Array,
    classifier: Classifier,
    method: Method,
    source: Source | Dataset,
    *,
    tx: optax.GradientTransformation,
    run: Run,
    evaluation: Evaluation,
    settings: Settings = Settings(),
) -> Classifier:
    """Trains a classifier with `fit`; natural and PGD accuracy go into the log after every epoch.

    Args:
        key: typed key of the run.
        classifier: the start.
        method: from irob.training.methods; what its `measures` give goes into the log too.
        source: what is trained on.
        tx: the rule of descent, from `optimiser`.
        run, evaluation: length and folder; what is measured.
        settings: of these, epsilon_warmup, the epochs over which the method's threat grows from 0 to its full
            strength, and average, see `make_step`.

    Returns:
        The classifier of the last weights, or of their average where there is one.
    """
    threat, average = evaluation.threat, settings.average
    few = evaluation.test.take(integer("evaluate count", evaluation.count, low=1))
    largest = max((float(ball.strength) for ball in balls(threat, evaluation.radii)), default=0.0)

    def with_weights(state) -> Classifier:
        return dataclasses.replace(classifier, variables=state["average" if average else "variables"])

    def evaluate(state, epoch):
        now, begin = with_weights(state), time.monotonic()
        robust = robust_accuracy(keys.named(key, "evaluate"), now, few, threat, largest)
        figures = {"natural": accuracy(now, few), "robust": robust}
        figures |= {name: measure(now, few, threat) for name, measure in method.measures.items()}
        if evaluation.export_every and epoch % evaluation.export_every == 0:
            about = {"recipe": {"epoch": epoch, **figures, **(run.config or {})}}
            classifiers.save(pathlib.Path(run.workdir) / "exports" / str(epoch), now, about, half=True)
        return {**figures, "evaluation_seconds": round(time.monotonic() - begin, 2)}

    source = sources.of(source)
    warm_up = round(number("epsilon warmup", settings.epsilon_warmup, low=0) * source.steps(run.batch_size))
    # `fit` donates the state; the caller keeps the start.
    state = jax.tree.map(jnp.copy, create(classifier, tx, average=average))
    step = make_step(classifier, method, tx, warm_up=warm_up, average=average)
    return with_weights(fit(keys.named(key, "fit"), state, step, source, run, evaluate=evaluate))


def seconds(workdir) -> float:
    """Seconds of training that the log of a run sums up to, evaluation left out, resumed parts included."""
    log = pathlib.Path(workdir) / "log.jsonl"
    return sum(json.loads(line).get("seconds", 0.0) for line in log.read_text(encoding="utf-8").splitlines())
