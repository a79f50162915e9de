"""Timing by turns, a table, and a JSON file with provenance.

Contenders run A B A B ..., so that a change in the machine's load meets all of them; the figure is the median over
rounds of the ratio within a round.
"""

import dataclasses
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from irob import classifiers
from irob.core import check, keys
from irob.core.config import option
from irob.core.provenance import provenance
from irob.core.types import Classifier, Generator

IROB = "irob"


@dataclasses.dataclass(frozen=True)
class Config:
    """Time irob against a PyTorch twin; prints a table and writes JSON."""

    rounds: int = option(5, "turns of every contender")
    count: int = option(0, "images, codes or steps in one turn; 0 is the benchmark's own number")
    generator: str = option("acgan_mnist", "shipped generator, or a folder")
    classifier: str = option("", "shipped classifier or folder; without one, a random small CNN, equally fast")
    seed: int = option(0, "random seed")
    out: str = option("out/benchmarks", "folder for the JSON file")


def interleave(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contender in every round, after one call of irob's that is not counted, since it compiles.

    A contender returns arrays or nothing; JAX's are waited for.
    """
    check.integer("rounds", rounds, low=1)
    for name, run in contenders.items():
        if name.startswith(IROB):
            jax.block_until_ready(run())
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def report(name: str, unit: str, count: int, seconds: dict[str, list[float]], config: Config, **facts) -> dict:
    """Prints one line a contender and writes out/NAME.json.  The ratio is contender / irob: above 1, irob is faster."""
    own = seconds[IROB]
    rows = []
    for contender, times in seconds.items():
        ratios = [t / o for t, o in zip(times, own)]
        rows.append({
            "contender": contender,
            "seconds_median": statistics.median(times),
            f"seconds_per_{unit}": statistics.median(times) / count,
            "ratio_median": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "seconds": times,
        })
    print(f"{name}: {count} {unit}s, {len(own)} rounds")
    for r in rows:
        low, high = r["ratio_range"]
        print(
            f"  {r['contender']:44s} {r['seconds_median']:9.3f} s  {1e3 * r[f'seconds_per_{unit}']:10.3f} ms/{unit}"
            f"  x {r['ratio_median']:.2f} [{low:.2f}, {high:.2f}]"
        )
    for key, value in facts.items():
        print(f"  {key}: {value}")
    record = {"benchmark": name, "count": count, "unit": unit, "rows": rows, "facts": facts}
    record["provenance"] = provenance(seed=config.seed, load_average=list(os.getloadavg()), torch=_torch())
    path = pathlib.Path(config.out) / f"{name}.json"
    check.write_atomically(path, json.dumps(record, indent=2) + "\n")
    print(f"  written to {path}")
    return record


def begin(config: Config) -> Config:
    """Before any work: the output folder can be written, and PyTorch uses every core it may, as XLA does."""
    check.writable_folder(config.out)
    try:
        import torch
    except ImportError:
        raise check.InputError("PyTorch: not installed, wanted for the twin; pip install '.[torch]'") from None
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return config


def small_cnn(config: Config) -> Classifier:
    """The classifier asked for, or the small CNN with random weights in every layer, the last one too."""
    if config.classifier:
        return classifiers.load(config.classifier)
    key = keys.from_seed(config.seed)
    fresh = classifiers.build("small_cnn", key=key)
    leaves, tree = jax.tree.flatten(fresh.variables)
    each = jax.random.split(key, len(leaves))
    noisy = [leaf + 0.05 * jax.random.normal(k, leaf.shape) for k, leaf in zip(each, leaves)]
    return dataclasses.replace(fresh, variables=jax.tree.unflatten(tree, noisy))


def drawn(generator: Generator, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images f[n,H,W,C], classes i[n] in turn, codes f[n,d]."""
    z = jax.random.normal(keys.from_seed(seed), (count, generator.latent_dim))
    y = np.arange(count, dtype=np.int32) % max(1, generator.num_classes)
    return np.asarray(jax.vmap(generator)(z, y)), y, np.asarray(z)


def _torch() -> str:
    import torch

    return f"{torch.__version__}, {torch.get_num_threads()} threads"
