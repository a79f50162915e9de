"""APGD-CE (100 steps, l2) on the small CNN, 1,000 images in chunks of 128."""

import dataclasses

import torch

from benchmarks import common, twins
from irob import attacks, generators
from irob.core import keys
from irob.core.batch import Work
from irob.core.config import option, run
from irob.core.threat import LpBall

CHUNK = 128


@dataclasses.dataclass(frozen=True)
class Config(common.Config):
    """Time Auto-PGD against a PyTorch twin; prints a table and writes JSON."""

    epsilon: float = option(2.0, "radius, image units")


def main(config: Config) -> None:
    """Times the evaluation of `count` images (1,000 by default), with the referee's own checks included."""
    common.begin(config)
    count = config.count or 1000
    x, y, _ = common.drawn(generators.load(config.generator), count, config.seed)
    f = common.small_cnn(config)
    twin = twins.classifier(f)
    attack = attacks.build("apgd_ce", LpBall("l2", config.epsilon))
    x_t, y_t = twins.images(x), torch.from_numpy(y).long()
    robust = {}

    def irob():
        result = attacks.run(attack, keys.from_seed(config.seed), f, x, y, work=Work(CHUNK))
        robust["irob"] = 1 - float(result.success.mean())

    def pytorch():
        torch.manual_seed(config.seed)
        pieces = zip(x_t.split(CHUNK), y_t.split(CHUNK))
        left = torch.cat([twins.apgd(twin, a, b, epsilon=config.epsilon, steps=100) for a, b in pieces])
        robust["twin"] = float(left.float().mean())

    seconds = common.interleave({common.IROB: irob, "PyTorch": pytorch}, config.rounds)
    common.report("apgd", "image", count, seconds, config, robust_irob=robust["irob"], robust_twin=robust["twin"])


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.apgd")
