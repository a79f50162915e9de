"""From a method and data to a trained classifier with its recipe: what the doors and the report call."""

import dataclasses
import inspect
import pathlib
from typing import Any

import jax
import optax

from irob import classifiers, data
from irob.core import keys, provenance
from irob.core.check import InputError, number, writable_folder
from irob.core.progress import say
from irob.core.threat import LpBall, Threat
from irob.core.types import Classifier, Dataset
from irob.training import classifier as training
from irob.training import settings as known
from irob.training import source as sources
from irob.training.fit import Run
from irob.training.method import Method, Stage
from irob.training.settings import Settings
from irob.training.source import Source


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """A training whose settings have been checked.

    name: of the method.  method: its value.  settings: the paper's filled in.  threat: of the evaluation, and of a
    method that was built by name.  start: the classifier to go on from, or None.
    """

    name: str
    method: Method
    settings: Settings
    threat: Threat
    start: Classifier | None

    def recipe(self) -> dict[str, Any]:
        """What decides the result, for the record."""
        found = {k: v for k, v in dataclasses.asdict(self.settings).items() if k not in known.ASIDE}
        if self.start is not None:
            found |= {"init": pathlib.Path(self.settings.init).name, "classifier": self.start.name}
        return found


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained classifier, its recipe with figures, and the classifiers of the stages before it."""

    classifier: Classifier
    recipe: dict[str, Any]
    earlier: tuple["Trained", ...] = ()


def plan(method: str | Method, dataset: str = "", **settings: Any) -> TrainingPlan:
    """Builds the method and checks all settings, before any data are made.

    Args:
        method: a registered name, package.module:build, or a `Method`.
        dataset: name of the data set, for the paper's settings of it.
        settings: of the method's `Settings`, or further keywords of its `build`; `init` may be a `Classifier`.

    Raises:
        InputError: an unknown method or setting, a value out of range, weights to start from that are not there.

    >>> plan("trades", "mnist_gen", beta=3.0).settings.steps
    40
    """
    name = method if isinstance(method, str) else type(method).__name__
    start = settings.get("init")
    if isinstance(start, Classifier):
        settings["init"] = start.name or "a classifier"
    takes = inspect.signature(known.factory(method)).parameters if isinstance(method, str) else {}
    fields = {f.name for f in dataclasses.fields(known.of(method) if isinstance(method, str) else Settings)}
    direct = {k: v for k, v in settings.items() if k in takes and k not in fields}
    own = known.made(method if isinstance(method, str) else "", {k: v for k, v in settings.items() if k not in direct})
    own = known.paper(own, dataset)
    threat = LpBall(own.norm, number("epsilon", own.epsilon, low=0))
    if isinstance(method, str):
        options = {k: v for k, v in vars(own).items() if k in takes} | direct
        method = known.factory(method)(**options, **({"threat": threat} if "threat" in takes else {}))
    if not isinstance(method, Method):
        raise InputError(f"method {name!r}: got {type(method).__name__}, wanted an irob.training.method.Method")
    _descent(own.checked(), 1)
    if not isinstance(start, Classifier):
        start = classifiers.load(own.init) if own.init else None
    return TrainingPlan(name, method, own, threat, start)


def train(
    method: str | Method,
    examples: str | Dataset | Source,
    *,
    key: jax.Array,
    test: Dataset | None = None,
    workdir: Any,
    out: Any = None,
    resume: bool = False,
    about: dict[str, Any] | None = None,
    **settings: Any,
) -> Trained:
    """Trains a classifier, measures it, and writes its weights if `out` is given; see `irob.training.train`."""
    keys.require(key)
    if isinstance(examples, str):
        about = {"dataset": examples, **(about or {})}
        plan(method, examples, **settings)  # bad settings are found before the data are made
        test = data.load(examples, "test") if test is None else test
        examples = data.load(examples, "train")
    if test is None:
        raise InputError("test: got no data set to measure the classifier on, wanted one beside the training data")
    chosen = plan(method, examples.name, **settings)
    if (out or chosen.settings.export_every) and chosen.start and chosen.start.name not in classifiers.names():
        raise InputError(f"init: got {chosen.start.name!r}, whose weights irob cannot write; leave out `out` and take "
                         "the classifier that is given back")
    workdir = writable_folder(workdir)
    out = writable_folder(out) if out else None
    stage: Stage | None = Stage(chosen.method, sources.of(examples), test, chosen.start)
    done: list[Trained] = []
    while stage is not None:
        if done and stage.source.steps(chosen.settings.batch_size) < 1:
            say(f"stage {stage.number}: {len(stage.source)} training images are left, too few for it")
            break
        part = str(stage.number) if stage.method.staged else ""
        trained = _stage(key, chosen, stage, writable_folder(workdir / part), resume, about or {})
        done.append(trained)
        if out:
            seed = (about or {}).get("seed")
            classifiers.save(out / part, trained.classifier,
                             {"recipe": trained.recipe, "provenance": provenance.provenance(seed=seed)})
            say(f"wrote {out / part}: natural accuracy {trained.recipe['natural']:.4f} on {len(test)} test images")
        stage = stage.method.next_stage(trained.classifier, stage)
    return dataclasses.replace(done[-1], earlier=tuple(done[:-1]))


def _descent(s: Settings, steps_per_epoch: int) -> optax.GradientTransformation:
    """The rule of descent over the whole run."""
    return training.optimiser(
        s.schedule, learning_rate=float(s.learning_rate or 0), momentum=s.momentum, rule=s.rule, epochs=s.epochs,
        weight_decay=float(s.weight_decay or 0), steps_per_epoch=max(1, steps_per_epoch))


def _stage(
    key: jax.Array, chosen: TrainingPlan, stage: Stage, workdir: pathlib.Path, resume: bool, about: dict[str, Any]
) -> Trained:
    """One stage: from its start, or fresh weights, to the figures of its recipe."""
    s, source, method = chosen.settings, stage.source, stage.method
    start = stage.start or classifiers.build(
        s.classifier, source.num_classes, source.image_shape, key=keys.named(key, "weights"))
    recipe = {"method": chosen.name, **about, **chosen.recipe()}
    trained = training.train(
        keys.named(key, "training"), start, method, source, tx=_descent(s, source.steps(s.batch_size)),
        run=Run(s.epochs, s.batch_size, workdir, resume, s.checkpoint_every, label=chosen.name, config=recipe),
        evaluation=training.Evaluation(stage.test, chosen.threat, s.evaluate_count, s.export_every),
        epsilon_warmup=s.epsilon_warmup)
    figures = training.figures(keys.named(key, "figures"), trained, stage.test, chosen.threat, method=method,
                               count=s.final_count, radii=s.final_radii)
    if s.final_count:
        figures |= method.figures(keys.named(key, "own figures"), trained, stage.test.take(s.final_count))
    figures["seconds"] = round(training.seconds(workdir))
    return Trained(trained, {**recipe, **figures})
