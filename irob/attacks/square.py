"""Square attack (Andriushchenko et al., 2020): random search that only reads the logits.

The iterate lies on the border of the ball.  A query changes it in one random square window and is accepted if the
margin f_y - max_k!=y f_k falls.  Windows shrink by a fixed schedule: of the image's area they cover p_init, a half of
it after 10 queries, a quarter after 50, and so on.

linf: the start is vertical stripes of +-epsilon; a query adds +-2 epsilon to a window, one sign for each channel, and
projects.
l2, l1: the start is a tiling by a pattern that falls from the middle of a window's halves outwards, with opposite
signs; a query moves the mass of a second window, and what is left of epsilon, into the pattern of the first.

An example whose margin is negative is done: it rests while others of its chunk go on, and the chunk ends with the last.

Reference: https://arxiv.org/abs/1912.00049
"""

import jax
import jax.numpy as jnp
import numpy as np

from irob.attacks.referee import margin
from irob.core.check import integer, number
from irob.core.promises import Attack
from irob.core.threat import ImageThreat
from irob.core.types import Classifier, Proposal, value
from irob.math.norms import norm

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries after which the window's area is halved
TINY = 1e-12


@value("restarts", "p_init")
class Square(Attack):
    """Random search by square windows; `build` explains its fields."""

    threat: ImageThreat
    steps: jax.Array | int
    restarts: int
    p_init: float

    needs_gradient = False

    def perturb(self, key: jax.Array, classifier: Classifier, x: jax.Array, y: jax.Array, *, z=None) -> Proposal:
        """x: f[H,W,C], y: i[] -> x_adv f[restarts,H,W,C].  Restart r has the key fold_in(key, r)."""
        begin, propose = (_stripes, _square) if self.threat.norm == "linf" else (_tiles, _moved)
        sizes = _sizes(self.p_init, x.shape, self.threat.norm)
        patterns = jnp.asarray(np.stack([_both(_pattern(s, self.threat.norm), x.shape) for s in sizes]))

        def look(x_adv):
            lead = -margin(classifier(x_adv), y)
            return jnp.where(jnp.isnan(lead), jnp.inf, lead)

        def going(carry):
            i, _, lead = carry
            return (i < self.steps) & (lead >= 0)

        def once(r):
            stream = jax.random.fold_in(key, r)

            def query(carry):
                i, x_adv, lead = carry
                phase = jnp.searchsorted(jnp.array(HALVINGS), i)
                window = jnp.array(sizes)[phase], patterns[phase]
                candidate = propose(jax.random.fold_in(stream, i + 1), self.threat, x, x_adv, *window)
                candidate_lead = look(candidate)
                better = candidate_lead < lead
                return i + 1, jnp.where(better, candidate, x_adv), jnp.where(better, candidate_lead, lead)

            first = begin(jax.random.fold_in(stream, 0), self.threat, x)
            _, x_adv, _ = jax.lax.while_loop(going, query, (jnp.asarray(0), first, look(first)))
            return x_adv

        return Proposal(jax.lax.map(once, jnp.arange(self.restarts)))


def _sizes(p_init: float, shape: tuple[int, ...], order: str) -> list[int]:
    """The window's side in each phase: sqrt(p H W), odd and at least 3 where it carries a pattern."""
    h, w = shape[:2]
    sides = [round((p_init / 2**phase * h * w) ** 0.5) for phase in range(len(HALVINGS) + 1)]
    sides = [max(s, 1) for s in sides] if order == "linf" else [max(s, 3) | 1 for s in sides]
    return [min(s, h, w) for s in sides]


def _rectangle(rows: int, columns: int, order: str) -> np.ndarray:
    """Concentric rectangles, the k-th inner one adding 1 / k^2 (l2) or 1 / k^4 (l1), of norm 1."""
    out = np.zeros((rows, columns), np.float32)
    top, left = rows // 2, columns // 2
    for k in range(max(top, left) + 1):
        inside = slice(max(top - k, 0), top + k + 1), slice(max(left - k, 0), left + k + 1)
        out[inside] += 1.0 / (k + 1) ** (2 if order == "l2" else 4)
    return out / np.linalg.norm(out.ravel(), 2 if order == "l2" else 1)


def _pattern(side: int, order: str) -> np.ndarray:
    """Two halves of opposite sign, each falling outwards from its middle, of norm 1; f[side,side]."""
    half = side // 2
    upper = [_rectangle(half, side, order)] if half else []
    out = np.concatenate([*upper, -_rectangle(side - half, side, order)])
    return out / np.linalg.norm(out.ravel(), 2 if order == "l2" else 1)


def _both(pattern: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The pattern and its transpose, in the first rows and columns of an image of zeros; f[2,H,W]."""
    out = np.zeros((2, *shape[:2]), np.float32)
    out[:, : len(pattern), : len(pattern)] = pattern, pattern.T
    return out


def _place(u: jax.Array, shape: tuple[int, ...], size: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The window at a uniform u f[2]: its first row, first column, and where it is, bool[H,W,1]."""
    top, left = (jnp.floor(u[i] * (shape[i] - size + 1)).astype(jnp.int32) for i in (0, 1))
    rows, columns = jnp.arange(shape[0])[:, None, None] - top, jnp.arange(shape[1])[None, :, None] - left
    return top, left, (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)


def _sign(u: jax.Array) -> jax.Array:
    return jnp.where(u < 0.5, -1.0, 1.0)


def _stripes(key, threat, x):
    return threat.project(x, x + threat.strength * _sign(jax.random.uniform(key, (1, *x.shape[1:]))))


def _square(key, threat, x, x_adv, size, patterns):
    u = jax.random.uniform(key, (2 + x.shape[2],))  # one draw: each call of the generator is a program of its own
    *_, inside = _place(u[:2], x.shape, size)
    return threat.project(x, x_adv + 2 * threat.strength * inside * _sign(u[2:]))


def _full(threat, x, delta):
    """x + delta, delta stretched to length epsilon, clipped to the box."""
    length = norm(delta, threat.norm)
    return jnp.clip(x + delta * (threat.strength / (TINY + length)), *threat.bounds)


def _tiles(key, threat, x):
    h, w, c = x.shape
    side = max(min(h, w) // 5, 1)
    pattern = jnp.asarray(_pattern(side, threat.norm))
    rows, columns = h // side, w // side
    u = jax.random.uniform(key, (rows, columns, 1, 1, 1 + c))
    tiles = jnp.where(u[..., 0] < 0.5, pattern.T, pattern)[..., None] * _sign(u[..., 1:])
    delta = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * side, columns * side, c)
    border = [((n % side) // 2, n % side - (n % side) // 2) for n in (h, w)]
    return _full(threat, x, jnp.pad(delta, [*border, (0, 0)]))


def _moved(key, threat, x, x_adv, size, patterns):
    u = jax.random.uniform(key, (5 + x.shape[2],))
    top, left, inside = _place(u[:2], x.shape, size)
    *_, source = _place(u[2:4], x.shape, size)
    power = 2 if threat.norm == "l2" else 1

    def mass(v):
        """|v|^power of each channel; f[C]."""
        return jnp.sum(jnp.abs(v) ** power, axis=(0, 1))

    delta = x_adv - x
    pattern = jnp.where(u[4] < 0.5, patterns[0], patterns[1])
    pattern = jnp.roll(jnp.roll(pattern, top, 0), left, 1)[..., None] * _sign(u[5:])
    new = pattern + delta * inside / (TINY + mass(delta * inside) ** (1 / power))
    spare = jnp.maximum(threat.strength**power - jnp.sum(mass(delta)), 0.0) / x.shape[2]
    budget = (spare + mass(delta * (inside | source))) ** (1 / power)
    new = new * budget / (TINY + mass(new) ** (1 / power))
    return _full(threat, x, jnp.where(inside, new, jnp.where(source, 0.0, delta)))


def build(threat: ImageThreat, *, steps: int = 5000, restarts: int = 1, p_init: float = 0.8) -> Square:
    """Square attack.

    Args:
        steps: queries after the first.
        restarts: independent searches; the referee keeps the best for each example.
        p_init: share of the image that the first windows cover, in (0, 1].

    Raises:
        InputError: a number out of range.

    >>> from irob import attacks
    >>> attacks.build("square").steps
    5000
    """
    return Square(
        threat=threat,
        steps=integer("steps", steps, low=1),
        restarts=integer("restarts", restarts, low=1),
        p_init=number("p_init", p_init, low=0.0, high=1.0, open_low=True),
    )
