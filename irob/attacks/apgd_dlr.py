"""Auto-PGD on the difference of logits ratio; see irob.attacks.search.apgd."""

from irob.attacks.search import apgd
from irob.core.threat import ImageThreat


def build(threat: ImageThreat, *, steps: int = 100, restarts: int = 1, eot: int = 1) -> apgd.APGD:
    """Ascends (max_{k != y} z_k - z_y) / (z_(1) - z_(3)), which a scale of the logits does not hide; three classes.

    Args:
        steps: moves of one ascent.
        restarts: random starts.
        eot: evaluations whose gradients are averaged at each step, for a randomised classifier.

    Raises:
        InputError: a number below 1; when it runs, a classifier of fewer than 3 classes.

    >>> from irob import attacks
    >>> attacks.build("apgd_dlr", restarts=5).runs
    5

    Reference: Croce and Hein, 2020, https://arxiv.org/abs/2003.01690
    """
    return apgd.build(threat, "dlr", steps=steps, restarts=restarts, targets=1, eot=eot)
