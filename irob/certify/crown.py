"""Linear relaxation, walked backward, with optimised slopes (CROWN and alpha-CROWN).

A ReLU whose input lies in [l, u] with l < 0 < u lies below its chord and above every line a x with 0 <= a <= 1.
Functionals of the output go back to the input layer by layer, a positive coefficient through the lower line and a
negative one through the upper; there the ball's dual norm, cut by the box of images, gives the bound.  Bounds of
hidden units are found alike, from the first layer on, windows of convolutions alone being stored.  The slopes of the
last walk climb the gradient of the bound, for every class on its own.  Where they are best, the bound is that of the
triangle linear programme on the same [l, u].

Reference: Zhang et al., 2018, https://arxiv.org/abs/1811.00866; Xu et al., 2021, https://arxiv.org/abs/2011.13824
"""

from irob.certify.proof import backward, envelope
from irob.certify.proof.slopes import FreeSlopes
from irob.core.check import integer, unknown
from irob.core.types import value


@value("steps", "inner", "through", "chunk")
class Crown(FreeSlopes):
    """Linear relaxation with free slopes; `build` explains its fields."""

    name = "crown"
    parallel = False
    start = staticmethod(envelope.adaptive)


def build(*, steps: int = 20, inner: str = "lines", through: bool = False, chunk: int = 4) -> Crown:
    """Linear relaxation with optimised slopes, for l1, l2 and linf.

    Layers: Dense, Conv, Scale, AvgPool, Flatten, Reshape; ReLU, LeakyReLU, Clip, Tanh, MaxPool, GroupSort.

    Args:
        steps: of gradient ascent on the slopes of each class; 0 leaves them as they start.
        inner: bounds of hidden units by "lines", as here, or by "interval", which is cheap and loose.
        through: optimise the slopes behind the hidden units' bounds as well, at several times the cost and memory.
        chunk: examples at a time.

    Raises:
        InputError: unknown name, or a number out of range.

    >>> build(steps=5).steps
    5
    """
    if inner not in backward.INNER:
        raise unknown("inner bounds", inner, backward.INNER)
    return Crown(integer("steps", steps), inner, bool(through), integer("chunk", chunk, low=1))
