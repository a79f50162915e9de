"""Auto-PGD towards one class after the other; see irob.attacks.search.apgd."""

from irob.attacks.search import apgd
from irob.core.threat import ImageThreat


def build(threat: ImageThreat, *, steps: int = 100, restarts: int = 1, targets: int = 9, eot: int = 1) -> apgd.APGD:
    """Ascends (z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2) for t the 2nd, 3rd, ... largest logit of the clean image.

    Args:
        steps: moves of one ascent.
        restarts: random starts for each target.
        targets: how many; those beyond the number of the other classes repeat the last.
        eot: evaluations whose gradients are averaged at each step, for a randomised classifier.

    Raises:
        InputError: a number below 1; when it runs, a classifier of fewer than 4 classes.

    >>> from irob import attacks
    >>> attacks.build("apgd_t").runs
    9

    Reference: Croce and Hein, 2020, https://arxiv.org/abs/2003.01690
    """
    return apgd.build(threat, "targeted", steps=steps, restarts=restarts, targets=targets, eot=eot)
