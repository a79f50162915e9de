"""BigGAN in PyTorch under the names of its published checkpoints, written for these tests.

Each class takes narrow widths too, and `randomise` gives every weight and statistic a value that matters.
Images are NCHW in [-1, 1].
"""

import copy
import itertools

import torch
import torch.nn.functional as F
from torch import nn

WIDTHS = {128: (16, 16, 8, 4, 2, 1), 256: (16, 16, 8, 8, 4, 2, 1), 512: (16, 16, 8, 8, 4, 2, 1, 1)}


class Spectral(nn.Module):
    """A convolution or dense layer by weight / sigma, sigma = u . W v as stored; W has pixels before channels."""

    def __init__(self, inside, out, size=0, bias=True):
        super().__init__()
        shape = (out, inside, size, size) if size else (out, inside)
        self.weight_orig = nn.Parameter(torch.zeros(shape))
        if bias:
            self.bias = nn.Parameter(torch.zeros(out))
        self.register_buffer("weight_u", torch.zeros(out))
        self.register_buffer("weight_v", torch.zeros(self.weight_orig[0].numel()))

    def matrix(self):
        w = self.weight_orig
        return (w.permute(0, 2, 3, 1) if w.dim() == 4 else w).reshape(len(w), -1)

    def normalised(self):
        return self.weight_orig / torch.dot(self.weight_u, self.matrix() @ self.weight_v)

    def forward(self, x):
        weight = self.folded if hasattr(self, "folded") else self.normalised()
        bias = getattr(self, "bias", None)
        if weight.dim() == 2:
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def attend(x, theta, phi, g, out, gamma):
    """Self-attention from its four convolutions."""
    n, c, h, w = x.shape
    t = theta(x).flatten(2)
    p = F.max_pool2d(phi(x), 2).flatten(2)
    v = F.max_pool2d(g(x), 2).flatten(2)
    weight = torch.softmax(t.transpose(1, 2) @ p, -1)
    return x + gamma * out((v @ weight.transpose(1, 2)).view(n, c // 2, h, w))


# ------------------------------------------------------------------------------------------------ ivclab


class Statistics(nn.Module):
    def __init__(self, channels, affine=False):
        super().__init__()
        if affine:
            self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))
        self.register_buffer("num_batches_tracked", torch.tensor(3))
        self.register_buffer("standing_means", torch.zeros(50, channels))
        self.register_buffer("standing_vars", torch.ones(50, channels))

    def forward(self, x, truncation):
        row = round(truncation / 0.02) - 1
        return F.batch_norm(x, self.standing_means[row], self.standing_vars[row], getattr(self, "weight", None),
                            getattr(self, "bias", None), False, 0.0, 1e-4)


class Hyper(nn.Module):
    def __init__(self, channels, condition):
        super().__init__()
        self.crossreplicabn = Statistics(channels)
        self.gamma, self.beta = Spectral(condition, channels, bias=False), Spectral(condition, channels, bias=False)

    def forward(self, x, condition, truncation):
        gain, bias = (f(condition)[:, :, None, None] for f in (self.gamma, self.beta))
        return (1 + gain) * self.crossreplicabn(x, truncation) + bias


class GBlock(nn.Module):
    def __init__(self, inside, out, condition):
        super().__init__()
        self.conv0, self.conv1 = Spectral(inside, out, 3), Spectral(out, out, 3)
        self.conv_sc = Spectral(inside, out, 1)
        self.hyperbn, self.hyperbn_1 = Hyper(inside, condition), Hyper(out, condition)

    def forward(self, x, condition, truncation):
        skip = self.conv_sc(F.interpolate(x, scale_factor=2))
        h = F.relu(self.hyperbn(x, condition, truncation))
        h = self.conv0(F.interpolate(h, scale_factor=2))
        return skip + self.conv1(F.relu(self.hyperbn_1(h, condition, truncation)))


class SelfAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        eighth, half = channels // 8, channels // 2
        self.theta, self.phi = Spectral(channels, eighth, 1, False), Spectral(channels, eighth, 1, False)
        self.g, self.o_conv = Spectral(channels, half, 1, False), Spectral(half, channels, 1, False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return attend(x, self.theta, self.phi, self.g, self.o_conv, self.gamma)


class Dense(nn.Module):
    def __init__(self, inside, out):
        super().__init__()
        self.g_linear = Spectral(inside, out)

    def forward(self, x):
        return self.g_linear(x)


class Ivclab(nn.Module):
    """biggan{128,256,512}-release.pt."""

    def __init__(self, resolution, width=96, classes=1000):
        super().__init__()
        sizes = [width * m for m in WIDTHS[resolution]]
        self.at = {128: 4, 256: 5, 512: 4}[resolution]
        self.chunk = 16 if resolution == 512 else 20
        self.blocks = len(sizes) - 1
        self.latent = self.chunk * len(sizes)
        self.linear = nn.Embedding(classes, 128)
        self.g_z = Dense(self.chunk, 16 * sizes[0])
        for i in range(self.blocks):
            setattr(self, f"gblock_{i}" if i else "gblock", GBlock(sizes[i], sizes[i + 1], self.chunk + 128))
        self.attention = SelfAttention(sizes[self.at])
        self.scaledcrossreplicabn = Statistics(sizes[-1], True)
        self.conv_2d = Spectral(sizes[-1], 3, 3)

    def forward(self, z, y, truncation=1.0):
        first, *rest = z.split(self.chunk, 1)
        shared = self.linear(y)
        h = self.g_z(first)
        h = h.view(len(z), 4, 4, -1).permute(0, 3, 1, 2)
        for i, part in enumerate(rest):
            if i == self.at:
                h = self.attention(h)
            h = getattr(self, f"gblock_{i}" if i else "gblock")(h, torch.cat([part, shared], 1), truncation)
        return torch.tanh(self.conv_2d(F.relu(self.scaledcrossreplicabn(h, truncation))))


# ------------------------------------------------------------------------------- pytorch-pretrained-BigGAN


def sn(layer):
    """PyTorch's own spectral normalisation, so that the importer is held against its meaning."""
    return nn.utils.spectral_norm(layer, eps=1e-4)


class DeepNorm(nn.Module):
    def __init__(self, channels, condition=None):
        super().__init__()
        self.register_buffer("running_means", torch.zeros(51, channels))
        self.register_buffer("running_vars", torch.ones(51, channels))
        if condition:
            self.scale = sn(nn.Linear(condition, channels, bias=False))
            self.offset = sn(nn.Linear(condition, channels, bias=False))
        else:
            self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x, truncation, condition=None):
        row = round(truncation / 0.02)
        x = F.batch_norm(x, self.running_means[row], self.running_vars[row], None, None, False, 0.0, 1e-4)
        gain = 1 + self.scale(condition) if condition is not None else self.weight[None]
        bias = self.offset(condition) if condition is not None else self.bias[None]
        return x * gain[:, :, None, None] + bias[:, :, None, None]


class DeepBlock(nn.Module):
    def __init__(self, inside, out, up):
        super().__init__()
        m = inside // 4
        self.up, self.out = up, out
        for i, c in enumerate((inside, m, m, m)):
            setattr(self, f"bn_{i}", DeepNorm(c, 256))
        self.conv_0, self.conv_3 = sn(nn.Conv2d(inside, m, 1)), sn(nn.Conv2d(m, out, 1))
        self.conv_1, self.conv_2 = (sn(nn.Conv2d(m, m, 3, padding=1)) for _ in range(2))

    def forward(self, x, condition, truncation):
        h = x
        for i in range(4):
            h = F.relu(getattr(self, f"bn_{i}")(h, truncation, condition))
            if i == 1 and self.up:
                h = F.interpolate(h, scale_factor=2)
            h = getattr(self, f"conv_{i}")(h)
        skip = x[:, : self.out]
        return h + (F.interpolate(skip, scale_factor=2) if self.up else skip)


class DeepAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.snconv1x1_theta, self.snconv1x1_phi = (sn(nn.Conv2d(c, c // 8, 1, bias=False)) for _ in range(2))
        self.snconv1x1_g = sn(nn.Conv2d(c, c // 2, 1, bias=False))
        self.snconv1x1_o_conv = sn(nn.Conv2d(c // 2, c, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x, *_):
        return attend(x, self.snconv1x1_theta, self.snconv1x1_phi, self.snconv1x1_g, self.snconv1x1_o_conv, self.gamma)


class DeepGenerator(nn.Module):
    def __init__(self, resolution, width):
        super().__init__()
        sizes = [width * m for m in WIDTHS[resolution]]
        self.gen_z = sn(nn.Linear(256, 16 * sizes[0]))
        blocks = []
        for a, o in itertools.pairwise(sizes):
            blocks += [DeepBlock(a, a, False), DeepBlock(a, o, True)]
        blocks.insert(8, DeepAttention(sizes[4]))
        self.layers = nn.ModuleList(blocks)
        self.bn = DeepNorm(sizes[-1])
        self.conv_to_rgb = sn(nn.Conv2d(sizes[-1], sizes[-1], 3, padding=1))

    def forward(self, condition, truncation):
        h = self.gen_z(condition)
        h = h.view(len(h), 4, 4, -1).permute(0, 3, 1, 2)
        for layer in self.layers:
            h = layer(h, condition, truncation)
        return torch.tanh(self.conv_to_rgb(F.relu(self.bn(h, truncation)))[:, :3])


class Deep(nn.Module):
    """pytorch_model.bin."""

    latent = 128

    def __init__(self, resolution, width=128, classes=1000):
        super().__init__()
        self.embeddings = nn.Linear(classes, 128, bias=False)
        self.generator = DeepGenerator(resolution, width)
        self.classes = classes

    def forward(self, z, y, truncation=1.0):
        shared = self.embeddings(F.one_hot(y, self.classes).float())
        return self.generator(torch.cat([z, shared], 1), truncation)


# ---------------------------------------------------------------------------------------- BigGAN-PyTorch


class Iterated(nn.Module):
    """weight / sigma with one power iteration from a stored u0."""

    def __init__(self, inside, out, size=0, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((out, inside, size, size) if size else (out, inside)))
        if bias:
            self.bias = nn.Parameter(torch.zeros(out))
        self.register_buffer("u0", torch.zeros(1, out))
        self.register_buffer("sv0", torch.ones(1))

    def forward(self, x):
        w = self.weight.view(len(self.weight), -1)
        with torch.no_grad():
            v = F.normalize(self.u0 @ w)
            u = F.normalize(v @ w.t())
        weight = self.weight / (v @ w.t() @ u.t()).squeeze()
        bias = getattr(self, "bias", None)
        if weight.dim() == 2:
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


class ClassNorm(nn.Module):
    def __init__(self, channels, condition, shared):
        super().__init__()
        make = (lambda: Iterated(condition, channels, bias=False)) if shared else (
            lambda: nn.Embedding(condition, channels))
        self.gain, self.bias = make(), make()
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, x, y):
        x = F.batch_norm(x, self.stored_mean, self.stored_var, None, None, False, 0.1, 1e-5)
        return x * (1 + self.gain(y))[:, :, None, None] + self.bias(y)[:, :, None, None]


class PlainNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, x):
        return F.batch_norm(x, self.stored_mean, self.stored_var, self.gain, self.bias, False, 0.1, 1e-5)


class ResBlock(nn.Module):
    def __init__(self, inside, out, condition, shared):
        super().__init__()
        self.conv1, self.conv2 = Iterated(inside, out, 3), Iterated(out, out, 3)
        self.conv_sc = Iterated(inside, out, 1)
        self.bn1, self.bn2 = ClassNorm(inside, condition, shared), ClassNorm(out, condition, shared)

    def forward(self, x, y):
        h = self.conv1(F.interpolate(F.relu(self.bn1(x, y)), scale_factor=2))
        return self.conv2(F.relu(self.bn2(h, y))) + self.conv_sc(F.interpolate(x, scale_factor=2))


class NonLocal(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.theta, self.phi = Iterated(c, c // 8, 1, False), Iterated(c, c // 8, 1, False)
        self.g, self.o = Iterated(c, c // 2, 1, False), Iterated(c // 2, c, 1, False)
        self.gamma = nn.Parameter(torch.tensor(0.0))

    def forward(self, x, _):
        return attend(x, self.theta, self.phi, self.g, self.o, self.gamma)


class Brock(nn.Module):
    """G_ema.pth: at 32x32 with tables of classes, as for CIFAR-10, or with a shared embedding and a divided code."""

    def __init__(self, width=64, classes=10, *, multiples=(4, 4, 4, 4), attention=(), shared=0, chunk=0):
        super().__init__()
        sizes = [width * m for m in multiples]
        self.chunk, self.is_shared = chunk, bool(shared)
        self.latent = chunk * len(sizes) if chunk else 128
        condition = shared + chunk if shared else classes
        self.shared = nn.Embedding(classes, shared) if shared else nn.Identity()
        self.linear = Iterated(chunk or 128, 16 * sizes[0])
        self.blocks = nn.ModuleList()
        for i, (a, o) in enumerate(itertools.pairwise(sizes)):
            more = [NonLocal(o)] if i in attention else []
            self.blocks.append(nn.ModuleList([ResBlock(a, o, condition, bool(shared)), *more]))
        self.output_layer = nn.Sequential(PlainNorm(sizes[-1]), nn.ReLU(), Iterated(sizes[-1], 3, 3))

    def forward(self, z, y, truncation=1.0):
        y = self.shared(y)
        conditions = [y] * len(self.blocks)
        if self.chunk:
            z, *rest = z.split(self.chunk, 1)
            conditions = [torch.cat([y, part], 1) for part in rest]
        h = self.linear(z).view(len(z), -1, 4, 4)
        for condition, layers in zip(conditions, self.blocks):
            for layer in layers:
                h = layer(h, condition)
        return torch.tanh(self.output_layer(h))


# --------------------------------------------------------------------------------------------------------


def randomise(model, seed=0):
    """Weights and statistics that matter: spread, off their defaults, and images that do not saturate."""
    torch.manual_seed(seed)
    model.eval().requires_grad_(False)
    state = model.state_dict()
    for name, value in state.items():
        last = name.rsplit(".", 1)[-1]
        if not value.is_floating_point() or last in ("weight_u", "weight_v", "u0"):
            continue
        if "var" in last:
            value.uniform_(0.5, 1.5)
        elif "mean" in last or last == "bias":
            value.normal_(0, 0.2)
        elif last in ("gamma",) and value.numel() == 1:
            value.fill_(0.8)
        elif value.dim() == 1 and last in ("weight", "gain"):
            value.uniform_(0.8, 1.2)
        elif value.dim() >= 2:
            value.normal_(0, 1)
    for module in model.modules():
        vectors(module)
    for name, value in state.items():  # a class embedding of length about 1, tables of gains about 0.3
        if name in ("linear.weight", "embeddings.weight", "shared.weight") or (
                name.endswith(("gain.weight", "bias.weight")) and name.replace("weight", "u0") not in state):
            value.mul_(0.3)
    last = {n: p for n, p in model.named_parameters() if n.startswith((
        "scaledcrossreplicabn.", "generator.bn.", "output_layer.0."))}
    out = torch.atanh(model(torch.randn(2, model.latent), torch.tensor([0, 1])).clamp(-0.999, 0.999))
    for p in last.values():
        p.mul_(0.5 / float(out.std()))
    return model


def fold(model, memory_format=torch.contiguous_format):
    """A copy with weight / sigma computed once, and not at every call as published."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, Spectral):
            weight = module.normalised()
            weight = weight.contiguous(memory_format=memory_format) if weight.dim() == 4 else weight
            module.register_buffer("folded", weight)
    return model


def vectors(module):
    """u and v after two power iterations, so that sigma is near the norm and not at it."""
    if isinstance(module, Iterated):
        w = module.weight.view(len(module.weight), -1)
        u = F.normalize(torch.randn(1, len(w)))
        module.u0.copy_(F.normalize(F.normalize(u @ w) @ w.t()))
    elif hasattr(module, "weight_u"):
        w = module.matrix() if isinstance(module, Spectral) else module.weight_orig.reshape(len(module.weight_orig), -1)
        u = torch.randn(len(w))
        for _ in range(2):
            v = F.normalize(w.t() @ u, dim=0)
            u = F.normalize(w @ v, dim=0)
        module.weight_u.copy_(u)
        module.weight_v.copy_(v)
