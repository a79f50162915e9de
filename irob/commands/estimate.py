"""Estimates the local Lipschitz constants of a generator, class by class, as Table 1 of the paper."""

import dataclasses
import io

from irob.core.check import InputError, number, writable_folder, write_atomically
from irob.core.config import option

AS_IT_IS = "none"


@dataclasses.dataclass(frozen=True)
class Config:
    """Algorithm 1 over codes, neighbours and trials: constants from below.  The defaults take hours on a CPU."""

    generator: str = option("acgan_mnist", "shipped name or folder of the generator, or my.py:name of your own")
    dataset: str = option("", "data set that it draws: imagenet10_gen makes BigGAN one of ten classes at 32x32; "
                          "default: found by its kind; none: the generator as it is")
    resize: str = option("", "to 32x32 (BigGAN): area (default), nearest (as published) or bilinear")
    samples: int | None = option(None, "codes for each class and trial; default: the paper's, 1000, of BigGAN 500")
    neighbours: int | None = option(None, "random neighbours for each code; default: the paper's, 2000, of BigGAN 1000")
    radius: str = option("0.5", "of the ball about each code; auto: the smallest with radius * constant >= --epsilon",
                         unit="latent standard deviations")
    epsilon: float = option(3.0, "move that --radius auto is for", unit="image units")
    delta: float = option(0.001, "share of codes that the constant may miss")
    trials: int = option(10, "repetitions on fresh codes; mean and standard deviation over them")
    confidence: float = option(0.95, "wanted probability that the order statistic covers the (1 - delta)-quantile")
    protocol: str = option(
        "both", "corrected; paper: positive orthant, published units; both; maximised; all of these; certified")
    classes: list[int] = option([], "classes to estimate; default: all")
    out: str = option("out/estimate", "folder for estimate.json, estimate.csv, constants.npz and unfinished pieces")
    seed: int = option(0, "seed of codes and directions")
    resume: bool = option(True, "use pieces that an earlier run with the same settings left in --out")
    memory: str = option("", "what may be filled, such as 8GiB; sets the chunks; default: what the device has")
    show_memory: bool = option(False, "also print the peak memory of the process")


def main(config: Config) -> None:
    """Checks, estimates, writes, prints."""
    import numpy as np

    from irob import data, generators
    from irob.core import keys, memory, published, weights
    from irob.core.evidence import Report
    from irob.core.provenance import provenance
    from irob.core.store import Pieces
    from irob.evaluation.memory import peak_mib
    from irob.evaluation.verbs import estimate
    from irob.report import csv, text

    automatic = config.radius == "auto"
    try:
        radius = 0.5 if automatic else float(config.radius)
    except ValueError:
        raise InputError(f"radius: got {config.radius!r}, wanted a number or auto") from None
    number("epsilon", config.epsilon, low=0.0, open_low=True)
    memory.parse(config.memory or "1")
    key = keys.named(keys.from_seed(config.seed), "lipschitz")
    generator = generators.load(config.generator)
    dataset = config.dataset or data.drawn_by(generator)
    if dataset != AS_IT_IS:
        generator = data.narrowed(dataset, generator, config.resize)
    paper = published.settings(dataset)
    plan = estimate.EstimatePlan(
        paper.codes if config.samples is None else config.samples,
        paper.neighbours if config.neighbours is None else config.neighbours, radius, config.delta,
        config.trials, config.confidence, config.protocol, tuple(config.classes))
    plan.chosen(generator)
    folder = writable_folder(config.out)
    pieces = Pieces(folder / "pieces", config.resume)
    with memory.limited(config.memory):
        if automatic:
            plan = estimate.auto(key, generator, plan, config.epsilon, label=config.generator)
        found = estimate.estimate(
            key, generator, plan, dataset=dataset, name=config.generator, pieces=pieces, label=config.generator)
    record = provenance(
        seed=config.seed, settings=dataclasses.asdict(config), matmul_precision="float32", peak_memory_mib=peak_mib(),
        weights={config.generator: weights.checksum(config.generator)})
    report = Report(found.rows, record)
    report.check()
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **found.values)  # type: ignore[arg-type]
    write_atomically(folder / "constants.npz", arrays.getvalue())
    write_atomically(folder / "estimate.csv", csv.text(found.rows))
    write_atomically(folder / "estimate.json", report.to_json())
    print(text.render(estimate.table(found.rows)))
    if config.show_memory and (peak := peak_mib()) is not None:
        print(f"peak memory: {peak:.0f} MiB")
