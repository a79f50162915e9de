"""A walk on the image manifold along the constraint, in coordinates where the image metric is Euclidean.

The generator stretches some latent directions a hundred times more than others, so a gradient in z crawls.  With
J = dg/dz at the start, mu a share of the mean eigenvalue of J'J, and J'J + mu I = L L' (the pullback metric, damped),
the coordinates u of  z = z_0 + L^-T u  have |dg| about |du|: steps are in image units, as epsilon is.  The Jacobian is
computed once a walk; `refreshed` walks on from the nearest success in the metric there.

The walk carries a radius T, at first epsilon.  A step is

    u <- u + rate_t T p / |p| - (d - T)_+ grad d / |grad d|^2,   p = grad m - a (grad m . grad d)_+ grad d / |grad d|^2

uphill in the margin m, sliding along the sphere d = T where it is reached (a goes from 0 at d = 0.9 T to 1 at T), and a
Newton step back onto it where it was overshot.  A success at distance d sets T to where the chord of the margin from
the start crosses 0, or a little below d; a failure on the sphere widens it again (Rony et al., 2019, do so in the image
space).  So the walk looks for the nearest success.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from irob.attacks.search.ascent import repeat
from irob.math.norms import norm, unit

TIGHTEN = 0.1  # a success tightens the sphere by at least this share at first, by nothing at the end
WIDEN = 0.05
BAND = 0.1
LONGEST = 0.2  # step back, as a share of T
BLOCK = 10  # columns of the Jacobian at a time: its intermediate results are large


def nearer(best: tuple, z: jax.Array, distance: jax.Array, wrong: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(z, distance) if it is misclassified and nearer than the best so far."""
    better = wrong & (distance < best[1])
    return jnp.where(better, z, best[0]), jnp.where(better, distance, best[1])


def columns(function: Callable, z: jax.Array) -> jax.Array:
    """The columns of the Jacobian of function: f[d] -> f[...] at z, as rows f[d,D]; a few at a time."""
    d = z.size
    _, push = jax.linearize(function, z)
    return jax.lax.map(lambda e: push(e).ravel(), jnp.eye(d, dtype=z.dtype), batch_size=min(BLOCK, d))


def whitening(function: Callable, z: jax.Array, damping: jax.Array | float) -> jax.Array:
    """W = L^-T with L L' = J'J + damping tr(J'J)/d I, J the Jacobian of function: f[d] -> f[...] at z; f[d,d].

    >>> stretch = jnp.array([3.0, 4.0])
    >>> whitening(lambda z: stretch * z, jnp.ones(2), 0.0).round(4).tolist()
    [[0.33329999446868896, 0.0], [0.0, 0.25]]
    """
    d = z.size
    rows = columns(function, z)
    metric = rows @ rows.T
    # A constant generator has the metric 0: any positive number keeps the factor finite.
    mu = jnp.maximum(damping * jnp.trace(metric) / d, jnp.finfo(z.dtype).tiny)
    lower = jnp.linalg.cholesky(metric + mu * jnp.eye(d, dtype=z.dtype))
    return jax.scipy.linalg.solve_triangular(lower, jnp.eye(d, dtype=z.dtype), lower=True).T


@dataclasses.dataclass(frozen=True)
class Ground:
    """What a walk goes on.

    draw: z f[d] -> image.
    goal: image -> (f[] to climb, margin f[]: positive where misclassified).
    distance: image -> f[].
    """

    draw: Callable
    goal: Callable
    distance: Callable


def walk(
    ground: Ground,
    z: jax.Array,
    *,
    radius: jax.Array | float,
    steps: jax.Array | int,
    step_size: jax.Array | float,
    damping: jax.Array | float,
    origin: jax.Array | float,
    known: jax.Array | float = jnp.inf,
) -> tuple[jax.Array, jax.Array]:
    """The nearest success on the walk from z, as (code, distance); (z, known) if there was none nearer; one example.

    Args:
        z: f[d], the start.
        radius: epsilon, image units.
        steps: images drawn.  step_size: the first one's length as a share of T; it falls to a tenth as a cosine.
        damping: mu as a share of the mean eigenvalue of J'J.
        origin: f[], the margin at distance 0, where the chord begins.
        known: distance of the success at z, if z is one.

    >>> ground = Ground(lambda z: z, lambda x: (x[0] - 1, x[0] - 1), jnp.linalg.norm)
    >>> flat, d = walk(ground, jnp.array([0.1, 0.5]), radius=3.0, steps=40, step_size=0.2, damping=0.01, origin=-1.0)
    >>> bool(1 < d < 1.05), bool(jnp.isclose(jnp.linalg.norm(flat), d))
    (True, True)
    """
    w = whitening(ground.draw, z, damping)

    def reached(d, sphere):
        return jnp.clip((d - (1 - BAND) * sphere) / (BAND * sphere), 0.0, 1.0)

    def step(t, carry):
        u, radius_t, best = carry
        image, pull = jax.vjp(lambda u: ground.draw(z + w @ u), u)
        _, climb, m = jax.vjp(ground.goal, image, has_aux=True)
        d, outwards = jax.value_and_grad(ground.distance)(image)
        (to_m, to_d) = jax.vmap(lambda c: pull(c)[0])(jnp.stack([climb(jnp.ones_like(d))[0], outwards]))
        best = nearer(best, u, d, m > 0)

        fade = 1 - t / steps
        chord = -origin / jnp.maximum(m - origin, 1e-12)
        tighter = d * jnp.clip(chord, 0.5, 1 - TIGHTEN * fade)
        wider = jnp.minimum(radius_t * (1 + WIDEN * fade * reached(d, radius_t)), best[1])
        target = jnp.clip(jnp.where(m > 0, tighter, wider), 1e-6, longest)

        slope = jnp.vdot(to_d, to_d) + 1e-12
        p = to_m - reached(d, target) * jnp.maximum(jnp.vdot(to_m, to_d), 0.0) / slope * to_d
        back = jnp.maximum(d - target, 0.0) / slope * to_d
        back = back * jnp.minimum(1.0, LONGEST * target / (norm(back) + 1e-12))
        rate = step_size * (0.1 + 0.45 * (1 + jnp.cos(jnp.pi * t / steps)))
        return u + rate * target * unit(p) - back, target, best

    longest = jnp.maximum(jnp.asarray(radius, z.dtype), 1e-6)
    start, known = jnp.zeros_like(z), jnp.asarray(known, z.dtype)
    first = jnp.maximum(jnp.minimum(longest, known), 1e-6)
    _, _, (u, nearest) = repeat(steps, step, (start, first, (start, known)))
    return z + w @ u, nearest


def refreshed(
    ground: Ground, z: jax.Array, *, walks: int, origin: jax.Array, known: jax.Array | float = jnp.inf, **options
) -> tuple[jax.Array, jax.Array]:
    """`walks` walks, each from the nearest success so far and in the metric there; as `walk`, never farther than it.

    The curvature of the manifold makes the metric of the start a poor one a radius away.
    """

    def once(carry, _):
        return walk(ground, carry[0], origin=origin, known=carry[1], **options), None

    start = (z, jnp.asarray(known, z.dtype))
    return jax.lax.scan(once, start, length=walks)[0]
