"""Algorithm 1 on the ACGAN, against a twin that evaluates the centre N times, and one that does so once."""

import numpy as np

from benchmarks import common, twins
from irob import generators, lipschitz
from irob.core import keys
from irob.core.config import run

RADIUS, NEIGHBOURS = 0.5, 2000


def main(config: common.Config) -> None:
    """Times the estimate at `count` codes (3 by default) with 2,000 neighbours each."""
    common.begin(config)
    count = config.count or 3
    source = generators.load(config.generator)
    twin = twins.generator(source)
    _, y, z = common.drawn(source, count, config.seed)
    key = keys.from_seed(config.seed)
    last = {}

    def irob():
        options = {"radius": RADIUS, "neighbours": NEIGHBOURS, "directions": "orthant"}
        last["irob"] = lipschitz.sampled(key, source, z, y, **options).value

    def published(once):
        last["twin"] = twins.algorithm1(twin, z, y, RADIUS, NEIGHBOURS, centre_once=once)

    seconds = common.interleave(
        {
            common.IROB: irob,
            "PyTorch, centre N times (published)": lambda: published(False),
            "PyTorch, centre once": lambda: published(True),
        },
        config.rounds,
    )
    # The twin's images are in [-1, 1], irob's in [0, 1]: half the constant.  Draws differ, so the maxima do slightly.
    ratio = float(np.median(np.asarray(last["twin"]) / 2 / last["irob"]))
    common.report("algorithm1", "code", count, seconds, config, twin_estimate_over_irob=round(ratio, 3))


if __name__ == "__main__":
    run(main, common.Config, prog="python -m benchmarks.algorithm1")
