"""From a method and data to a trained classifier with its recipe: what the doors and the report call."""

import dataclasses
import inspect
import pathlib
from typing import Any

import jax
import optax

from irob import classifiers
from irob.core import keys, provenance
from irob.core.check import InputError, number, unknown, writable_folder
from irob.core.progress import say
from irob.core.threat import LpBall, Threat
from irob.core.types import Classifier, Dataset
from irob.training import classifier as training
from irob.training import schedule as schedules
from irob.training import settings as known
from irob.training import source as sources
from irob.training.fit import Run, alone, begun, recorded
from irob.training.method import Method, Stage
from irob.training.named import Named
from irob.training.settings import Settings
from irob.training.source import Source

FINE = 16  # points of an epoch at which two schedules are compared


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
        for name in known.OPTIONAL:
            if not found[name]:
                del found[name]
        if self.start is not None:
            found |= {"init": pathlib.Path(self.settings.init).name, "classifier": self.start.name}
        return found

    def run(self, workdir: pathlib.Path, resume: bool, about: dict[str, Any]) -> Run:
        """How long it goes on and where, for `fit`; about: what the recipe says beside the settings.

        Raises:
            InputError: a workdir that holds another run, or one that is not to be gone on with.
        """
        s, recipe = self.settings, {"method": self.name, **about, **self.recipe()}
        run = Run(s.epochs, s.batch_size, workdir, resume, s.checkpoint_every, label=self.name, config=recipe,
                  free=known.FREE)
        with alone(workdir):
            done, before = begun(run), recorded(workdir)
        extended = self._extended(before, done) if done and before is not None else {}
        return dataclasses.replace(run, config={**recipe, "extended": extended}) if extended else run

    def _extended(self, before: dict[str, Any], done: int) -> dict[str, int]:
        """{epochs done: epochs that the learning rate was planned for until then}, of a run that goes on for more.

        Empty where it ends in the weights of one run of that length; else it belongs into the recipe.
        """
        s, extended, old = self.settings, dict(before.get("extended", {})), before.get("epochs", self.settings.epochs)
        if old == s.epochs:
            return extended
        rates = [schedules.learning_rate(s.schedule, float(s.learning_rate or 0), n, FINE) for n in (old, s.epochs)]
        alike = all(float(rates[0](i)) == float(rates[1](i)) for i in range(done * FINE))
        how = "as in one run of that length" if alike else (
            f"until now its schedule {s.schedule} was that of {old}, from here on it is that of {s.epochs}; "
            "a run of that length from the start ends in other weights")
        say(f"{self.name}: {done} epochs are done, goes on to {s.epochs}: {how}")
        return extended if alike else {str(done): old, **extended}


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
    if own.classifier not in classifiers.names():
        raise unknown("classifier", own.classifier, classifiers.names())
    if own.fresh and method.staged:
        raise InputError("fresh: got it with a cascade, which chooses among the images of one data set; leave one out")
    if not isinstance(start, Classifier):
        start = classifiers.load(own.init) if own.init else None
    return TrainingPlan(name, method, own, threat, start)


def train(
    method: str | Method,
    examples: str | Named | Dataset | Source,
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
        examples = Named(examples)
    if test is None and not isinstance(examples, Named):
        raise InputError("test: got no data set to measure the classifier on, wanted one beside the training data")
    chosen = plan(method, examples.name, **settings)
    if chosen.settings.fresh:
        if not isinstance(examples, Named):
            raise InputError("fresh: got a data set, wanted the name of a generated one, or a source that draws, such "
                             "as irob.training.proxy.Generated")
        examples.drawer()
    if (out or chosen.settings.export_every) and chosen.start and chosen.start.name not in classifiers.names():
        raise InputError(f"init: got {chosen.start.name!r}, whose weights irob cannot write; leave out `out` and take "
                         "the classifier that is given back")
    workdir, about = pathlib.Path(workdir), about or {}
    part = "1" if chosen.method.staged else ""
    run = chosen.run(workdir / part, resume, about)  # looks at what stands there, before the data are made
    workdir = writable_folder(workdir)
    out = writable_folder(out) if out else None
    if isinstance(examples, Named):
        named, examples = examples, examples.train(keys.named(key, "fresh"), chosen.settings.fresh)
        test = named.test() if test is None else test
    assert test is not None  # it was given, or has been loaded
    stage: Stage | None = Stage(chosen.method, sources.of(examples), test, chosen.start)
    done: list[Trained] = []
    while stage is not None:
        if done and stage.source.steps(chosen.settings.batch_size) < 1:
            say(f"stage {stage.number}: {len(stage.source)} training images are left, too few for it")
            break
        if stage.number > 1:
            part = str(stage.number)
            run = chosen.run(workdir / part, resume, about)
        trained = _stage(key, chosen, stage, run)
        done.append(trained)
        if out:
            record = {"recipe": trained.recipe, "provenance": provenance.provenance(seed=about.get("seed"))}
            classifiers.save(out / part, trained.classifier, record)
            say(f"wrote {out / part}: natural accuracy {trained.recipe['natural']:.4f} on {len(test)} test images")
        stage = stage.method.next_stage(trained.classifier, stage)
    return dataclasses.replace(done[-1], earlier=tuple(done[:-1]))


def _descent(s: Settings, steps_per_epoch: int) -> optax.GradientTransformation:
    """The rule of descent over the whole run."""
    return training.optimiser(
        s.schedule, learning_rate=float(s.learning_rate or 0), momentum=s.momentum, rule=s.rule, epochs=s.epochs,
        weight_decay=float(s.weight_decay or 0), steps_per_epoch=max(1, steps_per_epoch))


def _stage(key: jax.Array, chosen: TrainingPlan, stage: Stage, run: Run) -> Trained:
    """One stage: from its start, or fresh weights, to the figures of its recipe."""
    s, source, method = chosen.settings, stage.source, stage.method
    start = stage.start or classifiers.build(
        s.classifier, source.num_classes, source.image_shape, key=keys.named(key, "weights"))
    evaluation = training.Evaluation(stage.test, chosen.threat, s.evaluate_count, s.export_every, s.final_radii)
    trained = training.train(keys.named(key, "training"), start, method, source, settings=s, run=run,
                             tx=_descent(s, source.steps(s.batch_size)), evaluation=evaluation)
    figures = training.figures(keys.named(key, "figures"), trained, stage.test, chosen.threat, method=method,
                               count=s.final_count, radii=s.final_radii)
    if s.final_count:
        figures |= method.figures(keys.named(key, "own figures"), trained, stage.test.take(s.final_count))
    figures["seconds"] = round(training.seconds(run.workdir))
    return Trained(trained, {**(run.config or {}), **figures})
