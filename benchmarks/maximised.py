"""The steepest chord by power iteration against Algorithm 1's random neighbours: constants, evaluations, seconds.

Cost is counted in evaluations of the generator: a forward one counts 1, a forward- or reverse-mode product 2.
"""

import dataclasses
import time

import numpy as np

from benchmarks import common
from irob import generators, lipschitz
from irob.core import keys
from irob.core.config import option, run
from irob.evaluation.memory import peak_mib

RADIUS, NEIGHBOURS = 0.5, 2000
SETTINGS = {common.IROB: (15, 2), "irob, default settings": (30, 4)}  # steps, restarts; the first within a tenth


@dataclasses.dataclass(frozen=True)
class Config(common.Config):
    """Constants found by power iteration and by Algorithm 1 at the same codes, and what each costs."""

    many: int = option(0, "then time the default settings on that many codes of all classes in turn; 0 leaves it out")


def evaluations(steps: int, restarts: int) -> int:
    """Generator evaluations of `maximised` at one code.

    At the code the centre, a linearisation, and in each step a product forward and one in reverse; one more forward
    for the singular value.  Then one evaluation with its reverse product, 2, in each step of each restart.

    >>> evaluations(15, 2), evaluations(30, 4)
    (125, 365)
    """
    return 1 + 2 + 4 * steps + 2 + 2 * steps * restarts


def main(config: Config) -> None:
    """Compares at `count` codes (20 by default) of all classes; Algorithm 1 has 2,000 neighbours in the ball."""
    common.begin(config)
    count = config.count or 20
    source = generators.load(config.generator)
    _, y, z = common.drawn(source, count, config.seed)
    key, found = keys.from_seed(config.seed), {}
    facts: dict[str, object] = {}

    def climb(name):
        steps, restarts = SETTINGS[name]
        found[name] = lipschitz.maximised(key, source, z, y, radius=RADIUS, steps=steps, restarts=restarts).value

    def draw():
        found["drawn"] = lipschitz.sampled(key, source, z, y, radius=RADIUS, neighbours=NEIGHBOURS).value

    contenders = {name: lambda name=name: climb(name) for name in SETTINGS}
    seconds = common.interleave({**contenders, "irob, Algorithm 1, 2,000 neighbours": draw}, config.rounds)
    for name, settings in SETTINGS.items():
        ratio = found[name] / found["drawn"]
        share = evaluations(*settings) / (NEIGHBOURS + 1)
        facts[f"{name}: steps, restarts"] = list(settings)
        facts[f"{name}: constant over Algorithm 1's, least / median / largest"] = [
            round(float(v), 3) for v in np.quantile(ratio, [0, 0.5, 1])]
        facts[f"{name}: generator evaluations, share of Algorithm 1's"] = [evaluations(*settings), round(share, 4)]
    if config.many:
        _, y, z = common.drawn(source, config.many, config.seed + 1)
        begin = time.perf_counter()
        lipschitz.maximised(key, source, z, y, radius=RADIUS)
        facts[f"{config.many} codes, default settings, seconds"] = round(time.perf_counter() - begin, 1)
    facts["peak memory, MiB"] = peak_mib()
    common.report("maximised", "code", count, seconds, config, **facts)


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.maximised")
