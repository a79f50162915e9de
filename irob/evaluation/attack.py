"""From names to rows: classifiers, attacked as asked.  The work behind `python -m irob attack`."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from irob import attacks, classifiers, data, generators
from irob.core import drawing, keys, laws, registry
from irob.core.check import InputError, integer, number, unknown
from irob.core.evidence import Report
from irob.core.progress import say
from irob.core.provenance import provenance
from irob.core.threat import LpBall
from irob.core.types import Generator
from irob.evaluation import doubts, robustness, users
from irob.evaluation.pieces import Pieces, fingerprint

PROTOCOLS = ("default", "paper")


def options_of(attack: str) -> list[str]:
    """The options that an attack takes."""
    return [p for p in attacks.takes(attack) if p != "generator"]


def plans(
    names: Sequence[str], samples: Sequence[int], protocol: str, options: dict[str, Any]
) -> list[robustness.Plan]:
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
        out.append(robustness.Plan(name, count, chosen, monotone=own == "default"))
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


def run(
    *,
    classifier: str | Sequence[str],
    dataset: str,
    attack: Sequence[str],
    epsilon: Sequence[float],
    norm: str = "l2",
    protocol: str = "default",
    resize: str = "",
    options: dict[str, Any] | None = None,
    samples: int = 100,
    trials: int = 1,
    generator: str = "acgan_mnist",
    data_dir: str = "",
    images: str = "",
    weights: str = "",
    examine: bool = True,
    seed: int = 0,
    folder: pathlib.Path | None = None,
    resume: bool = True,
) -> Report:
    """Attacks `trials` x `samples` test images of a data set at every epsilon; see `robustness.evaluate`.

    classifier: shipped name, folder, or a user's factory (see `users`); several are attacked on the same images.
    weights: the file of a model of RobustBench.
    images: an .npz file of the user's own x, y and optionally z, in the place of a data set by name; where it holds
    fewer than trials x samples images, all are used.
    examine: look for what makes the evaluation doubtful, see `doubts`.
    dataset: "" is the one that the generator draws.  resize: how its images are brought to another size, see
    `data.narrowed`.  folder: where finished pieces are kept, so that a run that was killed goes on.
    """
    norm = LpBall(norm, 1.0).norm
    if not epsilon:
        raise InputError("epsilon: got none, wanted at least one radius")
    radii = sorted({number("epsilon", e, low=0.0, high=np.finfo(np.float32).max) for e in epsilon})
    count = integer("samples x trials", integer("samples", samples, low=1) * integer("trials", trials, low=1))
    todo = plans(attack, [samples] * len(attack), protocol, options or {})
    for p in todo:
        if not robustness.latent(p.attack):
            attacks.build(p.attack, LpBall(norm, 1.0), **p.options)  # what is wrong with it needs no images
    key = keys.from_seed(seed)
    specs = users.once([classifier] if isinstance(classifier, str) else classifier)
    if not specs:
        raise InputError("classifier: got none, wanted at least one")
    # What a factory made is wrapped when the images' shape is known; shipped weights fail early.
    made = {s: users.make(s, weights) if registry.is_outside(s) else classifiers.load(s) for s in specs}
    latent = any(robustness.latent(p.attack) for p in todo)
    if images:
        if dataset or data_dir or resize:
            raise InputError(f"images: got {images!r} and a data set, wanted one; leave out --dataset, --data-dir "
                             "and --resize")
        test = data.load("npz", "test", data_dir=images)
        if samples * trials > len(test):
            samples = len(test) // trials
            if not samples:
                raise InputError(f"images: got {len(test)}, wanted at least one for each of {trials} trials")
        test = test.take(samples * trials)
        source = generators.load(generator) if latent else None
    else:
        if latent or not dataset or resize:
            dataset, source = drawn(dataset, generator, resize)
        else:
            source = None
        test = load(dataset, count, generator=source or generator, data_dir=data_dir, seed=seed)
        source = source if latent else None
    todo = [dataclasses.replace(p, samples=samples) for p in todo]
    models = {s: users.load(s, m, test.image_shape) if registry.is_outside(s) else m for s, m in made.items()}
    for name, model in models.items():
        if int(test.y.max()) >= model.num_classes:
            raise InputError(f"labels: got values up to {int(test.y.max())}, classifier {name!r} has "
                             f"{model.num_classes} classes, wanted labels in [0, {model.num_classes - 1}]")
    starts = [p for p in todo if robustness.latent(p.attack) and p.options.get("initialisation", "code") == "code"]
    if starts and source is not None and test.z is not None and not dataset.endswith("_gen"):
        drawing.belong(source, test.x, test.y, test.z)  # before anything is attacked or written
    if samples * trials < count:
        say(f"images: got fewer than --trials {trials} times --samples {count // trials}: each trial takes {samples}")
    pieces = Pieces(folder, resume)
    rows, warnings = [], []
    for name, model in models.items():
        found, outcomes = robustness.evaluate(
            keys.named(key, "attack"), model, test, todo, epsilons=radii, norm=norm, trials=trials, name=name,
            generator=source, pieces=pieces, label=name)
        rows += found
        if examine:
            threat = LpBall(norm, radii[-1]) if radii[-1] > 0 else None
            doubtful = doubts.of(keys.named(key, "examine"), model, test, outcomes, epsilons=radii, threat=threat)
            warnings += [f"{name}: {w.code}: {w.message}" for w in doubtful]
    prints = {name: fingerprint(model.variables) for name, model in models.items()}
    record = provenance(
        seed=seed, matmul_precision="float32", classifier=prints[specs[0]] if len(specs) == 1 else prints,
        generator=fingerprint(source.variables) if source else None, seconds=pieces.seconds,
        discoveries=laws.missed_by_attacks(rows), warnings=warnings)
    report = Report(tuple(rows), record)
    report.check()
    return report


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
