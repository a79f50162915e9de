"""The exact dual-network bound of MNIST images (l2, epsilon 2) on LP-Certify's network."""

import numpy as np
import torch

from benchmarks import common, twins
from irob import certify, classifiers, generators
from irob.core.config import run
from irob.core.threat import LpBall
from tests.twins import dual as twin


def main(config: common.Config) -> None:
    """Times the bounds of `count` images (1,000 by default)."""
    common.begin(config)
    count = config.count or 1000
    x, y, _ = common.drawn(generators.load(config.generator), count, config.seed)
    f = classifiers.load(config.classifier or "mnist_gen_lp_certify")
    certifier, threat = certify.build("dual"), LpBall("l2", 2.0)
    net, x_t, y_t = twins.classifier(f).requires_grad_(False), twins.images(x), torch.from_numpy(y).long()
    last = {}

    def irob():
        last["irob"] = certify.run(certifier, f, x, y, threat).margin

    def published():
        last["twin"] = twin.certify(net, x_t, y_t, 2.0, chunk=10).numpy()

    seconds = common.interleave({common.IROB: irob, "PyTorch (published order)": published}, config.rounds)
    facts = {"largest_difference": float(np.abs(last["irob"] - last["twin"]).max()),
             "certified": float((last["irob"] > 0).mean())}
    common.report("dual", "image", count, seconds, config, **facts)


if __name__ == "__main__":
    run(main, common.Config, prog="python -m benchmarks.dual")
