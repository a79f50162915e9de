"""One training step of LP-Certify: 50 images, 50 projections, l2, epsilon 2, Adam."""

import jax
import numpy as np
import torch

from benchmarks import common, twins
from irob import classifiers, generators
from irob.core import keys
from irob.core.compile import jit
from irob.core.config import run
from irob.core.threat import LpBall
from irob.training.classifier import create, make_step, optimiser
from irob.training.methods import lp_certify
from irob.training.source import Batch
from tests.twins import dual as twin

BATCH, EPSILON, PROJECTIONS, RATE = 50, 2.0, 50, 1e-3


def main(config: common.Config) -> None:
    """Times `count` steps (1 by default) from the same weights."""
    common.begin(config)
    count = config.count or 1
    x, y, _ = common.drawn(generators.load(config.generator), BATCH, config.seed)
    key = keys.from_seed(config.seed)
    f = classifiers.load(config.classifier) if config.classifier else classifiers.build("lp_cnn", key=key)
    tx = optimiser("constant", learning_rate=RATE, rule="adam")
    method = lp_certify.build(LpBall("l2", EPSILON), projections=PROJECTIONS)
    step, start, data = jit(make_step(f, method, tx)), create(f, tx), Batch(x, y, np.arange(len(y)))
    last = {}

    def irob():
        state = start
        for i in range(count):
            state, metrics = step(jax.random.fold_in(key, i), state, data)
        last["irob"] = float(metrics["loss"])

    x_t, y_t = twins.images(x), torch.from_numpy(y).long()

    def published():
        net = twins.classifier(f).requires_grad_(True)
        adam = torch.optim.Adam(net.parameters(), lr=RATE)
        for _ in range(count):
            last["twin"] = twin.step(net, adam, x_t, y_t, EPSILON, PROJECTIONS)

    seconds = common.interleave({common.IROB: irob, "PyTorch (published order)": published}, config.rounds)
    facts = {"loss_irob": round(last["irob"], 4), "loss_twin": round(last["twin"], 4), "batch": BATCH,
             "projections": PROJECTIONS}
    common.report("lp_certify_step", "step", count, seconds, config, **facts)


if __name__ == "__main__":
    run(main, common.Config, prog="python -m benchmarks.lp_certify_step")
