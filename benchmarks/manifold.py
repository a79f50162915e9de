"""Success on the image manifold against seconds an image: the manifold attack and the published procedure.

Both attack the same codes; a classifier's robustness on the manifold is its own property only once more effort no
longer lowers it.  Seconds include the inversion where a contender starts from one; on the CPU they are those of
the processor, which other work on the machine does not lengthen.  Writes the rows as JSON and the curves as a figure.
"""

import dataclasses
import json
import os
import pathlib
import time

import jax
import numpy as np
import torch

from benchmarks import common, twins
from irob import attacks, classifiers, generators
from irob.core import check, keys
from irob.core.batch import Work
from irob.core.config import option, run
from irob.core.provenance import provenance
from irob.core.threat import LpBall

EPSILONS = (1.0, 2.0, 3.0)
LAGRANGIAN = {"search": "binary", "distance": "l2_squared", "learning_rate": 0.01, "carry": True}
CHUNK = 25
MANIFOLD = {1: (50, 1, 1), 2: (50, 2, 1), 4: (50, 4, 1), 8: (50, 8, 1), 16: (50, 8, 2)}  # steps, walks, restarts


def clock() -> float:
    """Seconds of the processor, or of the wall where the work is done elsewhere."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def contenders(source) -> list[tuple[str, str, int, bool, object]]:
    """(curve, start, budget, given the code, attack).  Budget 1 is one walk, or the published procedure."""
    ball = LpBall("l2", max(EPSILONS))

    def published(**options):
        return attacks.build("in_distribution", ball, generator=source, **options)

    def manifold(budget, start):
        steps, walks, restarts = MANIFOLD[budget]
        return attacks.build("manifold", ball, generator=source, initialisation=start, steps=steps, walks=walks,
                             restarts=restarts)

    rows: list[tuple[str, str, int, bool, object]] = [
        ("manifold", "code", budget, True, manifold(budget, "code")) for budget in MANIFOLD
    ]
    rows += [("manifold, from an inversion", "inversion", b, False, manifold(b, "inversion")) for b in (1, 2, 4, 8)]
    rows += [("published", "inversion", 1, False, published(protocol="paper"))]
    for budget, (search_steps, steps) in {1: (4, 100), 2: (4, 200), 4: (9, 200)}.items():
        attack = published(**LAGRANGIAN, search_steps=search_steps, steps=steps)
        rows.append(("published, from the code", "code", budget, True, attack))
    return rows


@dataclasses.dataclass(frozen=True)
class Config:
    """Trace success against seconds for the manifold attack and the published one; writes JSON and a figure."""

    count: int = option(100, f"images, more than {CHUNK}")
    generator: str = option("acgan_mnist", "shipped generator, or a folder")
    classifier: str = option("mnist_gen_standard,mnist_gen_adv,mnist_gen_trades", "shipped classifiers or folders")
    twin: bool = option(True, "run the PyTorch twin of the published procedure too")
    seed: int = option(0, "random seed")
    out: str = option("out/benchmarks", "folder for the JSON file and the figure")


def main(config: Config) -> None:
    """Attacks `count` drawn images of every classifier with every contender.

    The first chunk compiles and is not timed.
    """
    common.begin(config)
    count = check.integer("count", config.count, low=CHUNK + 1)
    source = generators.load(config.generator)
    x, y, z = common.drawn(source, count, config.seed)
    rows = []

    def record(classifier, curve, start, budget, seconds, distance):
        share = [float(np.mean(distance <= e)) for e in EPSILONS]
        rows.append({"classifier": classifier, "curve": curve, "start": start, "budget": budget, "epsilon": EPSILONS,
                     "success": share, "seconds_per_image": seconds,
                     "mean_distance": float(np.mean(np.minimum(distance, max(EPSILONS))))})
        print(f"  {curve:30s} x {budget:<3d} {1e3 * seconds:9.1f} ms/image  " + " ".join(f"{s:6.3f}" for s in share),
              flush=True)
        save(config, rows, count)

    for name in config.classifier.split(","):
        f = classifiers.load(name)
        print(f"{name}: {count} images, success at epsilon {EPSILONS}")
        for curve, start, budget, known, attack in contenders(source):
            found, seconds = [], 0.0
            for part in (slice(0, CHUNK), slice(CHUNK, count)):
                begin = clock()
                codes = z[part] if known else None
                result = attacks.run(attack, keys.from_seed(config.seed), f, x[part], y[part], codes, work=Work(CHUNK))
                seconds = (clock() - begin) / len(result.success)
                found.append(np.where(result.success, result.distance, np.inf))
            record(name, curve, start, budget, seconds, np.concatenate(found))
        if config.twin:
            g_twin, f_twin = twins.generator(source), twins.classifier(f)
            images, labels = twins.images(x), torch.from_numpy(y).long()
            natural = f_twin(images).argmax(1).numpy() != y
            begin = clock()
            distance = np.where(natural, 0.0, twins.in_distribution(g_twin, f_twin, images, labels))
            record(name, "published, in PyTorch", "inversion", 1, (clock() - begin) / count, distance)
    draw(rows, pathlib.Path(config.out) / "manifold.png")


def save(config: Config, rows: list[dict], count: int) -> None:
    """The rows so far, so that a run that is stopped leaves what it found."""
    content = {"benchmark": "manifold", "count": count, "rows": rows,
               "provenance": provenance(seed=config.seed, load_average=list(os.getloadavg()))}
    check.write_atomically(pathlib.Path(config.out) / "manifold.json", json.dumps(content, indent=2) + "\n")


def draw(rows: list[dict], path: pathlib.Path) -> None:
    """One panel a classifier: success against seconds, a colour for each curve, a line style for each epsilon."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(r["classifier"] for r in rows))
    curves = list(dict.fromkeys(r["curve"] for r in rows))
    figure, axes = plt.subplots(1, len(names), figsize=(4.2 * len(names), 3.6), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names):
        for colour, curve in enumerate(curves):
            own = sorted((r for r in rows if r["classifier"] == name and r["curve"] == curve),
                         key=lambda r: r["seconds_per_image"])
            for i, (epsilon, style) in enumerate(zip(EPSILONS, (":", "--", "-"))):
                label = curve if epsilon == max(EPSILONS) else None
                axis.plot([r["seconds_per_image"] for r in own], [100 * r["success"][i] for r in own], style,
                          color=f"C{colour}", marker="o", markersize=3, label=label)
        axis.set(xscale="log", title=name, xlabel="seconds an image  (ε = 1 dotted, 2 dashed, 3 solid)")
    axes[0][0].set_ylabel("success, %")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=len(curves), fontsize=8)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"  written to {path} and {path.with_suffix('.json')}")


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.manifold")
