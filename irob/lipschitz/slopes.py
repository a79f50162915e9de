"""How steep a chord of an activation can be: from a to a + Delta with |Delta| <= delta, unit by unit.

For a convex function the slope of the chord grows with Delta, so its extremes lie at -delta and +delta.
"""

from typing import Any

import numpy as np

from irob.core import layers

NOISE = 1e-5  # relative; float32 sums here are off by 1e-6


def chords(activation: Any, a: np.ndarray, delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) slope of chords from a, f[n] each; delta: f[n], at least 0.

    ReLU with slope s on the left (0 for the plain one), p = min(1, |a| / delta):
        a >= 0:  [s + (1 - s) p, 1],    a < 0:  [s, 1 - (1 - s) p].
    Clip to [l, h]: the chord is flat beyond; from inside it has at least the share of delta to the nearer edge, from
    outside at most that which reaches in.
    tanh: the slope is unimodal in Delta, so the lowest lies at an end; the highest lies at an end, too, where no
    inflection is in reach, and is at most 1.

    >>> low, high = chords(layers.ReLU(), np.array([1.0, 1.0, -1.0]), np.array([0.5, 2.0, 2.0]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([1.0, 0.5, 0.0], [1.0, 1.0, 0.5])
    """
    a, delta = np.asarray(a, np.float64), np.maximum(np.asarray(delta, np.float64), 1e-30)
    # a itself is rounded to float32: a unit that close to a kink may lie on either side of it.
    noise = NOISE * max(1.0, float(np.abs(a).max(initial=0)))
    if activation is None:
        return np.ones_like(a), np.ones_like(a)
    if isinstance(activation, layers.ReLU | layers.LeakyReLU):
        s = getattr(activation, "slope", 0.0)
        share = (1 - s) * np.minimum(1.0, np.maximum(np.abs(a) - noise, 0) / delta)
        return np.where(a >= noise, s + share, s), np.where(a > -noise, 1.0, 1 - share)
    if isinstance(activation, layers.Clip):
        inside = np.minimum(a - activation.low, activation.high - a) - noise  # negative outside
        low = np.where(inside >= 0, np.minimum(1.0, np.maximum(inside, 0) / delta), 0.0)
        return low, np.where(inside >= -2 * noise, 1.0, np.maximum(0.0, 1 + (inside + 2 * noise) / delta))
    up = (np.tanh(a + delta) - np.tanh(a)) / delta
    down = (np.tanh(a) - np.tanh(a - delta)) / delta
    tangent = 1 - np.tanh(a) ** 2
    # Short chords cancel: their slopes lie between the tangents at both ends of the reach.
    flat = 1 - np.tanh(np.abs(a) + delta) ** 2
    low = np.where(delta < 1e-4, flat, np.minimum(np.minimum(up, down), tangent))
    steep = np.where(delta < 1e-4, 1 - np.tanh(np.maximum(np.abs(a) - delta, 0)) ** 2, np.maximum(up, down))
    return low, np.where(np.abs(a) > delta, np.maximum(steep, tangent), 1.0)


def steepest(activation: Any) -> float:
    """The largest slope anywhere."""
    return max(1.0, getattr(activation, "slope", 0.0))
