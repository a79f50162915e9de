"""The local Lipschitz constant of a generator from below, by looking for the steepest chord.

    L(z) = sup over 0 < |v| <= r of |D| / |v|,    D = g(z + v) - g(z).

First power iteration on the Jacobian at z: its largest singular value is the limit at v -> 0.  Then power iteration on
chords: with w = J(z + v)' D, half the gradient of |D|^2,

    v <- rho w / |w|,    rho <- min(r, rho exp(s)),  s = v.w / |D|^2 - 1 = d log(|D| / |v|) / d log |v|.

On a linear map this is the power iteration itself; a fixed point inside the ball is a stationary chord.  It has no
step size.  Every chord that is met counts.

On the ACGAN (d = 100, r = 0.5), 2,000 random neighbours find about a third of what this finds, at five times the cost.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import batch, check, compile, keys, memory, mesh
from irob.core.batch import Work
from irob.core.evidence import LipschitzEstimate
from irob.core.types import Generator
from irob.lipschitz.sampling import SMALLEST, codes
from irob.math.norms import unit
from irob.math.power import top_singular

SHORTEST = 0.01  # shortest chord as a share of r; J(z) covers shorter ones
NOISE = 3e-7  # float32 rounding of an image, as a share of its length; taken off |D|, it cannot pass for slope


def maximised(
    key: jax.Array,
    generator: Generator,
    z,
    y,
    *,
    radius: float,
    steps: int = 30,
    restarts: int = 4,
    work: Work = Work(),
) -> LipschitzEstimate:
    """The steepest chord that power iteration finds at every code: a lower bound on the constant, and a sharp one.

    Args:
        key: typed key.
        generator: g(z: f[d], y: i[]) -> f[H,W,C], differentiable almost everywhere.
        z: f[n,d], codes.  y: i[n], their classes, or one class for all.
        radius: of the ball about each code, in latent standard deviations, at least 1e-5.
        steps: iterations at the code, and again of each restart.
        restarts: chords to start from: along plus and minus the top singular vector, turned a little more in each
            further pair, at lengths spread over the radius.  0 leaves the largest singular value of the Jacobian.
        work: its chunk is codes at a time, by default 32 on the CPU, 1024 elsewhere, or what fits.

    Returns:
        LipschitzEstimate with value f[n], side "lower".

    Raises:
        InputError: wrong shapes, radius too small, a generator that gives NaN.

    >>> from irob.generators import affine
    >>> g = affine.build(key=jax.random.key(0), latent_dim=3, singular_values=[3.0, 2.0, 1.0])
    >>> maximised(jax.random.key(1), g, jnp.zeros((1, 3)), 0, radius=0.5).value.round(4).tolist()
    [3.0]
    """
    keys.require(key)
    z, y = codes(generator, z, y)
    radius = check.number("radius", radius, low=SMALLEST, high=1e6)
    steps, restarts = check.integer("steps", steps, low=1), check.integer("restarts", restarts)
    chunk = work.chunk or memory.fitting(
        generator, 32 if jax.default_backend() == "cpu" else 1024, gradient=True, copies=max(1, restarts))
    generator = mesh.everywhere(generator)
    with jax.default_matmul_precision("float32"):
        value = batch.stream(
            lambda index, z, y: _chunk(key, generator, index, z, y, radius, steps, restarts),
            z, y, chunk=chunk, label=work.label, start=work.start,
        )
    if not np.isfinite(value).all():
        raise check.InputError(f"generator: got NaN or infinity near code {int(np.argmin(np.isfinite(value)))}, "
                               "wanted finite images")
    return LipschitzEstimate(value, z, y, radius, "lower", f"maximised, {steps} steps, {restarts} restarts")


@functools.partial(compile.jit, static_argnums=(7,))
def _chunk(key, generator, index, z, y, radius, steps, restarts: int):
    """The estimate of each code of a chunk.  index: i[c], z: f[c,d], y: i[c] -> f[c]."""

    def one(key, z, y):
        def g(z):
            return generator(z, y)

        start = jax.random.normal(jax.random.fold_in(key, 0), z.shape)
        sigma, v = top_singular(g, z, start, steps=steps)
        if not restarts:
            return sigma
        centre = g(z)
        noise = NOISE * jnp.linalg.norm(centre)

        def climb(r):
            """Power iteration on chords from start r = 0, 1, ..."""
            turn = unit(jax.random.normal(jax.random.fold_in(key, r + 1), z.shape))
            direction = unit(jnp.where(r % 2 == 0, 1.0, -1.0) * v + 0.5 * (r // 2) * turn)
            length = radius * (1 + r // 2) / (1 + (restarts + 1) // 2)

            def step(_, carry):
                direction, length, best = carry
                chord = (z + length * direction) - z  # as the generator sees it, after rounding
                image, pull = jax.vjp(g, z + chord)
                gap = image - centre
                square, far = jnp.sum(gap**2), jnp.sum(chord**2)
                sure = jnp.maximum(jnp.sqrt(square) - noise, 0) ** 2
                best = jnp.maximum(best, jnp.where(far > 0, sure / jnp.where(far > 0, far, 1.0), 0.0))
                w = pull(gap)[0]
                slope = jnp.sum(chord * w) / jnp.where(square > 0, square, 1.0) - 1
                longer = length * jnp.exp(jnp.clip(slope, -1.0, 1.0))
                # Where the generator is flat there is no direction to go: stay.
                moved = jnp.where(jnp.any(w != 0), unit(w), direction)
                return moved, jnp.clip(longer, SHORTEST * radius, radius), best

            return jax.lax.fori_loop(0, steps, step, (direction, length, jnp.float32(0)))[2]

        return jnp.maximum(sigma, jnp.sqrt(jnp.max(jax.vmap(climb)(jnp.arange(restarts)))))

    return jax.vmap(one)(keys.for_examples(key, index), z, y)
