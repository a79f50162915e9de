"""Auto-PGD on the cross entropy: the first attack of AutoAttack; see irob.attacks.search.apgd."""

from irob.attacks.search import apgd
from irob.core.threat import ImageThreat


def build(threat: ImageThreat, *, steps: int = 100, restarts: int = 1, eot: int = 1) -> apgd.APGD:
    """Ascends log sum_{k != y} e^z_k - z_y with a step that adapts itself; nothing is tuned.

    Args:
        steps: moves of one ascent.
        restarts: random starts.
        eot: evaluations whose gradients are averaged at each step, for a randomised classifier.

    Raises:
        InputError: a number below 1.

    >>> from irob import attacks
    >>> attacks.build("apgd_ce").steps
    100

    Reference: Croce and Hein, 2020, https://arxiv.org/abs/2003.01690
    """
    return apgd.build(threat, "ce", steps=steps, restarts=restarts, targets=1, eot=eot)
