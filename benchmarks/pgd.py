"""PGD-100 (the paper's evaluation, l2, epsilon 3) on the small CNN."""

import torch

from benchmarks import common, twins
from irob import attacks, generators
from irob.core import keys
from irob.core.config import run
from irob.core.threat import LpBall


def main(config: common.Config) -> None:
    """Times the evaluation of `count` images (128 by default), with the referee's own checks included."""
    common.begin(config)
    count = config.count or 128
    x, y, _ = common.drawn(generators.load(config.generator), count, config.seed)
    f = common.small_cnn(config)
    twin = twins.classifier(f)
    attack = attacks.build("pgd", LpBall("l2", 3.0), protocol="paper")
    x_t, y_t = twins.images(x), torch.from_numpy(y).long()
    last = {}

    def irob():
        last["irob"] = attacks.run(attack, keys.from_seed(config.seed), f, x, y).success.mean()

    def published(lean):
        last["twin"] = twins.pgd(twin, x_t, y_t, epsilon=3.0, steps=100, step_size=0.5, lean=lean)[1]

    seconds = common.interleave(
        {
            common.IROB: irob,
            "PyTorch (published loop)": lambda: published(False),
            "PyTorch, input gradient only": lambda: published(True),
        },
        config.rounds,
    )
    facts = {"error_irob": float(last["irob"]), "error_twin": last["twin"]}
    common.report("pgd", "image", count, seconds, config, **facts)


if __name__ == "__main__":
    run(main, common.Config, prog="python -m benchmarks.pgd")
