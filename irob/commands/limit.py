"""The limit for label robustness: the largest share of images that any classifier can keep, from conflicts alone."""

import dataclasses

from irob.core.check import InputError, integer, number, writable_folder, write_atomically
from irob.core.config import option

SAMPLES = 50_000


@dataclasses.dataclass(frozen=True)
class Config:
    """Images of different classes within 2 epsilon of each other cannot both be kept, by no classifier at all.

    Of a generator (the default), of a data set (--dataset), or of your own images (--images FILE.npz with x and y).
    """

    generator: str = option("acgan_mnist", "shipped name or folder of the generator, or my.py:name of your own")
    dataset: str = option("", "data set instead of a generator, such as mnist or cifar10")
    images: str = option("", "FILE.npz with images x and labels y, instead of a generator")
    split: str = option("train", "of the data set: train or test")
    data_dir: str = option("", "folder of the data set's files")
    samples: int | None = option(None, "images; default: 50000 of a generator, all of a data set")
    epsilon: list[str] = option(["1", "2", "2.5", "3"], "radii of the ball",
                                unit="image units, [0,1] pixels")
    norm: str = option("l2", "norm of the ball: l2, linf, l1")
    confidence: float = option(0.95, "of the limits of the distribution at all these radii together")
    certified: int = option(20_000, "fresh images on which shipped certified classifiers of this generator are counted "
                            "(l2): the lower end; 0 for none")
    judge: str = option("", "classifier, such as mnist_standard: only images whose intended label it confirms")
    coupling: str = option("", "classes that share codes: a shipped name, a folder, or auto for what is shipped")
    grid: int = option(60, "radii of the curve, evenly up to the largest; 0 for no curve")
    seed: int = option(0, "seed of the generated images")
    memory: str = option("", "what may be filled, such as 8GiB: it sets the chunks, and how many conflicts are kept "
                         "(one in 128 bytes); default: what is there, and 16 million conflicts")
    out: str = option("out/limit", "folder for limit.json, limit.csv, the figure, and pieces of unfinished work")
    resume: bool = option(True, "use pieces that an earlier run with the same settings left in --out")


def main(config: Config) -> None:
    """Checks, searches conflicts, counts certified classifiers, prints, writes."""
    from irob import classifiers, data, generators
    from irob.core import keys, memory, weights
    from irob.core.evidence import Report
    from irob.core.provenance import provenance
    from irob.core.store import Pieces, Task
    from irob.evaluation.limits import coupled, label_lower, label_upper
    from irob.evaluation.memory import peak_mib
    from irob.report import csv, figures, label, text
    from irob.report import label_limit as shown

    radii = [number("epsilon", e, low=0.0, open_low=True) for e in config.epsilon]
    most = memory.parse(config.memory) // label_upper.EDGE_BYTES if config.memory else label_upper.MOST
    job = label_upper.Job(radii, config.norm, config.confidence, integer("grid", config.grid), most)
    job.check()
    count = None if config.samples is None else integer("samples", config.samples, low=1)
    key = keys.named(keys.from_seed(config.seed), "label limit")
    if config.dataset and config.images:
        raise InputError("images: got --dataset and --images, wanted one of them")
    real = bool(config.dataset or config.images)
    if real and config.judge:
        raise InputError("judge: got one for a data set, wanted none: its labels are not intended but given")
    if real and config.coupling:
        raise InputError("coupling: got one for a data set, wanted none: its images have no codes")
    if real:
        name, where = (config.dataset, config.data_dir) if config.dataset else ("npz", config.images)
        examples = data.load(name, config.split, data_dir=where, **({"count": count} if count else {}))
        used = {}
    else:
        generator = generators.load(config.generator)
        judge = dataclasses.replace(classifiers.load(config.judge), name=config.judge) if config.judge else None
        given = coupled.shipped(generator) if config.coupling == "auto" else config.coupling
        coupling = coupled.load(given, generator) if given else None
        used = {v: weights.checksum(v) for v in (config.generator, config.judge, given) if v}
    folder = writable_folder(config.out)
    pieces = Pieces(folder / "pieces", config.resume)
    with memory.limited(config.memory):
        if real:
            task = Task(examples.name, pieces, examples.name)
            rows = label_upper.of_dataset(examples, job, task=task, split=config.split)
        else:
            task = Task(config.generator, pieces, config.generator)
            rows = label_upper.of_generator(
                key, generator, job, count or SAMPLES, how=label_upper.Drawing(judge=judge, coupling=coupling),
                task=task, seed=config.seed)
            if config.certified and config.norm == "l2" and judge is None:
                rows += label_lower.rows(
                    keys.named(key, "certified"), generator, epsilons=radii, confidence=config.confidence,
                    samples=integer("certified", config.certified, low=1), choice=max(1, config.certified // 4),
                    task=dataclasses.replace(task, label=task.says("certified classifiers")))
    report = Report(tuple(rows), provenance(
        seed=config.seed, settings=dataclasses.asdict(config), matmul_precision="float32", weights=used,
        seconds={k: round(v, 1) for k, v in pieces.seconds.items()}, peak_memory_mib=peak_mib()))
    report.check()
    write_atomically(folder / "limit.json", report.to_json())
    write_atomically(folder / "limit.csv", csv.text(report.rows))
    if figure := shown.figure(report.rows):
        write_atomically(folder / "limit.png", figures.png(figure))
        write_atomically(folder / "limit.svg", figures.svg(figure))
    print(text.render(shown.table(report.rows)))
    bracket = label.table(report.rows, config.generator) if any(r.side == "lower" for r in report.rows) else None
    if bracket:
        print("", text.render(bracket), sep="\n")
