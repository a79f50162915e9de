"""PGD-20 on PyTorch modules: traced by torchax, by callback, and the same loop in PyTorch."""

import itertools

import numpy as np
import torch
from torch import nn

from benchmarks import common, twins
from irob import attacks, classifiers, generators
from irob.core import keys
from irob.core.config import run
from irob.core.threat import LpBall

STEPS, EPSILON = 20, 1.0


class Block(nn.Module):
    """Two convolutions with normalisation before them, and the shortcut."""

    def __init__(self, into: int, out: int, stride: int):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(into), nn.BatchNorm2d(out)])
        self.convolutions = nn.ModuleList([nn.Conv2d(into, out, 3, stride, 1, bias=False),
                                           nn.Conv2d(out, out, 3, 1, 1, bias=False)])
        self.shortcut = nn.Conv2d(into, out, 1, stride, bias=False) if into != out else nn.Identity()

    def forward(self, x):
        h = x
        for norm, convolution in zip(self.norms, self.convolutions):
            h = convolution(torch.relu(norm(h)))
        return h + self.shortcut(x)


def resnet18() -> nn.Sequential:
    """A pre-activation ResNet-18 for 32x32 images, with random weights."""
    torch.manual_seed(0)
    widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
    blocks = [Block(a, b, 1 + (a != b)) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), *blocks, nn.BatchNorm2d(512), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)).eval().requires_grad_(False)


def compare(name: str, module: nn.Module, x: np.ndarray, y: np.ndarray, config: common.Config) -> None:
    """One module both ways, and PyTorch's own loop."""
    attack = attacks.build("pgd", LpBall("l2", EPSILON), steps=STEPS)
    ways = {common.IROB: True, "irob, PyTorch by callback": False}
    models = {way: classifiers.from_torch(module, image_shape=x.shape[1:], trace=trace) for way, trace in ways.items()}
    x_t, y_t, last = twins.images(x), torch.from_numpy(y).long(), {}

    def ours(way):
        last[way] = float(attacks.run(attack, keys.from_seed(config.seed), models[way], x, y).success.mean())

    def theirs():
        last["PyTorch"] = twins.pgd(module, x_t, y_t, epsilon=EPSILON, steps=STEPS, step_size=2.5 * EPSILON / STEPS,
                                    lean=True)[1]

    contenders = {way: (lambda way=way: ours(way)) for way in ways} | {"PyTorch, input gradient only": theirs}
    seconds = common.interleave(contenders, config.rounds)
    common.report(f"pytorch_{name}", "image", len(x), seconds, config, error=last)


def main(config: common.Config) -> None:
    """The paper's small CNN (128 images by default) and a ResNet-18 (an eighth of them)."""
    common.begin(config)
    count = config.count or 128
    x, y, _ = common.drawn(generators.load(config.generator), count, config.seed)
    compare("small_cnn", twins.classifier(common.small_cnn(config)), x, y, config)
    few = max(1, count // 8)
    colour = np.random.default_rng(config.seed).uniform(size=(few, 32, 32, 3)).astype(np.float32)
    compare("resnet18", resnet18(), colour, y[:few], config)


if __name__ == "__main__":
    run(main, common.Config, prog="python -m benchmarks.pytorch_module")
