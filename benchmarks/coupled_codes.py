"""Coupled against independent codes at equally many images: the limit for label robustness and what is sure of it.

`python -m benchmarks.coupled_codes --samples 20000 50000` writes rows of

    independent    codes of their own for every image,
    one code       the classes of a pair have the same code,
    coupled        a learned orthogonal matrix between them,

with the sample's limit, the distribution's at the confidence of each radius alone, and, of the coupled ones, what the
images of the same code would say by themselves: 1 - sum over pairs of Pr[conflict] / K, the limit that needs no
growing n.

On `acgan_mnist` with `coupling_acgan_mnist` (4-9 and 3-5), seed 0, at epsilon 2 / 2.5 / 3:

    images    codes         sample                     95 %                       own codes only
     50,000   independent   .9972 / .9625 / .8497      .9980 / .9655 / .8552      -
     50,000   one code      .9970 / .9599 / .8456      .9981 / .9642 / .8521      .9995 / .9881 / .9469
     50,000   coupled       .9967 / .9563 / .8406      .9979 / .9607 / .8471      .9988 / .9821 / .9328
    100,000   independent   .9965 / .9562 / .8352      .9971 / .9584 / .8391      -
    100,000   coupled       .9959 / .9504 / .8280      .9968 / .9538 / .8325      .9988 / .9818 / .9333

With 200,000 images and 95 % for all radii together, `irob limit` finds .9963 / .9510 / .8211 from independent codes
(docs/label_limit.json) and .9958 / .9480 / .8178 from coupled ones (docs/label_limit_coupled.json).

What coupling wins shrinks with n (.0081, .0066 and .0032 at epsilon 3), as independent codes meet more often by
themselves; own codes without the others are no match.  Independent draws of 50,000 differ by some .0015.

Tried without success, with 4 and 9 at epsilon 3, where one code is in conflict in .44 and the learned matrix in .51:
matrices from Procrustes' problem on codes of the best assignment of 4,000 images each (.29 to .43); four layers of
"rotate pairs of coordinates by angles that a network gives to the other coordinates", begun from the learned matrix
(.489 after 100 and .508 after 200 steps at a rate of 1e-3, broken off there).
"""

import dataclasses
import itertools
import json
import pathlib
import time

import jax.numpy as jnp
import numpy as np

from benchmarks import common
from irob import bounds, generators
from irob.core import check, keys
from irob.core.config import option, run
from irob.core.provenance import provenance
from irob.evaluation.limits import coupled


@dataclasses.dataclass(frozen=True)
class Config(common.Config):
    """Limits from coupled and from independent codes."""

    coupling: str = option("auto", "a coupling: a shipped name, a folder, or auto")
    samples: list[int] = option([20_000, 50_000], "images, multiples of the number of classes")
    codes: list[str] = option(["independent", "one code", "coupled"], "what is compared")
    epsilon: list[float] = option([2.0, 2.5, 3.0], "radii of the l2 ball", unit="image units")
    confidence: float = option(0.95, "of each limit")


def main(config: Config) -> None:
    """Draws, searches, prints, writes."""
    check.writable_folder(config.out)
    generator = generators.load(config.generator)
    learned = coupled.load(
        coupled.shipped(generator) if config.coupling == "auto" else config.coupling, generator)
    count = len(learned.leaders)
    same = dataclasses.replace(learned, matrices=jnp.stack([jnp.eye(generator.latent_dim)] * count))
    alone = dataclasses.replace(same, leaders=tuple(range(count)))
    key, rows = keys.from_seed(config.seed), []
    kinds = {"independent": alone, "one code": same, "coupled": learned}
    if unheard := [name for name in config.codes if name not in kinds]:
        raise check.unknown("codes", unheard[0], kinds)
    for n, name in itertools.product(config.samples, config.codes):
        codes, begin = kinds[name], time.perf_counter()
        x, y = coupled.draw(key, generator, codes, n, label=f"{name}, {n:,} images")
        drawn = time.perf_counter()
        groups = np.arange(n) // count * count + np.tile(codes.leaders, n // count)
        found = bounds.label_limit(x, y, config.epsilon, confidence=config.confidence, groups=groups)
        own = 1 - np.sum([np.mean(apart(x, leader, c, count)[:, None] <= 2 * np.asarray(config.epsilon), axis=0)
                          for c, leader in enumerate(codes.leaders) if c != leader], axis=0) / count
        rows.append({
            "codes": name, "n": n, "epsilon": config.epsilon, "sample": [v.sample for v in found],
            "upper": [v.upper for v in found], "own codes only": np.broadcast_to(own, len(found)).tolist(),
            "seconds": [round(drawn - begin, 1), round(time.perf_counter() - drawn, 1)]})
        print(f"{n:8,} {name:12s} sample {_line(rows[-1]['sample'])}   {100 * config.confidence:g} % "
              f"{_line(rows[-1]['upper'])}   own codes only {_line(rows[-1]['own codes only'])}", flush=True)
    record = {"benchmark": "coupled_codes", "coupling": learned.name, "leaders": learned.leaders,
              "confidence": config.confidence, "rows": rows, "provenance": provenance(seed=config.seed)}
    check.write_atomically(pathlib.Path(config.out) / "coupled_codes.json", json.dumps(record, indent=2) + "\n")


def apart(x: np.ndarray, leader: int, follower: int, classes: int) -> np.ndarray:
    """Distances f[n / K] of the two images of each code of a pair."""
    x = x.reshape(-1, classes, x[0].size)
    return np.linalg.norm(x[:, leader] - x[:, follower], axis=1)


def _line(values) -> str:
    return " / ".join(f"{v:.4f}" for v in values)


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.coupled_codes")
