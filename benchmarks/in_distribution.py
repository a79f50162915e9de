"""The in-distribution attack: seconds an image and success, against the published procedure in PyTorch."""

import numpy as np
import torch

from benchmarks import common, twins
from irob import attacks, generators
from irob.core import keys
from irob.core.batch import Work
from irob.core.config import run
from irob.core.threat import LpBall

EPSILONS = (1.0, 2.0, 3.0)


def main(config: common.Config) -> None:
    """Times `count` images (64 by default).  irob starts from the known code by default, the twin inverts the image."""
    common.begin(config)
    count = config.count or 64
    source = generators.load(config.generator)
    x, y, z = common.drawn(source, count, config.seed)
    f = common.small_cnn(config)
    g_twin, f_twin = twins.generator(source), twins.classifier(f)
    x_t, y_t = twins.images(x), torch.from_numpy(y).long()
    ball = LpBall("l2", max(EPSILONS))
    natural = f_twin(x_t).argmax(1).numpy() != y
    success = {}

    def irob(name, codes, **options):
        attack = attacks.build("in_distribution", ball, generator=source, **options)
        result = attacks.run(attack, keys.from_seed(config.seed), f, x, y, codes, work=Work(count))
        success[name] = [float(np.mean(result.success & (result.distance <= e))) for e in EPSILONS]

    def published(name):
        distance = twins.in_distribution(g_twin, f_twin, x_t, y_t)
        success[name] = [float(np.mean(natural | (distance < e))) for e in EPSILONS]

    names = (common.IROB, "irob, from an inversion", "irob, published procedure", "PyTorch (published)")
    seconds = common.interleave(
        {
            names[0]: lambda: irob(names[0], z),
            names[1]: lambda: irob(names[1], None, initialisation="inversion"),
            names[2]: lambda: irob(names[2], None, protocol="paper"),
            names[3]: lambda: published(names[3]),
        },
        config.rounds,
    )
    shown = {f"success at epsilon 1, 2, 3: {k}": [round(s, 3) for s in v] for k, v in success.items()}
    common.report("in_distribution", "image", count, seconds, config, **shown)


if __name__ == "__main__":
    run(main, common.Config, prog="python -m benchmarks.in_distribution")
