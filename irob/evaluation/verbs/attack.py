"""The work behind `python -m irob attack`: from names of classifiers and attacks to a report."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from irob import attacks, classifiers, data, generators
from irob.core import drawing, keys, laws, registry
from irob.core.check import InputError, integer, number, unknown
from irob.core.evidence import Report
from irob.core.progress import say
from irob.core.provenance import provenance
from irob.core.store import Pieces, fingerprint
from irob.core.threat import LpBall
from irob.core.types import Dataset, Generator
from irob.evaluation import users
from irob.evaluation.accuracy import attacked, doubts

PROTOCOLS = ("default", "paper")


def options_of(attack: str) -> list[str]:
    """The options that an attack takes."""
    return [p for p in attacks.takes(attack) if p != "generator"]


def plans(
    names: Sequence[str], samples: Sequence[int], protocol: str, options: dict[str, Any]
) -> list[attacked.AttackPlan]:
    """One plan for each attack; an option goes to every attack that takes it, and to one at least.

    names: NAME, or NAME:PROTOCOL for an attack by another protocol than the rest ("in_distribution:paper"); NAME may
    be package.module:build or path/to/file.py:build.

    Raises:
        InputError: unknown attack, protocol or option.
    """
    parts = [_parted(name) for name in names]
    chosen_protocols = [own or protocol for _, own in parts]
    for own in chosen_protocols:
        if own not in PROTOCOLS:
            raise unknown("protocol", own, PROTOCOLS)
    names = [name for name, _ in parts]
    known = {name: options_of(name) for name in names}
    given = {k: v for k, v in options.items() if v is not None}
    for option in given:
        if not any(option in k for k in known.values()):
            raise unknown(f"option of {', '.join(names)}", option, sorted({o for k in known.values() for o in k}))
    out = []
    for name, count, own in zip(names, samples, chosen_protocols):
        chosen = {k: v for k, v in given.items() if k in known[name]}
        if own != "default" and "protocol" in known[name]:
            chosen["protocol"] = own
        out.append(attacked.AttackPlan(name, count, chosen, monotone=own == "default"))
    return out


def _parted(name: str) -> tuple[str, str]:
    """(attack, protocol or ""): what follows a registered name, or the second colon, is a protocol.

    >>> _parted("pgd:paper"), _parted("mine.py:build"), _parted("mine.py:build:paper")
    (('pgd', 'paper'), ('mine.py:build', ''), ('mine.py:build', 'paper'))
    """
    head, _, own = name.rpartition(":")
    if head in attacks.names() or ":" in head:
        return head, own
    return name, ""


@dataclasses.dataclass(frozen=True)
class AttackRequest:
    """What `irob attack` is asked for: `trials` x `samples` test images of a data set, at every epsilon.

    classifier: shipped names, folders, or a user's factories (see `users`); all are attacked on the same images.
    weights: the file of a model of RobustBench.
    attack: names, see `plans`; options: of the attacks, None for their own.
    dataset: "" is the one that the generator draws.  images: an .npz file of the user's own x, y and optionally z in
    its place; where it holds fewer than trials x samples images, all are used.  resize: see `data.narrowed`.
    examine: look for what makes the evaluation doubtful, see `doubts`.
    """

    classifier: str | Sequence[str]
    attack: Sequence[str]
    epsilon: Sequence[float]
    dataset: str = ""
    norm: str = "l2"
    protocol: str = "default"
    resize: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    samples: int = 100
    trials: int = 1
    generator: str = "acgan_mnist"
    data_dir: str = ""
    images: str = ""
    weights: str = ""
    examine: bool = True
    seed: int = 0


def run(asked: AttackRequest, *, folder: pathlib.Path | None = None, resume: bool = True) -> Report:
    """Attacks all classifiers on the same images; see `attacked.evaluate`.

    folder: where finished pieces are kept, so that a run that was killed goes on.
    """
    threat = LpBall(asked.norm, 1.0)
    if not asked.epsilon:
        raise InputError("epsilon: got none, wanted at least one radius")
    radii = sorted({number("epsilon", e, low=0.0, high=np.finfo(np.float32).max) for e in asked.epsilon})
    integer("samples x trials",
            integer("samples", asked.samples, low=1) * integer("trials", asked.trials, low=1))
    todo = plans(asked.attack, [asked.samples] * len(asked.attack), asked.protocol, dict(asked.options))
    for p in todo:
        if not attacked.latent(p.attack):
            attacks.build(p.attack, threat, **p.options)  # what is wrong with it needs no images
    key = keys.from_seed(asked.seed)
    specs = users.once([asked.classifier] if isinstance(asked.classifier, str) else asked.classifier)
    if not specs:
        raise InputError("classifier: got none, wanted at least one")
    # What a factory made is wrapped when the images' shape is known; shipped weights fail early.
    made = {s: users.make(s, asked.weights) if registry.is_outside(s) else classifiers.load(s) for s in specs}
    test, source, samples = _examples(asked, latent=any(attacked.latent(p.attack) for p in todo))
    todo = [dataclasses.replace(p, samples=samples) for p in todo]
    models = {s: users.load(s, m, test.image_shape) if registry.is_outside(s) else m for s, m in made.items()}
    for name, model in models.items():
        if int(test.y.max()) >= model.num_classes:
            raise InputError(f"labels: got values up to {int(test.y.max())}, classifier {name!r} has "
                             f"{model.num_classes} classes, wanted labels in [0, {model.num_classes - 1}]")
    starts = [p for p in todo if attacked.latent(p.attack) and p.options.get("initialisation", "code") == "code"]
    if starts and source is not None and test.z is not None and not test.name.endswith("_gen"):
        drawing.belong(source, test.x, test.y, test.z)  # before anything is attacked or written
    on = attacked.Evaluation(test, radii, threat, asked.trials, source, pieces=Pieces(folder, resume))
    rows, warnings = [], []
    for name, model in models.items():
        found, outcomes = attacked.evaluate(
            keys.named(key, "attack"), model, todo, dataclasses.replace(on, name=name, label=name))
        rows += found
        if asked.examine:
            doubtful = doubts.of(keys.named(key, "examine"), model, test, outcomes, epsilons=radii,
                                 threat=threat.at(radii[-1]) if radii[-1] > 0 else None)
            warnings += [f"{name}: {w.code}: {w.message}" for w in doubtful]
    prints = {name: fingerprint(model.variables) for name, model in models.items()}
    record = provenance(
        seed=asked.seed, matmul_precision="float32", classifier=prints[specs[0]] if len(specs) == 1 else prints,
        generator=fingerprint(source.variables) if source else None, seconds=on.pieces.seconds,
        discoveries=laws.missed_by_attacks(rows), warnings=warnings)
    report = Report(tuple(rows), record)
    report.check()
    return report


def _examples(asked: AttackRequest, *, latent: bool) -> tuple[Dataset, Generator | None, int]:
    """(test images, the generator for attacks that want one, how many images each trial takes)."""
    samples, trials = asked.samples, asked.trials
    if not asked.images:
        dataset, source = asked.dataset, None
        if latent or not dataset or asked.resize:
            dataset, source = drawn(dataset, asked.generator, asked.resize)
        test = load(dataset, samples * trials, generator=source or asked.generator, data_dir=asked.data_dir,
                    seed=asked.seed)
        return test, source if latent else None, samples
    if asked.dataset or asked.data_dir or asked.resize:
        raise InputError(f"images: got {asked.images!r} and a data set, wanted one; leave out --dataset, --data-dir "
                         "and --resize")
    test = data.load("npz", "test", data_dir=asked.images)
    if samples * trials > len(test):
        samples = len(test) // trials
        if not samples:
            raise InputError(f"images: got {len(test)}, wanted at least one for each of {trials} trials")
        say(f"images: got fewer than --trials {trials} times --samples {asked.samples}: each trial takes {samples}")
    return test.take(samples * trials), generators.load(asked.generator) if latent else None, samples


def drawn(dataset: str, generator: str, resize: str = "") -> tuple[str, Generator]:
    """A data set's name, by default that of the one that the generator draws, and the generator as it takes it."""
    found = generators.load(generator)
    name = dataset or data.drawn_by(found)
    return name, data.narrowed(name, found, resize)


def load(dataset: str, count: int, *, generator: Generator | str, data_dir: str, seed: int, split: str = "test"):
    """The first `count` test images of a data set by name."""
    options: dict[str, Any] = {}
    if dataset.endswith("_gen"):
        options = {"generator": generator, "seed": seed, "count": count}
    elif data_dir:
        options = {"data_dir": data_dir}
    return data.load(dataset, split, **options).take(count)
