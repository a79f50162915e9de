"""What the two benchmarks of training steps share."""

import jax
import numpy as np
import torch

from benchmarks import common, twins
from irob import generators
from irob.core import keys
from irob.core.compile import jit
from irob.core.threat import LpBall
from irob.training.classifier import create, make_step, optimiser
from irob.training.methods import adv, trades
from irob.training.source import Batch

BATCH, EPSILON, STEPS, STEP_SIZE = 128, 3.0, 40, 0.5


def compare(method: str, config: common.Config) -> None:
    """Steps of stochastic gradient descent (0.05, momentum 0.9) with the paper's inner loop, from the same weights."""
    common.begin(config)
    count = config.count or 1
    x, y, _ = common.drawn(generators.load(config.generator), BATCH, config.seed)
    f = common.small_cnn(config)
    build = {"adv": adv.build, "trades": trades.build}[method]
    tx = optimiser("constant", learning_rate=0.05)
    step = jit(make_step(f, build(LpBall("l2", EPSILON), steps=STEPS, step_size=STEP_SIZE), tx))
    key, start, data = keys.from_seed(config.seed), create(f, tx), Batch(x, y, np.arange(len(y)))
    last = {}

    def irob():
        state = start
        for i in range(count):
            state, metrics = step(jax.random.fold_in(key, i), state, data)
        last["irob"] = float(metrics["loss"])

    x_t, y_t = twins.images(x), torch.from_numpy(y).long()

    def published():
        twin = twins.classifier(f, dropout=0.5).requires_grad_(True)
        sgd = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
        options = {"epsilon": EPSILON, "steps": STEPS, "step_size": STEP_SIZE}
        for _ in range(count):
            last["twin"] = twins.training_step(twin, sgd, x_t, y_t, method=method, **options)

    seconds = common.interleave({common.IROB: irob, "PyTorch (published loop)": published}, config.rounds)
    facts = {"loss_irob": round(last["irob"], 4), "loss_twin": round(last["twin"], 4), "batch": BATCH, "inner": STEPS}
    common.report(f"{method}_step", "step", count, seconds, config, **facts)
