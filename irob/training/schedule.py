"""Learning rates over a run, as fractions of its length, so that a short run decays where a long one does.

    trades     x 1, 0.1, 0.01, 0.001 from 0, 55, 75, 90 % of the epochs: TRADES' own, and the default
    published  x 1, 0.1, 0.001, 1e-6 from 0, 50, 70, 90 %: what the paper's code does.  It multiplies its decays
               (0.1, then 0.01, then 0.001) where a schedule would set them, so that nothing is learnt after 70 %
    halving    x 1/2, 1/4, 1/8 from 50, 67, 83 %: LP-Certify's own, every 10 of 60 epochs after a ramp of 20
    cosine     (1 + cos(pi t)) / 2 over the run, step by step: for short runs
    one_cycle  from 0 up to 1 at 20 %, down to 0 at the end, linearly and step by step
    constant   1
"""

import jax.numpy as jnp
import numpy as np
import optax

from irob.core.check import integer, number, unknown

STEPS = {
    "trades": ((0.55, 0.1), (0.75, 0.01), (0.9, 0.001)),
    "published": ((0.5, 0.1), (0.7, 1e-3), (0.9, 1e-6)),
    "halving": ((1 / 2, 0.5), (2 / 3, 0.25), (5 / 6, 0.125)),
    "constant": (),
}
NAMES = (*STEPS, "cosine", "one_cycle")
WARM_UP = 0.2


def learning_rate(name: str, peak: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """The schedule `name` as step number -> learning rate.

    Args:
        peak: largest learning rate, above 0.
        epochs, steps_per_epoch: length of the run; decays fall on whole epochs.

    Raises:
        InputError: unknown name (the nearest is suggested), a number out of range.

    >>> rate = learning_rate("trades", 0.05, 100, 468)
    >>> [round(float(rate(468 * epoch)), 6) for epoch in (0, 54, 55, 75, 90)]
    [0.05, 0.05, 0.005, 0.0005, 5e-05]
    """
    if name not in NAMES:
        raise unknown("schedule", name, NAMES)
    number("learning rate", peak, low=0, open_low=True)
    total = integer("epochs", epochs, low=1) * integer("steps per epoch", steps_per_epoch, low=1)
    if name == "cosine":
        return optax.cosine_decay_schedule(peak, total)
    if name == "one_cycle":
        top = WARM_UP * total
        return lambda step: peak * jnp.minimum((step + 1) / (top + 1), jnp.maximum(total - step, 0) / (total - top))
    edges = [round(fraction * epochs) * steps_per_epoch for fraction, _ in STEPS[name]]
    rates = [np.float32(peak) * np.float32(factor) for factor in (1.0, *(factor for _, factor in STEPS[name]))]
    return optax.join_schedules([optax.constant_schedule(rate) for rate in rates], edges)
