"""Zonotopes with free slopes (DeepZ), the ball kept in its own norm.

    Z = { a + A d + B e : d in the ball, cut by the box of images; |e_i| <= 1 }

Affine layers map a, A and B.  A ReLU on [l, u] with l < 0 < u becomes s x + w + w e_new, where for any slope s in
[0, 1]

    2 w = max((1 - s) u, -s l),      an area of 2 w (u - l),  least at  s = u/(u - l), where it is -u l.

The bound of a linear functional of Z is that of the same functional walked backward through the bands s x + [0, 2 w];
so A and B are never formed, which for a convolution would be a matrix of units by units.  For d the dual norm is
taken: under l1 and l2 nothing of the ball is given away.  Layers without such a band go between lines, as in CROWN.

Reference: Singh et al., 2018, "Fast and effective robustness certification"; Balunovic and Vechev, 2020, ICLR.
"""

from irob.certify.proof import backward, envelope
from irob.certify.proof.slopes import FreeSlopes
from irob.core.check import integer, unknown
from irob.core.types import value


@value("steps", "inner", "through", "chunk")
class Zonotope(FreeSlopes):
    """Zonotopes with free slopes; `build` explains its fields."""

    name = "zonotope"
    parallel = True
    start = staticmethod(envelope.smallest)


def build(*, steps: int = 20, inner: str = "lines", through: bool = False, chunk: int = 4) -> Zonotope:
    """Zonotopes with optimised slopes, for l1, l2 and linf.

    Args:
        steps: of gradient ascent on the slopes of each class; 0 leaves those of smallest area.
        inner: bounds of hidden units by "lines", the zonotope's own, or by "interval".
        through: optimise the slopes behind the hidden units' bounds as well, at several times the cost and memory.
        chunk: examples at a time.

    Raises:
        InputError: unknown name, or a number out of range.

    >>> build(steps=5).steps
    5
    """
    if inner not in backward.INNER:
        raise unknown("inner bounds", inner, backward.INNER)
    return Zonotope(integer("steps", steps), inner, bool(through), integer("chunk", chunk, low=1))
