"""Looks for false Lipschitz certificates: random and constructed generators against the steepest chord of an adversary.

    python -m benchmarks.false_lipschitz --cases 10000 --seed 0

The adversary shares no code with the certificates: layers as matrices that are filled in by their definition, in
extended precision, with a bound on its own rounding that is taken off every chord.  It climbs by power iteration on
chords from random directions, from each axis and from the steepest direction at the code.
"""

import argparse
import collections
import time

import jax.numpy as jnp
import numpy as np

from irob.core import layers as L
from irob.core.types import Generator
from irob.lipschitz import certified, certified_radius, certifying, norms

LONG = np.longdouble
KINDS = ("dense", "sorted", "convolution", "transposed", "flat", "scaled", "cancelling", "far", "saturated", "bare")
EPSILON = 0.3


def case(seed: int) -> tuple[str, tuple, int, np.ndarray, float]:
    """(kind, layers, latent dimension, code f[d], radius) of one case; every second one with gains in between."""
    rng = np.random.default_rng([seed, 77])
    kind = KINDS[seed % len(KINDS)]
    d = int(rng.integers(1, 5))
    z = rng.normal(size=d) * (10 ** rng.uniform(0, 6) if kind == "far" else 1)
    radius = 10 ** (rng.uniform(-5, 6) if rng.random() < 0.3 else rng.uniform(-3, 1))
    given: list = []
    shape: tuple[int, ...] = (d,)
    # Sizes of the layers, balanced so that the whole stays within reach of float32.
    exponents = rng.uniform(-30, 30, 6) if kind == "scaled" else np.zeros(6)
    total = 0.0
    for i in range(int(rng.integers(1, 5))):
        e = float(np.clip(-total if i % 2 else exponents[i], -30, 30))
        total += e
        shape = _linear(rng, given, kind, shape, 10**e)
        if rng.random() < 0.4:
            _gain(rng, given, shape)
        if rng.random() < 0.2:
            given.append(L.Flatten())
            shape = (int(np.prod(shape)),)
            if rng.random() < 0.5:
                _gain(rng, given, shape)
        for _ in range(int(rng.integers(0, 3)) if kind == "bare" else 1):
            given.append(_activation(rng, kind, shape))
            if rng.random() < 0.4:
                _gain(rng, given, shape)
    if kind == "cancelling":
        _cancel(rng, given)
    return kind, tuple(given), d, np.asarray(z, np.float32), float(np.clip(radius, 1e-5, 1e6))


def _array(rng, *shape, scale=1.0):
    x = rng.normal(size=shape) * scale * (rng.random(shape) < 0.8)
    kind = rng.choice([jnp.float32, jnp.float32, jnp.float16, jnp.bfloat16]) if 1e-3 < scale < 1e3 else jnp.float32
    return x.astype(np.float32).astype(kind)


def _linear(rng, given, kind, shape, scale):
    n = int(np.prod(shape))
    if kind == "bare" and rng.random() < 0.6:
        return shape
    if kind == "convolution":
        if len(shape) != 3:
            shape = _image(rng, given, n)
        k, stride = rng.integers(1, 5, 2), int(rng.integers(1, 5))
        padding: int | str = [0, 1, 2, "SAME", "VALID"][rng.integers(5)]
        room = 0 if padding == "VALID" else padding
        if not isinstance(room, str) and max(k) > 2 * room + min(shape[:2]):
            padding = "SAME"
        c, o = shape[2], int(rng.integers(1, 4))
        given.append(L.Conv(_array(rng, *k, c, o).astype(np.float32), _array(rng, o), stride, padding))
        return L.shapes(given[-1:], shape)[-1]
    if kind == "transposed" and (len(shape) != 3 or shape[0] <= 4):
        if len(shape) != 3:
            shape = _image(rng, given, n)
        o = int(rng.integers(1, 4))
        given.append(L.ConvTranspose(_array(rng, 4, 4, shape[2], o) / 2, _array(rng, o)))
        return (2 * shape[0], 2 * shape[1], o)
    o = 2 * int(rng.integers(1, 5))
    i = shape[-1]
    gain = 30.0 if kind == "saturated" else 1.0
    kernel, bias = _array(rng, i, o, scale=scale * gain / np.sqrt(i)), _array(rng, o, scale=scale if scale < 1e3 else 1)
    if kind == "flat":
        draw = rng.random()
        kernel = kernel * 0 if draw < 0.3 else kernel
        bias = bias.astype(np.float32) - np.float32(10 ** rng.uniform(0, 6)) if draw > 0.5 else bias
    given.append(L.Dense(kernel, bias))
    return (*shape[:-1], o)


def _image(rng, given, n):
    h = int(rng.choice([a for a in range(1, n + 1) if n % a == 0]))
    w = int(rng.choice([a for a in range(1, n // h + 1) if (n // h) % a == 0]))
    shape = (h, w, n // (h * w))
    given.append(L.Reshape(shape))
    return shape


def _gain(rng, given, shape):
    wide = [(), (1,), shape[-1:], shape][rng.integers(4)]
    given.append(L.Scale(_array(rng, *wide), _array(rng, *wide)))


def _activation(rng, kind, shape):
    if kind == "sorted" and shape[-1] % 2 == 0:
        return L.GroupSort()
    if kind == "saturated":
        return L.Tanh()
    low = float(rng.normal())
    return [L.ReLU(), L.LeakyReLU(float(rng.choice([0.0, 0.2, 1.0, rng.random()]))), L.Tanh(),
            L.Clip(low, low + float(rng.exponential()) + 1e-3)][rng.integers(4)]


def _cancel(rng, given):
    """Two gains whose large biases cancel but for little, in front of a kink."""
    big = np.float32(10 ** rng.uniform(0, 8))
    near = np.float32(-big - np.float32(rng.choice([0, 1e-3, 1.0, -1e-3])))
    one = np.float32(1)
    given[1:1] = [L.Scale(one, np.float32(big)), L.LeakyReLU(1.0), L.Scale(one, np.float32(near)), L.ReLU()]


class Exact:
    """The map of the layers in extended precision, with its derivative and a bound on the rounding."""

    def __init__(self, given: tuple, d: int):
        self.steps = []
        shape = (d,)
        for layer, after in zip(given, L.shapes(given, shape), strict=True):
            self.steps.append(_step(layer, shape, after))
            shape = after

    def __call__(self, x: np.ndarray):
        """x: f[m,d] -> (g(x) f[m,D], rounding f[m], pull: f[m,D] -> f[m,d])."""
        unit = 64 * np.finfo(LONG).eps
        error, slopes = np.zeros_like(x), []
        for step in self.steps:
            if step[0] == "linear":
                _, matrix, bias = step
                x, size = x @ matrix + bias, np.abs(x) @ np.abs(matrix) + np.abs(bias)
                error = error @ np.abs(matrix) + unit * size
                slopes.append((step[0], matrix))
            elif step[0] == "sort":
                pairs = x.reshape(len(x), -1, 2)
                order = np.argsort(pairs, axis=-1, kind="stable")
                x = np.take_along_axis(pairs, order, -1).reshape(x.shape)
                error = np.repeat(error.reshape(pairs.shape).max(-1), 2, -1)
                slopes.append((step[0], order))
            else:
                _, phi, slope = step
                slopes.append((step[0], slope(x)))
                x = phi(x)
                error = error + unit * np.abs(x)
        return x, np.sqrt((error**2).sum(-1)), lambda y: self._pull(y, slopes)

    @staticmethod
    def _pull(y, slopes):
        for kind, s in reversed(slopes):
            if kind == "sort":
                out = np.empty_like(y).reshape(s.shape)
                np.put_along_axis(out, s, y.reshape(s.shape), -1)
                y = out.reshape(y.shape)
            else:
                y = y @ s.T if kind == "linear" else y * s
        return y


def _step(layer, before, after):
    n_in, n_out = int(np.prod(before)), int(np.prod(after))
    if isinstance(layer, L.GroupSort):
        return ("sort",)
    if isinstance(layer, L.ReLU | L.LeakyReLU):
        s = LONG(getattr(layer, "slope", 0.0))
        return "phi", lambda x: np.where(x > 0, x, s * x), lambda x: np.where(x > 0, LONG(1), s)
    if isinstance(layer, L.Tanh):
        return "phi", np.tanh, lambda x: 1 - np.tanh(x) ** 2
    if isinstance(layer, L.Clip):
        low, high = LONG(layer.low), LONG(layer.high)
        return "phi", lambda x: np.clip(x, low, high), lambda x: ((x > low) & (x < high)).astype(LONG)
    matrix, bias = np.zeros((*before, *after), LONG), LONG(0)
    if isinstance(layer, L.Reshape | L.Flatten):
        matrix = np.eye(n_in, dtype=LONG)
    else:
        bias = np.broadcast_to(np.asarray(layer.bias).astype(LONG), after).ravel()
    if isinstance(layer, L.Scale):
        matrix = np.diag(np.broadcast_to(np.asarray(layer.gain).astype(LONG), before).ravel())
    elif isinstance(layer, L.Dense):
        for place in np.ndindex(before[:-1]):
            matrix[(*place, slice(None), *place)] = np.asarray(layer.kernel).astype(LONG)
    elif isinstance(layer, L.ConvTranspose):
        kernel = np.asarray(layer.kernel).astype(LONG)
        for i, j, k, m in np.ndindex(before[0], before[1], 4, 4):
            p, q = 2 * i - 1 + k, 2 * j - 1 + m
            if 0 <= p < after[0] and 0 <= q < after[1]:
                matrix[i, j, :, p, q] += kernel[3 - k, 3 - m]
    elif isinstance(layer, L.Conv):
        kernel = np.asarray(layer.kernel).astype(LONG)
        kh, kw = kernel.shape[:2]
        top, left = layer.padding, layer.padding
        if layer.padding == "VALID":
            top = left = 0
        if layer.padding == "SAME":  # what is missing to ceil(n / stride) windows, half of it before
            top, left = (max(0, (-(-n // layer.stride) - 1) * layer.stride + k - n) // 2
                         for n, k in ((before[0], kh), (before[1], kw)))
        for p, q, k, m in np.ndindex(after[0], after[1], kh, kw):
            i, j = p * layer.stride + k - top, q * layer.stride + m - left
            if 0 <= i < before[0] and 0 <= j < before[1]:
                matrix[i, j, :, p, q] += kernel[k, m]
    return "linear", matrix.reshape(n_in, n_out), bias


def steepest(g: Exact, z: np.ndarray, radius: float, rng, steps: int = 6) -> tuple[float, float]:
    """(steepest chord, longest move of the image) found within the radius, both less what rounding may explain."""
    z = z.astype(LONG)
    d = len(z)
    directions = np.concatenate([rng.normal(size=(8, d)), np.eye(d), -np.eye(d)]).astype(LONG)
    v = directions / np.linalg.norm(directions.astype(float), axis=1)[:, None]
    v = np.concatenate([s * radius * v for s in (1, 0.3, 1e-3)]).astype(LONG)
    centre, rounding, _ = g(z[None])
    best = far = 0.0
    with np.errstate(all="ignore"):
        for _ in range(steps):
            v = v * (LONG(radius) * (1 - LONG(1e-15)) / np.maximum(_length(v), radius))[:, None]
            moved = z + v
            image, error, pull = g(moved)
            chord = moved - z
            gap = np.maximum(_length(image - centre) * (1 - LONG(1e-15)) - error - rounding, 0)
            length = _length(chord)
            ok = np.isfinite(gap) & (length > 0) & (length <= radius)
            if ok.any():
                best = max(best, float((gap[ok] / length[ok]).max()))
                far = max(far, float(gap[ok].max()))
            w = pull(image - centre)
            size = _length(w)
            new = np.where((size > 0)[:, None] & np.isfinite(w), w / np.where(size > 0, size, 1)[:, None], v)
            stretch = np.exp(rng.uniform(-2, 1, len(v)))[:, None]
            v = new * np.minimum(_length(v)[:, None] * stretch, radius)
    return best, far


def _length(x):
    most = np.abs(x).max(1, initial=0)
    scaled = x / np.where(most > 0, most, 1)[:, None]
    return most * np.sqrt((scaled**2).sum(1))


def false(seed: int, few: int = 0) -> tuple[str, str]:
    """(kind, what is false about its certificates, or nothing).  few: form no matrices larger than this."""
    kind, given, d, z, radius = case(seed)
    shape = (L.shapes(given, (d,)) or ((d,),))[-1]
    n = int(np.prod(shape))
    g = Generator((*given, L.Reshape((1, n, 1))), L.SHARED, d, 1, (1, n, 1))  # as from_layers, but nothing on a device
    exact, rng = Exact(given, d), np.random.default_rng([seed, 78])
    usual = norms.EXPLICIT
    if few:
        norms._NORMS.clear()
        norms.EXPLICIT = certifying.EXPLICIT = few
    try:
        steep, _ = steepest(exact, z, radius, rng)
        sorts = any(isinstance(layer, L.GroupSort) for layer in given)
        for method in ("product",) if sorts else ("product", "local"):
            top = float(certified(g, z[None], 0, radius=radius, method=method).value[0])
            if not top >= steep * (1 - 1e-14):
                return kind, f"seed {seed}: {method} {top!r}, chord {steep!r}"
        rho = float(certified_radius(g, z[None], 0, epsilon=EPSILON, steps=2)[0])
        _, far = steepest(exact, z, rho, rng)
        if not (rho >= 0 and far <= EPSILON * (1 + 1e-14)):
            return kind, f"seed {seed}: radius {rho!r}, moved {far!r}"
    finally:
        norms.EXPLICIT = certifying.EXPLICIT = usual
        if few:
            norms._NORMS.clear()
    return kind, ""


def main() -> None:
    parser = argparse.ArgumentParser(description="false Lipschitz certificates, by kind of generator")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    args = parser.parse_args()
    tried, wrong, start = collections.Counter(), collections.Counter(), time.time()
    for seed in range(args.seed, args.seed + args.cases):
        norms._NORMS.clear()
        kind, why = false(seed, few=2 if seed % 3 == 0 else 0)
        tried[kind] += 1
        if why:
            wrong[kind] += 1
            print(f"FALSE {kind}: {why}", flush=True)
        if (seed + 1 - args.seed) % 100 == 0 or seed + 1 == args.seed + args.cases:
            print(f"{sum(tried.values())} cases, {sum(wrong.values())} false, {time.time() - start:.0f} s", flush=True)
    for kind in KINDS:
        print(f"{kind:12s} {tried[kind]:7d} cases {wrong[kind]:5d} false")


if __name__ == "__main__":
    main()
