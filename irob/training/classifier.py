"""Training of classifiers: state, step and evaluation, common to every method; the loop is `fit`.

The attack sees the classifier in inference mode, the update runs in training mode (dropout on).
"""

import json
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob import attacks, classifiers
from irob.core import batch, keys
from irob.core.check import integer, number
from irob.core.compile import jit
from irob.core.threat import LpBall
from irob.core.types import Classifier, Dataset
from irob.training import schedule as schedules
from irob.training.fit import fit
from irob.training.method import ramped

EVALUATION_STEPS = 20


def optimiser(
    schedule: str = "trades",
    *,
    learning_rate: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    epochs: int = 100,
    steps_per_epoch: int = 468,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum: v <- momentum v + grad + weight_decay w, w <- w - rate v."""
    number("momentum", momentum, low=0, high=1)
    rate = schedules.learning_rate(schedule, learning_rate, epochs, steps_per_epoch)
    return optax.chain(optax.add_decayed_weights(number("weight decay", weight_decay, low=0)),
                       optax.sgd(rate, momentum=momentum or None))


def create(classifier: Classifier, tx: optax.GradientTransformation) -> dict[str, Any]:
    """The state of a fresh run: variables and the optimiser's own."""
    return {"variables": classifier.variables, "optimiser": tx.init(classifier.variables)}


def make_step(module, method, tx: optax.GradientTransformation, *, warm_up: int = 0):
    """step(key, state, {"x": f[n,H,W,C], "y": i[n]}) -> (state, metrics), for `fit`.

    warm_up: steps over which radius and step size of the inner search grow linearly from 0; 0 for none.
    """

    def step(key, state, data):
        x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"])
        variables = state["variables"]
        now = method
        if warm_up:
            count = optax.tree_utils.tree_get(state["optimiser"], "count")  # updates so far
            now = ramped(method, jnp.minimum((count + 1) / warm_up, 1.0))
        x_adv = now.perturb(keys.named(key, "attack"), lambda x: module.apply(variables, x), x, y)

        def objective(variables):
            dropout = {"dropout": keys.named(key, "dropout")}
            return now.loss(lambda x: module.apply(variables, x, train=True, rngs=dropout), x, x_adv, y)

        loss, gradient = jax.value_and_grad(objective)(variables)
        updates, own = tx.update(gradient, state["optimiser"], variables)
        return {"variables": optax.apply_updates(variables, updates), "optimiser": own}, {"loss": loss}

    return step


@jit
def _correct(classifier: Classifier, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.argmax(jax.vmap(classifier)(x), axis=-1) == y


def accuracy(classifier: Classifier, data: Dataset, *, chunk: int = 500) -> float:
    """Share of the images that are classified correctly."""
    return float(np.mean(batch.stream(lambda _, x, y: _correct(classifier, x, y), data.x, data.y, chunk=chunk)))


def robust_accuracy(
    key, classifier: Classifier, data: Dataset, threat: LpBall, *, steps: int, step_size: float | None = None
) -> float:
    """Share that stays correct under PGD from the clean point, last iterate; step 2.5 epsilon/steps by default."""
    attack = attacks.build("pgd", threat, steps=steps, step_size=step_size, start="zero", best=False)
    return float(1 - attacks.run(attack, key, classifier, data.x, data.y).success.mean())


def figures(key, classifier: Classifier, test: Dataset, threat: LpBall, *, count: int) -> dict[str, Any]:
    """What stands in the recipe of trained weights: natural accuracy, and PGD-100 at a third, two thirds and all of
    the radius on the first `count` test images (0 leaves it out).  Steps of epsilon/6: 0.5 at the paper's radius."""
    result: dict[str, Any] = {"natural": accuracy(classifier, test)}
    if count:
        size = float(threat.epsilon) / 6
        balls = [LpBall(threat.norm, float(threat.epsilon) * k / 3) for k in (1, 2, 3)]
        result["pgd_100"] = {f"{ball.epsilon:g}": robust_accuracy(
            keys.named(key, "figures"), classifier, test.take(count), ball, steps=100, step_size=size)
            for ball in balls if ball.epsilon > 0}
        result["pgd_100_images"] = min(count, len(test))
    return result


def train(
    key: jax.Array,
    classifier: Classifier,
    method,
    data: Dataset,
    test: Dataset,
    *,
    threat: LpBall,
    workdir,
    tx: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    epsilon_warmup: float = 0.0,
    resume: bool = False,
    checkpoint_every: int = 5,
    export_every: int = 0,
    evaluate_count: int = 1000,
    label: str = "train",
    config: dict | None = None,
) -> Classifier:
    """Trains a classifier with `fit`; natural and PGD accuracy go into the log after every epoch.

    Args:
        key: typed key of the run.
        classifier: the start.
        method: from irob.training.{standard,adv,trades}.build.
        data, test: training set; test set, of which the first `evaluate_count` are attacked.
        threat: the ball of the evaluation (the method has its own).
        epsilon_warmup: epochs over which the method's ball grows from 0 to its full radius.
        export_every: epochs between weights written to workdir/exports/<epoch> (float16, with their accuracy);
            0 writes none.
    """
    integer("evaluate count", evaluate_count, low=1)

    def with_weights(state) -> Classifier:
        return Classifier(state["variables"], classifier.module, classifier.num_classes, classifier.image_shape,
                          classifier.layers, classifier.name)

    def evaluate(state, epoch):
        now, begin = with_weights(state), time.monotonic()
        few = test.take(evaluate_count)
        figures = {"natural": accuracy(now, test), "robust": robust_accuracy(
            keys.named(key, "evaluate"), now, few, threat, steps=EVALUATION_STEPS)}
        if export_every and epoch % export_every == 0:
            about = {"recipe": {"epoch": epoch, **figures, **(config or {})}}
            classifiers.save(pathlib.Path(workdir) / "exports" / str(epoch), now, about, half=True)
        return {**figures, "evaluation_seconds": round(time.monotonic() - begin, 2)}

    warm_up = round(number("epsilon warmup", epsilon_warmup, low=0) * (len(data) // batch_size))
    # `fit` donates the state; the caller keeps the start.
    state = jax.tree.map(jnp.copy, create(classifier, tx))
    step = make_step(classifier.module, method, tx, warm_up=warm_up)
    state = fit(keys.named(key, "fit"), state, step, {"x": data.x, "y": data.y}, epochs=epochs, batch_size=batch_size,
                workdir=workdir, resume=resume, evaluate=evaluate, checkpoint_every=checkpoint_every, label=label,
                config=config)
    return with_weights(state)


def seconds(workdir) -> float:
    """Seconds of training that the log of a run sums up to, evaluation left out, resumed parts included."""
    log = pathlib.Path(workdir) / "log.jsonl"
    return sum(json.loads(line).get("seconds", 0.0) for line in log.read_text(encoding="utf-8").splitlines())
