"""From names to rows: one classifier, attacked as asked.  The work behind `python -m irob attack`."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from irob import classifiers, data, generators
from irob.core import keys
from irob.core.check import InputError, integer, number, unknown
from irob.core.evidence import Report
from irob.core.provenance import provenance
from irob.core.types import Generator
from irob.evaluation import robustness
from irob.evaluation.pieces import Pieces, fingerprint

PROTOCOLS = ("default", "paper")


def options_of(attack: str) -> list[str]:
    """The options that an attack takes."""
    return [p for p in robustness.takes(attack) if p != "generator"]


def plans(
    names: Sequence[str], samples: Sequence[int], protocol: str, options: dict[str, Any]
) -> list[robustness.Plan]:
    """One plan for each attack; an option goes to every attack that takes it, and to one at least.

    Raises:
        InputError: unknown attack, protocol or option.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    known = {name: options_of(name) for name in names}
    given = {k: v for k, v in options.items() if v is not None}
    for option in given:
        if not any(option in k for k in known.values()):
            raise unknown(f"option of {', '.join(names)}", option, sorted({o for k in known.values() for o in k}))
    out = []
    for name, count in zip(names, samples):
        chosen = {k: v for k, v in given.items() if k in known[name]}
        if protocol != "default" and "protocol" in known[name]:
            chosen["protocol"] = protocol
        out.append(robustness.Plan(name, count, chosen, monotone=protocol == "default"))
    return out


def run(
    *,
    classifier: str,
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
    seed: int = 0,
    folder: pathlib.Path | None = None,
    resume: bool = True,
) -> Report:
    """Attacks `trials` x `samples` test images of a data set at every epsilon; see `robustness.evaluate`.

    dataset: "" is the one that the generator draws.  resize: how its images are brought to another size, see
    `data.narrowed`.  folder: where finished pieces are kept, so that a run that was killed goes on.
    """
    if not epsilon:
        raise InputError("epsilon: got none, wanted at least one radius")
    radii = sorted({number("epsilon", e, low=0.0, high=np.finfo(np.float32).max) for e in epsilon})
    count = integer("samples", samples, low=1) * integer("trials", trials, low=1)
    todo = plans(attack, [samples] * len(attack), protocol, options or {})
    key = keys.from_seed(seed)
    model = classifiers.load(classifier)
    latent = any(robustness.latent(name) for name in attack)
    dataset, source = drawn(dataset, generator, resize) if latent or not dataset or resize else (dataset, None)
    test = load(dataset, count, generator=source or generator, data_dir=data_dir, seed=seed)
    source = source if latent else None
    pieces = Pieces(folder, resume)
    rows, _ = robustness.evaluate(
        keys.named(key, "attack"), model, test, todo, epsilons=radii, norm=norm, trials=trials, name=classifier,
        generator=source, pieces=pieces, label=classifier)
    record = provenance(
        seed=seed, matmul_precision="float32", classifier=fingerprint(model.variables),
        generator=fingerprint(source.variables) if source else None, seconds=pieces.seconds,
        discoveries=robustness.discoveries(rows))
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
