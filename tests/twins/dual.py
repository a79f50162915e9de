"""The dual network in PyTorch, in the published order: forward with one vector for every input and unstable ReLU.

Written from the papers (Wong and Kolter, 2018; Wong et al., 2018) for these tests and benchmarks.  A network is an
`nn.Sequential` of Conv2d, Linear, Flatten and ReLU on images NCHW; the ball is l2, without the box.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def linear(layer: nn.Module, v: torch.Tensor) -> torch.Tensor:
    """Vectors [n, ...] through a layer without its bias."""
    if isinstance(layer, nn.Conv2d):
        return F.conv2d(v, layer.weight, None, layer.stride, layer.padding)
    return F.linear(v, layer.weight) if isinstance(layer, nn.Linear) else layer(v)


def transposed(layer: nn.Module, v: torch.Tensor, shape) -> torch.Tensor:
    """Functionals [n, ...] of the output of a layer, of its input of `shape`."""
    if isinstance(layer, nn.Conv2d):
        return F.conv_transpose2d(v, layer.weight, None, layer.stride, layer.padding)
    return v @ layer.weight if isinstance(layer, nn.Linear) else v.reshape(len(v), *shape)


def many(layer: nn.Module, v: torch.Tensor) -> torch.Tensor:
    """[b, k, ...] through `linear`."""
    return linear(layer, v.flatten(0, 1)).unflatten(0, v.shape[:2])


def slopes(low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Slope of both lines, and which ReLUs are unstable."""
    unstable = (low < 0) & (high > 0)
    d = torch.where(unstable, high / torch.where(unstable, high - low, torch.ones_like(low)), (low >= 0).to(low))
    return d, unstable


def bounds(net: nn.Sequential, x: torch.Tensor, epsilon: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(l, u) of the input of every ReLU, [b, ...] each, exact norms; of the ReLUs only the unstable are carried."""
    b = len(x)
    ball = torch.eye(x[0].numel()).view(1, -1, *x.shape[1:])  # one for the whole batch, up to the first ReLU
    centre, carried, found = x, [], []
    for layer in net:
        if not isinstance(layer, nn.ReLU):
            centre, ball = layer(centre), many(layer, ball)
            carried = [(linear(layer, v), low, row) for v, low, row in carried]
            continue
        radius = epsilon * ball.norm(dim=1)
        low, high = centre - radius, centre + radius
        for v, l, row in carried:
            l = l.view(-1, *(1,) * (v.dim() - 1))
            low = low.index_add(0, row, l * (-v).clamp(min=0))
            high = high.index_add(0, row, -l * v.clamp(min=0))
        found.append((low, high))
        d, unstable = slopes(low, high)
        # z lies between d z and d z - d l: the centre goes along the lower line.
        centre, ball = d * centre, d[:, None] * ball
        carried = [(d[row] * v, l, row) for v, l, row in carried]
        at = unstable.nonzero(as_tuple=True)
        new = torch.zeros(len(at[0]), *low.shape[1:])
        new[(torch.arange(len(at[0])), *at[1:])] = d[at]
        carried.append((new, low[at], at[0]))
    assert all(len(low) == b for low, _ in found)
    return found


def projected(net: nn.Sequential, x: torch.Tensor, epsilon: float, k: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """`bounds`, estimated: k normal vectors for the ball, k Cauchy vectors and one sum for every layer of ReLUs."""
    ball = torch.randn(1, k, *x.shape[1:])
    centre, carried, found = x, [], []
    for layer in net:
        if not isinstance(layer, nn.ReLU):
            centre, ball = layer(centre), many(layer, ball)
            carried = [(many(layer, n), linear(layer, o)) for n, o in carried]
            continue
        radius = epsilon * ball.norm(dim=1) / math.sqrt(k)
        low, high = centre - radius, centre + radius
        for n, o in carried:
            size = n.abs().median(dim=1).values
            low, high = low + (o - size) / 2, high + (o + size) / 2
        found.append((low, high))
        d, unstable = slopes(low, high)
        # Here too the centre goes along the lower line; -d l is what the upper one adds.
        centre, ball = d * centre, d[:, None] * ball
        carried = [(d[:, None] * n, d * o) for n, o in carried]
        more = torch.where(unstable, -d * low, torch.zeros_like(low))
        cauchy = torch.empty(1, k, *low.shape[1:]).cauchy_()
        carried.append((more[:, None] * cauchy, more))
    return found


def margins(net: nn.Sequential, x: torch.Tensor, y: torch.Tensor, epsilon: float, inner) -> torch.Tensor:
    """Lower bounds of f_y - f_k, [b, K], by one exact pull back to the input."""
    shapes, v = [], x[:1]
    for layer in net:
        shapes.append(v.shape[1:])
        v = layer(v)
    classes = torch.eye(v.shape[1])
    nu = classes[y][:, None] - classes
    b, k = nu.shape[:2]
    total, left = torch.zeros(b, k), list(inner)
    for layer, shape in zip(reversed(net), reversed(shapes)):
        if isinstance(layer, nn.ReLU):
            low, high = left.pop()
            d, unstable = slopes(low, high)
            nu = nu * d[:, None]
            total = total + (torch.where(unstable, low, torch.zeros_like(low))[:, None]
                             * (-nu).clamp(min=0)).flatten(2).sum(2)
            continue
        if isinstance(layer, nn.Conv2d):
            total = total + (nu.sum((-1, -2)) * layer.bias).sum(2)
        elif isinstance(layer, nn.Linear):
            total = total + nu @ layer.bias
        nu = transposed(layer, nu.flatten(0, 1), shape).unflatten(0, (b, k))
    nu = nu.flatten(2)
    return total + (nu @ x.flatten(1)[:, :, None])[:, :, 0] - epsilon * nu.norm(dim=2)


def certify(net: nn.Sequential, x: torch.Tensor, y: torch.Tensor, epsilon: float, *, chunk: int) -> torch.Tensor:
    """Lower bound of every margin, [n], `chunk` images at a time."""
    found = []
    with torch.no_grad():
        for x_c, y_c in zip(x.split(chunk), y.split(chunk)):
            all_k = margins(net, x_c, y_c, epsilon, bounds(net, x_c, epsilon))
            found.append(all_k.scatter(1, y_c[:, None], torch.inf).min(dim=1).values)
    return torch.cat(found)


def step(net: nn.Sequential, optimiser, x: torch.Tensor, y: torch.Tensor, epsilon: float, k: int) -> float:
    """One step of training on the cross entropy of -J."""
    loss = F.cross_entropy(-margins(net, x, y, epsilon, projected(net, x, epsilon, k)), y)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()
