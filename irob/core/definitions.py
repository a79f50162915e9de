"""Two definitions of robustness, and which of them a number has.

"error region": (x, y) is attacked if some x' within epsilon has f(x') != f*(x'), the ground truth at x' (Definitions
    3.1 and 3.2 of Zhang et al., 2020).  A witness, which errs on a region E and nowhere else, is measured so.
"label": (x, y) is kept if f(x') = y for every x' within epsilon.  Attacks, certificates and label limits measure this.
"both": an upper limit that holds in both senses, as Theorem 4.4's does.
"prediction": f(x') is compared with f(x); the truth plays no part (Fawzi et al., 2018).

A witness keeps nothing of an image whose neighbourhood holds another class: at such a point f* is right and differs
from y.  So a lower end of the first kind says nothing about the second, and the two are never set beside each other.

>>> agree("both", "label"), agree("error region", "label")
(True, False)
"""

from typing import Literal

Definition = Literal["", "label", "error region", "both", "prediction"]
NAMES: tuple[Definition, ...] = ("label", "error region", "both", "prediction")


def agree(a: Definition, b: Definition) -> bool:
    """Whether numbers of these definitions may be compared: equal ones, and an upper limit of both with either."""
    return a == b or ("both" in (a, b) and {a, b} <= {"both", "label", "error region"})
