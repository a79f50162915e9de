"""A generator as a chain of parts, each a linear map, a bias and an activation.

    a_k = W_k h_{k-1} + b_k,    h_k = phi_k(a_k),    h_0 = z.

Gains that directly follow a kernel, with nothing in between (batch-norm in inference), are merged into it.  An
activation ends a part, sorting included: what comes after it never moves before it.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from irob.core import layers
from irob.core.check import InputError
from irob.core.latents import CLOSE, Law
from irob.lipschitz import linear
from irob.lipschitz.linear import TINY, UNIT, Linear
from irob.lipschitz.norms import SLACK

LINEAR = (layers.Dense, layers.Conv, layers.ConvTranspose, layers.Scale)
ACTIVATIONS = (layers.ReLU, layers.LeakyReLU, layers.Tanh, layers.Clip, layers.GroupSort, Law)


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """map: W.  bias: f[n_out], known up to `slack`.  activation: one of ACTIVATIONS, or None for the identity."""

    map: Linear
    bias: np.ndarray
    slack: np.ndarray
    activation: Any = None

    @property
    def stretch(self) -> float:
        """The Lipschitz constant of the activation, from above."""
        return self.activation.steepest if isinstance(self.activation, Law) else 1.0

    def before(self, h: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(W h + b, how far it may be off) for h that is known up to `noise`."""
        a = self.map.push(h[None])[0] + self.bias
        spread = self.map.bound(self.map.gamma * np.abs(h) + noise)
        return a, (spread + 4 * UNIT * np.abs(self.bias) + self.slack) * (1 + SLACK) + TINY

    def after(self, a: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(phi(a), how far it may be off); no activation stretches but a latent law, by its steepest slope at most."""
        phi = self.activation
        if isinstance(phi, Law):
            h = phi.exact(a)
            return h, noise * self.stretch * (1 + SLACK) + CLOSE * (1 + np.abs(h))
        if isinstance(phi, layers.ReLU | layers.LeakyReLU):
            h = np.maximum(a, phi.slope * a)
        elif isinstance(phi, layers.Clip):
            h = np.clip(a, phi.low, phi.high)
        else:
            h = np.tanh(a) if isinstance(phi, layers.Tanh) else a
        return h, noise * (1 + SLACK) + 8 * UNIT * np.abs(h)


def split(given: tuple[Any, ...], latent_dim: int) -> tuple[Part, ...]:
    """The parts of explicit layers.

    Raises:
        InputError: a layer that is neither linear nor an activation, by its name; one that does not fit its input;
            weights that are not finite.
    """
    for layer in given:
        if not isinstance(layer, (*LINEAR, *ACTIVATIONS, layers.Reshape, layers.Flatten)):
            raise InputError(f"layers: got {type(layer).__name__}, wanted "
                             f"{', '.join(t.__name__ for t in (*LINEAR, *ACTIVATIONS))}, Reshape or Flatten")
    parts: list[Part] = []
    shapes = ((latent_dim,), *layers.shapes(given, (latent_dim,)))
    for layer, before, after in zip(given, shapes, shapes[1:]):
        last = parts[-1] if parts else None
        if isinstance(layer, ACTIVATIONS):
            if last is None or last.activation is not None:
                parts.append(_part(linear.identity(before), 0.0))
            parts[-1] = dataclasses.replace(parts[-1], activation=layer)
        elif isinstance(layer, LINEAR):
            bias = np.broadcast_to(linear.weights(layer.bias), after).ravel()
            gain = linear.weights(layer.gain) if isinstance(layer, layers.Scale) else None
            merged = None if gain is None else _merged(last, gain, before)
            if last is not None and gain is not None and merged is not None:
                parts[-1] = _biased(last, merged, gain, bias)
            else:
                parts.append(_part(linear.of(layer, before, after), bias))
    return tuple(parts) or (_part(linear.identity((latent_dim,)), 0.0),)


def _part(map: Linear, bias) -> Part:
    bias = np.broadcast_to(np.asarray(bias, np.float64), (math.prod(map.shape_out),))
    return Part(map, bias, np.zeros_like(bias))


def _merged(part: Part | None, gain: np.ndarray, shape: tuple[int, ...]) -> Linear | None:
    """The map with gains of its last axis, or one for all, after it; None where they stay apart.

    They do if anything stands between, and if products of weights might leave the range of float64.
    """
    if part is None or part.activation is not None or part.map.kernel.ndim == 1 or gain.ndim > 1:
        return None
    w = part.map
    if w.shape_out != shape or not all(_moderate(x) for x in (w.kernel, gain)):
        return None
    return w.changed(w.kernel * (gain[:, None] if w.turned and gain.ndim else gain))


def _moderate(x: np.ndarray) -> bool:
    sizes = np.abs(x[x != 0])
    return not sizes.size or bool(sizes.min() > 1e-100 and sizes.max() < 1e100)


def _biased(part: Part, merged: Linear, gain: np.ndarray, bias: np.ndarray) -> Part:
    """The part with a gain and a bias after it."""
    wide = np.broadcast_to(gain, merged.shape_out).ravel()
    old = wide * part.bias
    slack = 4 * UNIT * (np.abs(old) + np.abs(bias)) + np.abs(wide) * part.slack * (1 + SLACK) + TINY
    return Part(merged, old + bias, slack)
