"""Algorithm 1: the local Lipschitz constant of a generator from below, by random neighbours.

    L(z) = max_j |g(z + v_j) - g(z)| / |v_j|,    v_j = r u^(1/d) s,   u ~ U(0, 1), s a random direction.

directions "ball": s uniform on the sphere, so that v is uniform in the ball of radius r.
directions "orthant": s = w / |w| with w ~ U(0, 1)^d, as the published code draws them: a narrow cone about the
diagonal (mean cosine 0.75 between draws), kept for comparison only.
In d = 100 dimensions u^(1/d) is nearly 1 in both: neighbours lie close to the sphere of radius r.

g(z) is evaluated once, not once a neighbour; neighbours are scanned in chunks with a running maximum.
Neighbour j of code i has the key fold_in(fold_in(key, i), j), whatever the chunks are.

Reference: Zhang, Chen, Gu, Evans (2020), Algorithm 1, https://arxiv.org/abs/2003.00378
"""

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import batch, check, compile, keys, memory, mesh
from irob.core.batch import Work
from irob.core.evidence import LipschitzEstimate
from irob.core.types import Generator, value

DIRECTIONS = ("ball", "orthant")
SMALLEST = 1e-5  # radius; float32 keeps no digit of smaller moves of a code


def sampled(
    key: jax.Array,
    generator: Generator,
    z,
    y,
    *,
    radius: float,
    neighbours: int,
    directions: str = "ball",
    work: Work = Work(),
) -> LipschitzEstimate:
    """Algorithm 1 at every code: the largest stretch among random neighbours, a lower bound on the constant.

    Args:
        key: typed key.
        generator: g(z: f[d], y: i[]) -> f[H,W,C].
        z: f[n,d], codes.  y: i[n], their classes, or one class for all.
        radius: of the ball about each code, in latent standard deviations, at least 1e-5.
        neighbours: draws for each code, at least 1.
        directions: "ball" or "orthant".
        work: its chunk is forward passes at a time, by default 100 on the CPU (what its caches hold), 8192 elsewhere,
            or what the memory holds; memory grows with it, not with the numbers of codes and neighbours.

    Returns:
        LipschitzEstimate with value f[n], side "lower".

    Raises:
        InputError: wrong shapes, radius too small, unknown directions, a generator that gives NaN.

    >>> from irob.core.types import Generator, value
    >>> double = Generator((), lambda _, z, y: 2 * z.reshape(1, 1, 3), 3, 1, (1, 1, 3))
    >>> estimate = sampled(jax.random.key(0), double, jnp.zeros((2, 3)), 0, radius=0.5, neighbours=10)
    >>> estimate.value.round(4).tolist(), estimate.side
    ([2.0, 2.0], 'lower')
    """
    keys.require(key)
    z, y = codes(generator, z, y)
    radius = check.number("radius", radius, low=SMALLEST, high=1e6)
    count = check.integer("neighbours", neighbours, low=1)
    if directions not in DIRECTIONS:
        raise check.unknown("directions", directions, DIRECTIONS)
    chunk = work.chunk or memory.fitting(generator, 100 if jax.default_backend() == "cpu" else 8192)
    # Forward passes at a time = codes at a time x neighbours at a time, a power of two of them where they are few, so
    # that other numbers of neighbours take the same program.
    around = Neighbours(radius, count, directions, min(chunk, 1 << (count - 1).bit_length()))
    generator = mesh.everywhere(generator)
    with jax.default_matmul_precision("float32"):
        value = batch.stream(
            lambda index, z, y: _chunk(key, generator, index, z, y, around),
            z, y, chunk=max(1, chunk // around.passes), label=work.label, start=work.start,
        )
    if not np.isfinite(value).all():
        raise check.InputError(f"generator: got NaN or infinity near code {int(np.argmin(np.isfinite(value)))}, "
                               "wanted finite images")
    return LipschitzEstimate(value, z, y, radius, "lower", f"sampled, {directions}, {count} neighbours")


def codes(generator: Generator, z, y) -> tuple[np.ndarray, np.ndarray]:
    """Codes f[n,d] and classes i[n] of this generator, checked."""
    z = np.asarray(z, np.float32)
    if z.ndim != 2 or z.shape[1] != generator.latent_dim or not len(z):
        raise check.InputError(f"codes z: got shape {z.shape}, wanted (n, {generator.latent_dim}) with n >= 1")
    if not np.isfinite(z).all():
        raise check.InputError("codes z: got NaN or infinity, wanted finite numbers")
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer) or y.shape not in ((), (len(z),)):
        raise check.InputError(f"classes y: got {y.dtype}{list(y.shape)}, wanted one integer, or one for each code")
    if y.size and not (y.min() >= 0 and y.max() < generator.components):
        top = generator.components - 1
        raise check.InputError(f"classes y: got values in [{y.min()}, {y.max()}], wanted [0, {top}]")
    return z, np.broadcast_to(y, (len(z),)).astype(np.int32)


def offset(key: jax.Array, d: int, radius: jax.Array | float, directions: str) -> jax.Array:
    """One neighbour's offset v: f[d], within the radius."""
    draws = jax.random.normal(key, (d + 1,)) if directions == "ball" else jax.random.uniform(key, (d + 1,))
    u, s = draws[0], draws[1:]
    if directions == "ball":
        u = jax.scipy.stats.norm.cdf(u)  # one draw of normals gives length and direction
    return radius * u ** (1 / d) * s * jax.lax.rsqrt(jnp.sum(s * s))


@value("directions", "passes")
class Neighbours:
    """Neighbours of a code: within which radius, how many, in what directions, and how many at a time."""

    radius: jax.Array | float
    count: jax.Array | int
    directions: str
    passes: int


@compile.jit
def _chunk(key, generator, index, z, y, around: Neighbours):
    """The estimate of each code of a chunk.  index: i[c], z: f[c,d], y: i[c] -> f[c]."""

    def one(key, z, y):
        centre = generator(z, y)

        def stretch(j):
            v = offset(jax.random.fold_in(key, j), z.shape[-1], around.radius, around.directions)
            moved = z + v
            # |v| as the generator sees it: after the rounding of z + v, which may swallow a tiny one whole.
            far = jnp.sum((moved - z) ** 2)
            return jnp.sum((generator(moved, y) - centre) ** 2) / jnp.where(far > 0, far, 1.0)

        def step(i, largest):
            # The last chunk repeats the last neighbour, which leaves the maximum as it is.
            j = jnp.minimum(i * around.passes + jnp.arange(around.passes), around.count - 1)
            return jnp.maximum(largest, jnp.max(jax.vmap(stretch)(j)))

        # The number of neighbours is a traced bound: one program serves them all.
        blocks = (around.count + around.passes - 1) // around.passes
        return jnp.sqrt(jax.lax.fori_loop(0, blocks, step, jnp.float32(0)))

    return jax.vmap(one)(keys.for_examples(key, index), z, y)
