"""The work behind `python -m irob certify`: from names of a classifier and certifiers to a report."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob import certify, classifiers
from irob.core import keys, layers, registry
from irob.core import weights as stored
from irob.core.check import InputError, integer, number, unknown
from irob.core.evidence import Report
from irob.core.provenance import provenance
from irob.core.store import Pieces, fingerprint
from irob.core.threat import LpBall
from irob.core.types import Classifier, Dataset
from irob.evaluation import users
from irob.evaluation.accuracy import attacked
from irob.evaluation.accuracy.certified import SMOOTHING, CertifierPlan, build, evaluate, examine
from irob.evaluation.verbs import attack as attacking

CURVED = (layers.ReLU, layers.LeakyReLU, layers.Tanh, layers.MaxPool, layers.GroupSort)
BEST = ("crown", "dual", "zonotope", "interval")  # tightest first
FEW = 10_000  # hidden units; with more, certifiers that walk back from every one of them take minutes an image on a CPU


def recipe(name_or_path) -> dict[str, Any]:
    """The recipe that is stored with the weights of a classifier; {} where there is none."""
    try:
        found = json.loads((classifiers.resolve(name_or_path) / stored.CONFIG).read_text(encoding="utf-8"))
        return found.get("recipe", {})
    except (InputError, OSError, ValueError):
        return {}


def plans(names: Sequence[str], options: dict[str, Any]) -> list[CertifierPlan]:
    """One plan for each certifier; an option goes to every certifier that takes it, and to one at least.

    Raises:
        InputError: unknown certifier or option.
    """
    known = {}
    for name in names:
        known[name] = [p for p in certify.takes(name) if p != "key"]
    given = {k: v for k, v in options.items() if v is not None}
    for option in given:
        if not any(option in k for k in known.values()):
            raise unknown(f"option of {', '.join(names)}", option, sorted({o for k in known.values() for o in k}))
    return [CertifierPlan(name, {k: v for k, v in given.items() if k in known[name]}) for name in dict.fromkeys(names)]


def best(classifier: Classifier, data: Dataset, norm: str, sigma: float | None) -> str:
    """The certifier if none is named: smoothing or lipschitz where the training was for it, or the tightest that its
    layers allow, and of large networks the interval bounds.

    Raises:
        InputError: none does, with what each of them says.
    """
    if sigma is not None:
        return SMOOTHING
    if classifier.name == "one_lipschitz" and "lipschitz" in certify.names():
        return "lipschitz"
    why = []
    for name in BEST if hidden(classifier, data) <= FEW else BEST[-1:]:
        if name not in certify.names():
            continue
        try:
            examine(build(CertifierPlan(name), keys.from_seed(0)), classifier, data, LpBall(norm, 0.1))
            return name
        except InputError as e:
            why.append(str(e))
    raise InputError(f"certifier: none walks the layers of this classifier ({'; '.join(dict.fromkeys(why))}); "
                     "smoothing needs none: --certifier smoothing --sigma 0.5")


def explicit(classifier: Classifier) -> Classifier:
    """The classifier with its layers made explicit where they can be read from it; else as it is."""
    try:
        given = layers.of(classifier)
    except InputError:  # said by the certifier that wants them
        return classifier
    kinds = tuple(type(layer).__name__ for layer in given)
    return dataclasses.replace(classifier, variables=given, module=layers.run, layers=kinds)


def hidden(classifier: Classifier, data: Dataset) -> int:
    """The number of inputs of activation layers, which a certifier must bound; 0 if layers are not known.

    >>> from irob import certify, classifiers
    >>> net = [layers.Flatten(), layers.Dense(jnp.ones((4, 3)), jnp.zeros(3)), layers.ReLU()]
    >>> hidden(classifiers.from_layers(net, 3), Dataset(np.zeros((1, 2, 2, 1)), np.zeros(1), None, 3, (2, 2, 1)))
    3
    """
    count, here = 0, jax.ShapeDtypeStruct(data.image_shape, jnp.float32)
    try:
        for layer in layers.of(classifier):
            count += math.prod(here.shape) * isinstance(layer, CURVED)
            here = jax.eval_shape(layer, here)
    except InputError:
        return 0
    return count


@dataclasses.dataclass(frozen=True)
class CertifyRequest:
    """What `irob certify` is asked for: `samples` test images, at every epsilon.

    classifier: shipped name, folder, or a user's factory (see `users`), with `weights`, the file of a model of
    RobustBench.  images: an .npz file of the user's own x and y, in the place of a data set by name.
    certifier: names; none for the best that the classifier's layers allow.  options: of the certifiers; sigma is by
    default that of the classifier's training.  curve: search radii too, see `CertifierPlan`.
    attack: on the same images; steps, restarts: of it, None for its own.
    """

    classifier: str
    dataset: str = "mnist_gen"
    certifier: Sequence[str] = ()
    epsilon: Sequence[float] = (0.5, 1.0, 2.0)
    norm: str = "l2"
    attack: str = "pgd"
    steps: int | None = None
    restarts: int | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    curve: bool = False
    samples: int = 100
    generator: str = "acgan_mnist"
    data_dir: str = ""
    images: str = ""
    weights: str = ""
    seed: int = 0


def run(
    asked: CertifyRequest, *, folder: pathlib.Path | None = None, resume: bool = True
) -> tuple[Report, dict[str, np.ndarray]]:
    """Certifies and attacks the same images; see `certified.evaluate`.

    folder: where finished pieces are kept.

    Returns:
        The report, checked, and {column: values} with one entry for each example, for a file.
    """
    radii = sorted({number("epsilon", e, low=0.0, high=float(np.finfo(np.float32).max), open_low=True)
                    for e in asked.epsilon})
    threat, classifier = LpBall(asked.norm, 1.0), asked.classifier
    samples = integer("samples", asked.samples, low=1)
    key = keys.from_seed(asked.seed)
    (fool,) = attacking.plans([asked.attack], [samples], "default",
                              {"steps": asked.steps, "restarts": asked.restarts})
    for name in asked.certifier:
        certify.takes(name)
    trained = recipe(classifier).get("sigma")
    given = {"sigma": trained, **{k: v for k, v in asked.options.items() if v is not None}}
    if asked.images and asked.data_dir:
        raise InputError(f"images: got {asked.images!r} and a data set, wanted one; leave out --data-dir")
    theirs = registry.is_outside(classifier)
    model = users.make(classifier, asked.weights) if theirs else classifiers.load(classifier)
    test = attacking.load("npz" if asked.images else asked.dataset, samples, generator=asked.generator,
                          data_dir=asked.images or asked.data_dir, seed=asked.seed)
    if theirs:
        model = explicit(users.load(classifier, model, test.image_shape))
    if int(test.y.max()) >= model.num_classes:
        raise InputError(f"labels: got values up to {int(test.y.max())}, classifier {classifier!r} has "
                         f"{model.num_classes} classes, wanted labels in [0, {model.num_classes - 1}]")
    names = list(asked.certifier) or [best(model, test, threat.norm, given["sigma"])]
    if SMOOTHING not in names:
        given.pop("sigma")
    elif given["sigma"] is None:
        raise InputError(f"sigma: classifier {classifier} was not trained for smoothing and names none; give --sigma")
    todo = [dataclasses.replace(plan, curve=asked.curve) for plan in plans(names, given)]
    on = attacked.Evaluation(test, radii, threat, name=pathlib.Path(classifier).name, section="certify",
                             pieces=Pieces(folder, resume), label=classifier)
    rows, outcomes = evaluate(keys.named(key, "certify"), model, todo, on, attack=fool)
    record = provenance(seed=asked.seed, matmul_precision="float32", classifier=fingerprint(model.variables),
                        seconds=on.pieces.seconds)
    report = Report(tuple(rows), record)
    report.check()
    each: dict[str, np.ndarray] = {"image": np.arange(len(test)), "label": test.y}
    for o in outcomes:
        if o.radius is not None:
            each[f"{o.plan.certifier} radius"] = o.radius
        for i, e in enumerate(radii):
            each[f"{o.plan.certifier} certified {threat.at(e)}"] = o.certified[i].astype(int)
            each[f"{o.model} robust {threat.at(e)}"] = o.robust[i].astype(int)
    return report, each
