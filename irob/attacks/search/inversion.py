"""Inversion of a generator: the code of an image whose code is not known.

    argmin_z  |g(z, y) - x|^2        from random starts z ~ N(0, I)

"gauss_newton" is Levenberg's and Marquardt's method.  With r = g(z) - x, J = dg/dz and s = tr(J'J)/d, a step tries

    z - (J'J + mu s I)^-1 J' r     for mu = m, m/10, 10 m, 100 m

at once, for the Jacobian costs more than all of them, and takes the best, z included; m is what served last.  Far from
x the residual's curvature misleads it into poor valleys, so WARM steps of Adam come first.
"adam" and "gradient" follow the gradient alone; the published attack uses the latter.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irob.attacks.search.walk import BLOCK, columns, nearer
from irob.core import batch, check, compile, keys, memory
from irob.core.batch import Work
from irob.core.types import Generator, value

INITIALISATIONS = ("code", "inversion")  # where an attack in the latent space starts
METHODS = ("gauss_newton", "adam", "gradient")
WARM = 40  # steps of Adam before the first of Gauss-Newton; on a trained generator, 40 and 6 are nearer than 0 and 25
FIRST = 0.1  # m at the start
TRIED = (1.0, 0.1, 10.0, 100.0)


def require(generator: Generator, x: np.ndarray, z: np.ndarray | None, *, inversion: bool) -> None:
    """Raises `InputError` unless the codes are there where they are needed and the generator draws such images."""
    shape, d = tuple(generator.image_shape), generator.latent_dim
    if x.shape[1:] != shape:
        raise check.InputError(f"images: got {x.shape[1:]}, the generator draws {shape}")
    if z is not None and z.shape[1:] != (d,):
        raise check.InputError(f"codes z: got shape {z.shape}, wanted ({len(x)}, {d})")
    if z is None and not inversion:
        raise check.InputError('codes z: got none, wanted those of x; pass z or use initialisation="inversion"')


@value("restarts", "steps", "method")
class InversionPlan:
    """How an image is inverted.

    restarts: random starts z ~ N(0, I).  steps: for each; one of Gauss-Newton draws a Jacobian.
    method: "gauss_newton", "adam" or "gradient".
    learning_rate: of Adam, or of the descent of "gradient"; a leaf.
    """

    restarts: int = 1
    steps: int = 8
    method: str = "gauss_newton"
    learning_rate: jax.Array | float = 0.1

    def checked(self) -> "InversionPlan":
        """The plan, or `InputError` for an unknown method or a number out of range."""
        if self.method not in METHODS:
            raise check.unknown("inversion", self.method, METHODS)
        check.number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        restarts, steps = check.integer("restarts", self.restarts, low=1), check.integer("steps", self.steps, low=1)
        return InversionPlan(restarts, steps, self.method, jnp.float32(self.learning_rate))


@value()
class Inversion:
    """What an inversion reached.  z: f[n,d].  distance: f[n], |g(z, y) - x|_2."""

    z: jax.Array
    distance: jax.Array


def _newton(image: Callable, x: jax.Array, z: jax.Array, *, steps: int) -> tuple[jax.Array, jax.Array]:
    """The last code of Levenberg and Marquardt from z, and its squared distance."""
    d = z.size

    def square(z):
        return jnp.sum((image(z) - x) ** 2)

    def step(carry, _):
        z, best, m = carry
        rows = columns(image, z)
        metric, gradient = rows @ rows.T, rows @ (image(z) - x).ravel()
        mu = jnp.maximum(m * jnp.asarray(TRIED, z.dtype), 1e-6)
        # A constant generator has the metric 0: any positive number keeps the solution finite.
        scale = jnp.maximum(jnp.trace(metric) / d, jnp.finfo(z.dtype).tiny)
        damped = metric / scale + mu[:, None, None] * jnp.eye(d, dtype=z.dtype)
        tried = z - jax.vmap(lambda a: jax.scipy.linalg.solve(a, gradient / scale, assume_a="pos"))(damped)
        squares = jax.vmap(square)(tried)
        i = jnp.argmin(jnp.where(jnp.isfinite(squares), squares, jnp.inf))
        better = squares[i] < best
        m = jnp.clip(jnp.where(better, mu[i], 100 * m), 1e-6, 1e6)
        return (jnp.where(better, tried[i], z), jnp.where(better, squares[i], best), m), None

    start = (z, square(z), jnp.asarray(FIRST, z.dtype))
    (z, best, _), _ = jax.lax.scan(step, start, length=steps)
    return z, best


def _descend(image: Callable, x, z, *, steps: int, learning_rate, adam: bool) -> tuple[jax.Array, jax.Array]:
    """The nearest iterate of Adam or of gradient descent from z, and its squared distance."""
    rule = optax.scale_by_adam() if adam else optax.identity()

    def step(carry, _):
        z, state, best = carry
        square, gradient = jax.value_and_grad(lambda v: jnp.sum((image(v) - x) ** 2))(z)
        updates, state = rule.update(gradient, state)
        return (z - learning_rate * updates, state, nearer(best, z, square, square >= 0)), None

    (_, _, best), _ = jax.lax.scan(step, (z, rule.init(z), (z, jnp.asarray(jnp.inf, z.dtype))), length=steps)
    return best


def invert(key: jax.Array, generator: Generator, x: jax.Array, y: jax.Array, plan: InversionPlan) -> jax.Array:
    """The code whose image is nearest to x:  argmin_z |g(z, y) - x|^2  over iterates and restarts, for one example.

    Args:
        x: f[H,W,C] in [0,1].  y: i[].

    Returns:
        z f[d].

    >>> import irob.core.types as t
    >>> line = t.Generator(jnp.array([[1.0], [0.0]]), lambda v, z, y: (v @ z).reshape(1, 2, 1), 1, 1, (1, 2, 1))
    >>> x = jnp.array([0.25, 0.0]).reshape(1, 2, 1)
    >>> z = invert(jax.random.key(0), line, x, 0, InversionPlan())
    >>> bool(abs(z[0] - 0.25) < 1e-4)
    True
    """

    def image(z):
        return generator(z, y)

    def once(r):
        z = jax.random.normal(jax.random.fold_in(key, r), (generator.latent_dim,))
        if plan.method == "gauss_newton":
            z, _ = _descend(image, x, z, steps=WARM, learning_rate=plan.learning_rate, adam=True)
            return _newton(image, x, z, steps=plan.steps)
        return _descend(
            image, x, z, steps=plan.steps, learning_rate=plan.learning_rate, adam=plan.method == "adam")

    codes, squares = jax.lax.map(once, jnp.arange(plan.restarts))
    return codes[jnp.argmin(squares)]


@compile.jit
def _chunk(key, generator, plan, index, x, y):
    def one(key, x, y):
        z = invert(key, generator, x, y, plan)
        return Inversion(z, jnp.sqrt(jnp.sum((generator(z, y) - x) ** 2)))

    return jax.vmap(one)(keys.for_examples(key, index), x, y)


def run(
    key: jax.Array, generator: Generator, x, y, plan: InversionPlan = InversionPlan(), *, work: Work = Work()
) -> Inversion:
    """The codes of many images, and the distances reached: how much of each image the generator can draw.

    Args:
        x: f[n,H,W,C] in [0,1], from anywhere.  y: i[n], components of the generator.
        work: its chunk is examples at a time, by default 128.

    Raises:
        InputError: an unknown method, a number out of range, images that the generator does not draw.

    >>> from irob import generators
    >>> g = generators.build("affine", key=jax.random.key(0))
    >>> x = jax.vmap(g)(jnp.ones((3, 10)), jnp.zeros(3, int))
    >>> bool(run(jax.random.key(1), g, x, np.zeros(3, int)).distance.max() < 1e-4)
    True
    """
    keys.require(key)
    check.images(x, y, num_classes=generator.components)
    if tuple(np.shape(x)[1:]) != tuple(generator.image_shape):
        raise check.InputError(f"images: got {np.shape(x)[1:]}, the generator draws {tuple(generator.image_shape)}")
    plan = plan.checked()
    chunk = memory.fitting(generator, work.chunk or 128, gradient=True, copies=BLOCK)
    return batch.stream(
        lambda index, x, y: _chunk(key, generator, plan, index, x, y),
        np.asarray(x, np.float32), np.asarray(y, np.int32), chunk=chunk, label=work.label, start=work.start)
