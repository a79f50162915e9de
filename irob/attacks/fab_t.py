"""Targeted FAB: the attack of irob.attacks.fab towards each of the likeliest wrong classes, one gradient a step.

Where there are many classes it is cheaper than the untargeted attack, and it is the stronger of the two, since the
nearest plane at one point need not be the boundary that is nearest in the end.

Reference: Croce and Hein, 2020, https://arxiv.org/abs/2003.01690
"""

from irob.attacks.fab import FAB, make
from irob.core.check import integer
from irob.core.threat import ImageThreat


def build(
    threat: ImageThreat,
    *,
    steps: int = 100,
    targets: int = 9,
    restarts: int = 1,
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
) -> FAB:
    """FAB towards the `targets` wrong classes of largest logit, or all where there are fewer.

    Args:
        steps: linearisations for each target and restart.
        targets: at least 1.
        restarts, alpha_max, eta, beta: see `fab.build`.

    Raises:
        InputError: a number out of range.

    >>> from irob import attacks
    >>> attacks.build("fab_t", targets=4).targets
    4
    """
    targets = integer("targets", targets, low=1)
    return make(threat, steps=steps, targets=targets, restarts=restarts, alpha_max=alpha_max, eta=eta, beta=beta)
