"""How steep a chord of an activation can be: from a to a + Delta with |Delta| <= delta, unit by unit.

For a convex function the slope of the chord grows with Delta, so its extremes lie at -delta and +delta.

Slopes are enclosed whatever the rounding: a is known up to `noise`, and what is computed here is widened by a proved
multiple of UNIT (exp and expm1 are taken to be right to 4 units in the last place).  Slopes that are certain, as of a
ReLU that stays on or off, come out exactly.
"""

from typing import Any

import numpy as np

from irob.core import layers
from irob.core.latents import CLOSE, Law
from irob.lipschitz.linear import TINY, UNIT

WIDER = 8 * UNIT  # three operations on numbers up to 1, and more


def chords(activation: Any, a, delta, noise=0.0) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) slope of chords from a, f[n] each; delta: f[n], at least 0; noise: how far a may be off.

    ReLU with slope s on the left (0 for the plain one), p = min(1, |a| / delta):
        a >= 0:  [s + (1 - s) p, 1],    a < 0:  [s, 1 - (1 - s) p].
    Clip to [l, h]: the chord is flat beyond; from inside it has at least the share of delta to the nearer edge, from
    outside at most that which reaches in.
    tanh: sinh(Delta) / (Delta cosh(a) cosh(a + Delta)), a product without cancellation, whose logarithm changes by at
    most 2 |da| with a.  It is unimodal in Delta, so the lowest lies at an end; the highest lies at an end, too, where
    no inflection is in reach, and is at most 1.
    A latent law: the same, and between its slopes at the farthest and the nearest point to 0 in reach.

    >>> low, high = chords(layers.ReLU(), np.array([1.0, 1.0, -1.0]), np.array([0.5, 2.0, 2.0]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([1.0, 0.5, 0.0], [1.0, 1.0, 0.5])
    """
    a, delta = np.asarray(a, np.float64), np.maximum(np.asarray(delta, np.float64), TINY)
    noise = np.asarray(noise, np.float64)
    with np.errstate(over="ignore", under="ignore"):
        if activation is None:
            return np.ones_like(a), np.ones_like(a)
        if isinstance(activation, layers.ReLU | layers.LeakyReLU):
            return _bent(activation.slope, a, delta, noise)
        if isinstance(activation, layers.Clip):
            noise = noise + 4 * UNIT * (np.abs(a) + abs(activation.low) + abs(activation.high))
            inside = np.minimum(a - activation.low, activation.high - a)  # negative outside
            low = np.clip((inside - noise) / delta * (1 - WIDER), 0, 1)
            high = np.clip(1 + (inside + noise) / delta + WIDER, 0, 1)
            return (np.where(inside - noise >= delta, 1.0, low), np.where(inside + noise <= -delta, 0.0, high))
        if isinstance(activation, Law):
            return _law(activation, a, delta, noise)
        return _tanh(a, delta, noise)


def _bent(s: float, a, delta, noise):
    """A slope of s on the left of 0 and of 1 on the right."""
    sure = np.maximum(np.abs(a) - noise, 0) * (1 - WIDER)
    share = (1 - s) * np.minimum(sure / delta, 1) * (1 - WIDER)
    stays = sure >= delta
    low = np.where(a >= noise, np.where(stays, 1.0, np.maximum(s, (s + share) * (1 - WIDER))), s)
    high = np.where(a <= -noise, np.where(stays, s, np.maximum(s, np.minimum(1.0, 1 - share + WIDER))), 1.0)
    return low, high


def _tanh(a, delta, noise):
    ends = []
    for b in (np.abs(a - delta), np.abs(a + delta)):
        e = np.exp(-2 * np.abs(a)), np.exp(-2 * b)
        ends.append(-2 * np.expm1(-2 * delta) / delta * np.exp(delta - np.abs(a) - b) / ((1 + e[0]) * (1 + e[1])))
    # Rounding of the exponents, and of a.
    wider = np.where(noise < 1, np.exp(2 * np.minimum(noise, 1)) * (1 + 64 * UNIT + 8 * UNIT * (np.abs(a) + delta)), 1)
    low = np.maximum(np.minimum(*ends) / wider - TINY, 0)
    high = np.minimum(np.maximum(*ends) * wider + TINY, 1)
    sure = noise < 1
    return np.where(sure, low, 0.0), np.where(sure & (np.abs(a) - noise > delta * (1 + WIDER)), high, 1.0)


def _law(law: Law, a, delta, noise):
    """A law's map has one inflection, at 0, where it is steepest."""
    reach = (delta + noise) * (1 + WIDER)
    low = law.slope((np.abs(a) + reach) * (1 + WIDER)) * (1 - 4 * CLOSE)
    high = law.slope(np.maximum(np.abs(a) - reach, 0) * (1 - WIDER)) * (1 + 4 * CLOSE)
    here, ends = law.exact(a), [law.exact(a - delta), law.exact(a + delta)]
    slopes = [np.abs(end - here) / delta for end in ends]
    off = (4 * CLOSE * (1 + np.abs(here) + np.abs(ends[0]) + np.abs(ends[1])) + 4 * law.steepest * (
        noise + UNIT * (np.abs(a) + delta))) / delta
    low = np.maximum(low, np.minimum(*slopes) - off)
    sure = np.abs(a) - noise > delta * (1 + WIDER)
    high = np.where(sure, np.minimum(high, np.maximum(*slopes) + off), high)
    return np.maximum(low - TINY, 0), high + TINY
