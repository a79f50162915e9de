"""The escape radius of a code: how far it must move before its image has moved by more than epsilon.

    rho(z) = inf { |v| : |D| > epsilon },    D = g(z + v) - g(z).

It replaces epsilon / L(r) in Theorem 4.4 and is at least as large, since it asks for the shortest way out and not for
the worst slope at any distance: |D| <= L(r) |v| within r, so rho >= min(r, epsilon / L(r)).

From above, by looking for the shortest way out.  At a minimum v is parallel to w = J(z + v)' D, half the gradient of
|D|^2.  So the direction takes a power step and the length a Newton step on log |D| = log epsilon at once,

    v <- rho w / |w|,    rho <- rho (epsilon / |D|)^(1/s),    s = v.w / |D|^2 = d log|D| / d log|v|.

On a linear map s = 1 and this is power iteration with the right length from the first step.  Every point met that has
left counts, the shortest is kept, and bisection along its direction shortens it to the edge.

From below, by certificates (irob.lipschitz.certifying): within that distance no point leaves.
"""

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import batch, check, compile, keys, memory, mesh
from irob.core.batch import Work
from irob.core.laws import EvidenceError
from irob.core.types import Generator, value
from irob.lipschitz.sampling import SMALLEST, codes
from irob.math.norms import norm, unit
from irob.math.power import top_singular

# Float32 noise of |D| is no escape: a point has left if |D| > (1 + MARGIN) epsilon + NOISE |g(z)|.
MARGIN, NOISE = 1e-5, 5e-7
AIM = 1e-4  # Newton aims beyond that by this share of epsilon, so that points on the edge have left
HALVINGS = 14


@value("epsilon", "method")
class EscapeRadius:
    """Escape radii of n codes, in latent standard deviations.

    upper: f[n]: a point at that distance has left; +inf where none was found within the reach.
    lower: f[n], certified: no nearer point leaves; or None.
    point: f[n,d], the codes that have left; NaN where none was found.  z: f[n,d].  y: i[n].
    epsilon: in image units.
    """

    upper: np.ndarray
    lower: np.ndarray | None
    point: np.ndarray
    z: np.ndarray
    y: np.ndarray
    epsilon: float
    method: str


@value("restarts")
class EscapePlan:
    """How hard the shortest way out is looked for.

    steps: iterations at the code, and again of each restart.
    restarts: ways to start from: along plus and minus the top singular vector of the Jacobian, turned a little more in
        each further pair; at least 1.
    reach: longest move that is tried, in latent standard deviations; a Gaussian grows by that much from any share worth
        the name to all of itself, so that longer moves change no bound.
    """

    steps: int = 20
    restarts: int = 4
    reach: float = 10.0

    def checked(self) -> "EscapePlan":
        """The plan, or `InputError` for a number out of range."""
        steps, restarts = check.integer("steps", self.steps, low=1), check.integer("restarts", self.restarts, low=1)
        return EscapePlan(steps, restarts, check.number("reach", self.reach, low=SMALLEST, high=1e6))


def escape_radius(
    key: jax.Array,
    generator: Generator,
    z,
    y,
    *,
    epsilon: float,
    plan: EscapePlan = EscapePlan(),
    certify: bool = False,
    work: Work = Work(),
) -> EscapeRadius:
    """The shortest latent move found at every code that changes the image by more than epsilon.

    Args:
        key: typed key.
        generator: g(z: f[d], y: i[]) -> f[H,W,C], differentiable almost everywhere.
        z: f[n,d], codes.  y: i[n], their classes, or one class for all.
        epsilon: l2 distance in image units, positive.
        plan: how hard it looks.
        certify: also the certified lower side, for generators whose layers are known; slow, see `certified`.
        work: its chunk is codes at a time, by default 32 on the CPU, 1024 elsewhere, or what fits.

    Returns:
        EscapeRadius.  `upper` is +inf where nothing was found to leave; that proves nothing.

    Raises:
        InputError: wrong shapes, epsilon or reach not positive, a generator that gives NaN.
        EvidenceError: a certified radius above a found one, which shows that a certificate is wrong.

    >>> from irob.generators import affine
    >>> g = affine.build(key=jax.random.key(0), latent_dim=3, singular_values=[3.0, 2.0, 1.0])
    >>> escape_radius(jax.random.key(1), g, jnp.zeros((1, 3)), 0, epsilon=6.0).upper.round(3).tolist()
    [2.0]
    """
    keys.require(key)
    z, y = codes(generator, z, y)
    epsilon = check.number("epsilon", epsilon, low=0.0, high=1e6, open_low=True)
    plan = plan.checked()
    chunk = work.chunk or memory.fitting(
        generator, 32 if jax.default_backend() == "cpu" else 1024, gradient=True, copies=plan.restarts)
    generator = mesh.everywhere(generator)
    with jax.default_matmul_precision("float32"):
        upper, point, finite = batch.stream(
            lambda index, z, y: _chunk(key, generator, index, z, y, epsilon, plan),
            z, y, chunk=chunk, label=work.label, start=work.start,
        )
    if not finite.all():
        raise check.InputError(f"generator: got NaN or infinity near code {int(np.argmin(finite))}, "
                               "wanted finite images")
    lower = _certified(generator, z, y, epsilon, upper, work.label) if certify else None
    method = f"shortest way out, {plan.steps} steps, {plan.restarts} restarts"
    return EscapeRadius(upper, lower, point, z, y, epsilon, method)


def _certified(generator: Generator, z, y, epsilon: float, upper: np.ndarray, label: str) -> np.ndarray:
    """The certified lower side, held against the found upper one."""
    from irob.lipschitz.certifying import certified_radius  # heavy, and wanted only here

    lower = np.asarray(certified_radius(generator, z, y, epsilon=epsilon, label=label and f"{label}, certified"))
    wrong = np.flatnonzero(~(lower <= upper * (1 + MARGIN)))
    if len(wrong):
        i = int(wrong[0])
        raise EvidenceError(f"escape radius of code {i}: certified {lower[i]:g}, but a point left at {upper[i]:g}")
    return np.minimum(lower, upper)


@compile.jit
def _chunk(key, generator, index, z, y, epsilon, plan: EscapePlan):
    """index: i[c], z: f[c,d], y: i[c] -> (radius f[c], point f[c,d], whether all images were finite bool[c])."""

    def one(key, z, y):
        def g(z):
            return generator(z, y)

        start = jax.random.normal(jax.random.fold_in(key, 0), z.shape)
        sigma, v = top_singular(g, z, start, steps=plan.steps)
        centre = g(z)
        shortest = SMALLEST * plan.reach

        edge = (1 + MARGIN) * epsilon + NOISE * norm(centre)

        def search(r):
            """Power and Newton steps from start r = 0, 1, ... -> the nearest point that left, and its distance."""
            turn = unit(jax.random.normal(jax.random.fold_in(key, r + 1), z.shape))
            direction = unit(jnp.where(r % 2 == 0, 1.0, -1.0) * v + 0.5 * (r // 2) * turn)
            length = jnp.clip(epsilon / jnp.where(sigma > 0, sigma, epsilon), shortest, plan.reach)

            def step(_, carry):
                direction, length, best, point, finite = carry
                moved = z + length * direction
                chord = moved - z  # as the generator sees it, after rounding
                image, pull = jax.vjp(g, moved)
                gap = image - centre
                distance, far = norm(gap), norm(chord)
                nearer = (distance > edge) & (far < best)
                best, point = jnp.where(nearer, far, best), jnp.where(nearer, moved, point)
                finite &= jnp.isfinite(distance)
                w = pull(gap)[0]
                share = distance / (edge + AIM * epsilon)
                slope = jnp.sum(chord * w) / jnp.where(distance > 0, distance, 1.0) ** 2
                # A flat stretch gives no slope: go on by at most a doubling.
                change = -jnp.log(jnp.where(share > 0, share, 1e-6)) / jnp.clip(slope, 0.25, 4.0)
                turned = jnp.where(jnp.any(w != 0), unit(w), direction)
                longer = length * jnp.exp(jnp.clip(change, -0.7, 0.7))
                return turned, jnp.clip(longer, shortest, plan.reach), best, point, finite

            carry = (direction, length, jnp.float32(jnp.inf), z, jnp.bool_(True))
            return jax.lax.fori_loop(0, plan.steps, step, carry)[2:]

        lengths, points, finite = jax.vmap(search)(jnp.arange(plan.restarts))
        best, point = jnp.min(lengths), points[jnp.argmin(lengths)]
        way = point - z

        def halve(_, ends):
            """The point at `high` times the way has left, whatever lies between."""
            low, high, best, point = ends
            middle = (low + high) / 2
            moved = z + middle * way
            far = norm(moved - z)
            out = (norm(g(moved) - centre) > edge) & (far < best)
            ends = jnp.where(out, low, middle), jnp.where(out, middle, high)
            return *ends, jnp.where(out, far, best), jnp.where(out, moved, point)

        ends = (jnp.float32(0), jnp.float32(1), best, point)
        _, _, best, point = jax.lax.fori_loop(0, HALVINGS, halve, ends)
        finite = jnp.all(finite) & jnp.all(jnp.isfinite(centre))
        return best, jnp.where(jnp.isfinite(best), point, jnp.nan), finite

    return jax.vmap(one)(keys.for_examples(key, index), z, y)
