"""Plain PyTorch twins: the same networks with irob's weights, and the published procedures written out.

Written for these benchmarks from the paper and from a description of the published code; images are NCHW.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from irob.core import layers
from irob.core.types import Classifier, Generator


def _tensor(a) -> torch.Tensor:
    return torch.from_numpy(np.array(a, dtype=np.float32, order="C"))


def images(x: np.ndarray) -> torch.Tensor:
    """NHWC to NCHW."""
    return _tensor(np.asarray(x).transpose(0, 3, 1, 2))


class ACGAN(nn.Module):
    """The generator: (z, one-hot y) -> image in [-1, 1]."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(110, 1024), nn.BatchNorm1d(1024), nn.ReLU(),
            nn.Linear(1024, 6272), nn.BatchNorm1d(6272), nn.ReLU(),
        )  # fmt: skip
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z, one_hot):
        return self.deconv(self.fc(torch.cat([z, one_hot], 1)).view(-1, 128, 7, 7))


def generator(source: Generator) -> ACGAN:
    """The ACGAN with the weights of `source`."""
    p, s = source.variables["params"], source.variables["batch_stats"]
    # irob's hidden layer is ordered (row, column, channel), PyTorch's (channel, row, column).
    order = np.arange(6272).reshape(7, 7, 128).transpose(2, 0, 1).ravel()
    state = {}
    for i, (dense, norm, rows) in enumerate([("fc_0", "fc_1", np.arange(1024)), ("fc_3", "fc_4", order)]):
        state[f"fc.{3 * i}.weight"] = _tensor(np.asarray(p[dense]["kernel"]).T[rows])
        state[f"fc.{3 * i}.bias"] = _tensor(np.asarray(p[dense]["bias"])[rows])
        state |= _norm(f"fc.{3 * i + 1}", p[norm], s[norm], rows)
    for i, name in enumerate(("deconv_0", "deconv_3")):
        # A transposed convolution is a convolution with the kernel turned round; PyTorch's is (in, out, h, w).
        kernel = np.asarray(p[name]["kernel"])[::-1, ::-1].transpose(2, 3, 0, 1)
        state[f"deconv.{3 * i}.weight"], state[f"deconv.{3 * i}.bias"] = _tensor(kernel), _tensor(p[name]["bias"])
    state |= _norm("deconv.1", p["deconv_1"], s["deconv_1"], np.arange(64))
    model = ACGAN()
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def _norm(name, params, stats, rows) -> dict[str, torch.Tensor]:
    return {
        f"{name}.weight": _tensor(np.asarray(params["scale"])[rows]),
        f"{name}.bias": _tensor(np.asarray(params["bias"])[rows]),
        f"{name}.running_mean": _tensor(np.asarray(stats["mean"])[rows]),
        f"{name}.running_var": _tensor(np.asarray(stats["var"])[rows]),
        f"{name}.num_batches_tracked": torch.tensor(0),
    }


def classifier(source: Classifier, *, dropout: float = 0.0) -> nn.Sequential:
    """The layers of `source` in PyTorch; `dropout` goes before the last but one dense layer, as in the small CNN."""
    steps: list[nn.Module] = []
    channels, dense_seen = 0, 0
    dense = sum(isinstance(step, layers.Dense) for step in layers.of(source))
    for step in layers.of(source):
        if isinstance(step, layers.Conv):
            kernel = np.asarray(step.kernel).transpose(3, 2, 0, 1)
            channels = kernel.shape[0]
            conv = nn.Conv2d(kernel.shape[1], channels, kernel.shape[2], step.stride, step.padding)
            conv.weight.data, conv.bias.data = _tensor(kernel), _tensor(step.bias)
            steps.append(conv)
        elif isinstance(step, layers.Dense):
            kernel = np.asarray(step.kernel)
            if dense_seen == 0 and channels:
                side = int(np.sqrt(len(kernel) / channels))
                kernel = kernel[np.arange(len(kernel)).reshape(side, side, channels).transpose(2, 0, 1).ravel()]
            dense_seen += 1
            if dropout and dense_seen == dense - 1:
                steps.append(nn.Dropout(dropout))
            linear = nn.Linear(*kernel.shape)
            linear.weight.data, linear.bias.data = _tensor(kernel.T), _tensor(step.bias)
            steps.append(linear)
        else:
            kinds = {"ReLU": nn.ReLU, "MaxPool": lambda: nn.MaxPool2d(2), "Flatten": nn.Flatten}
            steps.append(kinds[type(step).__name__]())
    return nn.Sequential(*steps).eval()


def algorithm1(g: ACGAN, z: np.ndarray, y: np.ndarray, radius: float, neighbours: int, *, centre_once: bool) -> list:
    """The published estimate: one code at a time, positive orthant, all neighbours in one batch, units of [-1, 1]."""
    found = []
    with torch.no_grad():
        for code, label in zip(_tensor(z), y):
            d = len(code)
            one_hot = F.one_hot(torch.tensor(int(label)), 10).float().repeat(neighbours, 1)
            v = F.normalize(torch.rand(neighbours, d), dim=1)
            v = radius * (torch.rand(neighbours, 1) + 1e-24) ** (1 / d) * v
            here = code.repeat(neighbours, 1)
            centre = g(code[None], one_hot[:1]) if centre_once else g(here, one_hot)
            moved = g(here + v, one_hot)
            stretch = (moved - centre).flatten(1).norm(dim=1) / v.norm(dim=1)
            found.append(stretch.max().item())
    return found


def normalised_step(x, x_adv, gradient, step_size, epsilon, tiny):
    """One l2 step, the projection onto the ball, the box."""
    length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    delta = x_adv.detach() + step_size * gradient / (length + tiny) - x
    length = delta.flatten(1).norm(dim=1).clamp(min=epsilon).view(-1, 1, 1, 1)
    return (x + delta * epsilon / length).clamp(0, 1)


def pgd(f: nn.Module, x, y, *, epsilon: float, steps: int, step_size: float, lean: bool) -> tuple[float, float]:
    """The published evaluation: natural and PGD error.  `lean` leaves out the gradients to the weights."""
    f.requires_grad_(not lean)
    natural = (f(x).argmax(1) != y).float().mean().item()
    x_adv = x.clone()
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        loss = F.cross_entropy(f(x_adv), y)
        if lean:
            (gradient,) = torch.autograd.grad(loss, x_adv)
        else:
            loss.backward()
            gradient = x_adv.grad
        x_adv = normalised_step(x, x_adv, gradient, step_size, epsilon, 1e-32)
    with torch.no_grad():
        return natural, (f(x_adv).argmax(1) != y).float().mean().item()


def apgd(f: nn.Module, x, y, *, epsilon: float, steps: int) -> torch.Tensor:
    """Auto-PGD on the cross entropy in the l2 ball as published: whether each image is robust, bool[n]."""
    f.requires_grad_(False)
    n = len(x)

    def evaluate(v):
        v = v.detach().requires_grad_()
        logits = f(v)
        loss = F.cross_entropy(logits, y, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), v)
        return loss.detach(), gradient, logits.detach().argmax(1) == y

    def where(mask, a, b):
        return torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b)

    t = torch.randn_like(x)
    x_adv = (x + epsilon * t / t.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(0, 1)
    loss, gradient, robust = evaluate(x_adv)
    x_best, gradient_best, loss_best = x_adv, gradient, loss
    size = torch.full((n, 1, 1, 1), 2 * epsilon)
    x_old, loss_old = x_adv, torch.zeros(n)
    rises, halved, loss_then = torch.zeros(n), torch.ones(n, dtype=torch.bool), loss
    gap, since = max(int(0.22 * steps), 1), 0
    for i in range(steps):
        momentum = x_adv - x_old
        z = normalised_step(x, x_adv, gradient, size, epsilon, 1e-12)
        a = 0.75 if i else 1.0
        delta = x_adv + a * (z - x_adv) + (1 - a) * momentum - x
        length = delta.flatten(1).norm(dim=1).clamp(min=epsilon).view(-1, 1, 1, 1)
        x_old, x_adv = x_adv, (x + delta * epsilon / length).clamp(0, 1)
        loss, gradient, right = evaluate(x_adv)
        robust = robust & right
        rises, loss_old = rises + (loss > loss_old), loss
        better = loss > loss_best
        x_best, gradient_best = where(better, x_adv, x_best), where(better, gradient, gradient_best)
        loss_best = torch.maximum(loss, loss_best)
        since += 1
        if since == gap:
            halved = (rises <= 0.75 * gap) | (~halved & (loss_then >= loss_best))
            size, x_adv = where(halved, size / 2, size), where(halved, x_best, x_adv)
            gradient = where(halved, gradient_best, gradient)
            rises, loss_then, since = torch.zeros(n), loss_best, 0
            gap = max(gap - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    return robust


def training_step(f, optimiser, x, y, *, method: str, epsilon, steps, step_size, beta=6.0) -> float:
    """One step of adversarial training or TRADES as published; the clean prediction at every inner step too."""
    f.eval()
    x_adv = x + 0.001 * torch.randn_like(x)
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        if method == "trades":
            loss = F.kl_div(F.log_softmax(f(x_adv), 1), F.softmax(f(x), 1), reduction="sum")
        else:
            loss = F.cross_entropy(f(x_adv), y)
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = normalised_step(x, x_adv, gradient, step_size, epsilon, 1e-8)
    f.train()
    x_adv = x_adv.detach()
    optimiser.zero_grad()
    if method == "trades":
        clean = f(x)
        robust = F.kl_div(F.log_softmax(f(x_adv), 1), F.softmax(f(x), 1), reduction="sum") / len(x)
        loss = F.cross_entropy(clean, y) + beta * robust
    else:
        loss = F.cross_entropy(f(x_adv), y)
    loss.backward()
    optimiser.step()
    return loss.item()


def in_distribution(g: ACGAN, f: nn.Module, x, y) -> np.ndarray:
    """The published attack: 3 x 1000 steps of gradient descent to invert x, then 4 x 100 Adam steps.  Distances f[n].

    The optimiser of the inversion is rebuilt at every step, so its momentum does nothing.
    """
    f.requires_grad_(False)
    n, one_hot = len(x), F.one_hot(y, 10).float()

    def gen(z):
        return ((g(z, one_hot) + 1) / 2).clamp(0, 1)

    z_best, d_best = torch.zeros(n, 100), torch.full((n,), 1e10)
    for _ in range(3):
        z = torch.randn(n, 100)
        for _ in range(1000):
            z = z.detach().requires_grad_()
            image = gen(z)
            (gradient,) = torch.autograd.grad(((image - x) ** 2).sum(), z)
            z = z - 1e-3 * gradient
        d = (image - x).flatten(1).norm(dim=1).detach()
        nearer = d < d_best
        z_best[nearer], d_best[nearer] = z.detach()[nearer], d[nearer]

    z, hot = z_best, F.one_hot(y, 10).bool()
    low, c, high = torch.zeros(n), torch.ones(n), torch.full((n,), 1e10)
    best = torch.full((n,), 1e10)
    for _ in range(4):
        z = z.detach().requires_grad_()
        optimiser = torch.optim.Adam([z], lr=0.01)
        found, previous = torch.zeros(n, dtype=torch.bool), float("inf")
        for i in range(100):
            image = gen(z)
            logits = f(image)
            square = ((image - x) ** 2).flatten(1).sum(1)
            gap = logits[hot] - logits.masked_fill(hot, -torch.inf).max(1).values
            loss = (square + c * gap.clamp(min=0)).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if i % 10 == 0:
                if loss.item() > 0.9999 * previous:
                    break
                previous = loss.item()
            wrong = logits.argmax(1) != y
            best = torch.where(wrong, torch.minimum(best, square.detach()), best)
            found |= wrong
        high = torch.where(found, torch.minimum(high, c), high)
        low = torch.where(found, low, torch.maximum(low, c))
        c = torch.where(high < 1e9, (low + high) / 2, torch.where(found, c, c * 10))
    return best.sqrt().numpy()
