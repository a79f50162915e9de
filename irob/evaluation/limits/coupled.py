"""Coupled codes: images of two classes from one code, so that far more of them are in conflict.

The limit for label robustness (irob.bounds.label_limit) asks of n images only that each has the law of its class.  An
orthogonal matrix T preserves N(0, I), so g(z, i) and g(T z, j) have the laws of classes i and j, and T can be learned
(irob.training.models.coupling) so that they are within 2 epsilon more often than images of independent codes: on
`acgan_mnist` every second pair of a 4 and a 9 at epsilon 3.  All conflicts count, those between images of different
codes too.  Images of one code depend on each other, which the confidence allows for (groups in
irob.bounds.label_limit): classes that are not coupled have codes of their own and cost nothing.

Matrices are orthogonal to float32 rounding, as normal draws are normal to float32 rounding.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import batch, keys, latents, mesh, weights
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.store import fingerprint
from irob.core.types import Generator, value
from irob.math.orthogonal import cayley

KIND = "coupling"
PRESERVED = "the matrices of the coupling preserve N(0, I), which they do up to float32 rounding"
CHUNK = 100  # codes at once


@value("leaders", "name")
class Coupling:
    """Which classes share a code, and how: class c has the code T_c z, z that of its leader.

    matrices: f[K,d,d], orthogonal.  leaders: a class for each class, itself where it leads.
    """

    matrices: Any
    leaders: tuple[int, ...]
    name: str = ""

    def sizes(self) -> list[int]:
        """How many classes share a code, for each code of one round of all classes."""
        return np.unique(self.leaders, return_counts=True)[1].tolist()


def coupling(skew: dict[int, Any], leaders: dict[int, int], *, latent_dim: int, num_classes: int,
             name: str = "") -> Coupling:
    """The coupling of followers to leaders by the Cayley transforms of f[d,d] (irob.math.orthogonal.cayley).

    Raises:
        InputError: a leader that follows, classes or shapes that do not exist.

    >>> coupling({1: np.zeros((2, 2))}, {1: 0}, latent_dim=2, num_classes=3).sizes()
    [2, 1]
    """
    if skew.keys() != leaders.keys() or set(leaders) & set(leaders.values()) or not (
            {*leaders, *leaders.values()} <= set(range(num_classes))):
        raise InputError(f"coupling: got leaders {leaders} and matrices of {sorted(skew)}, wanted for each matrix "
                         f"a leader that does not follow, classes 0 to {num_classes - 1}")
    matrices = np.stack([np.eye(latent_dim)] * num_classes)
    for c, w in skew.items():
        w = np.asarray(w, np.float64)
        if w.shape != (latent_dim, latent_dim) or not np.isfinite(w).all():
            raise InputError(f"coupling: got shape {w.shape} for class {c}, wanted finite ({latent_dim}, {latent_dim})")
        matrices[c] = cayley(w, np)
    return Coupling(jnp.asarray(matrices, jnp.float32), tuple(leaders.get(c, c) for c in range(num_classes)), name)


def load(name_or_path, generator: Generator) -> Coupling:
    """A coupling that `python -m train.coupling` wrote for this generator.

    That of another generator gives a valid limit, but hardly a smaller one.

    Raises:
        InputError: no coupling, or one of other classes or codes.
    """
    folder = weights.resolve(name_or_path)
    tree, config = weights.load(folder)
    if config.get("kind") != KIND:
        raise InputError(f"{folder}: got {config.get('kind')!r}, wanted a coupling; train one with train.coupling")
    return coupling({int(c): w for c, w in tree.items()}, {int(c): v for c, v in config["leaders"].items()},
                    latent_dim=generator.latent_dim, num_classes=generator.components, name=folder.name)


def shipped(generator: Generator) -> str | None:
    """The name of the coupling that is shipped for a generator with these very weights; None for others."""
    mine = fingerprint(generator.variables)
    for f in sorted(weights.SHIPPED.glob(f"{KIND}_*/{weights.CONFIG}")):
        if json.loads(f.read_text(encoding="utf-8")).get("generator_fingerprint") == mine:
            return f.parent.name
    return None


def draw(key: jax.Array, generator: Generator, codes: Coupling, count: int, *, start: int = 0,
         label: str = "") -> tuple[np.ndarray, np.ndarray]:
    """(images f[n,H,W,C], labels i[n]) start to start + count of a stream in which the classes take turns.

    An image depends on the key and its own number alone; start and count are multiples of the number of classes.

    Raises:
        InputError: a generator whose latent law is not known.
    """
    keys.require(key)
    latents.require(generator.latent)
    classes, model = len(codes.leaders), mesh.everywhere((generator, codes))
    with jax.default_matmul_precision("float32"):
        x = batch.stream(lambda index, _: _rounds(*model, keys.for_examples(key, index)),
                         np.empty(count // classes, np.bool_), chunk=CHUNK, label=label, start=start // classes)
    return x.reshape(-1, *x.shape[2:]), generator.labels(np.arange(count, dtype=np.int32) % classes)


@jit
def _rounds(generator: Generator, codes: Coupling, each: jax.Array) -> jax.Array:
    classes, leaders = jnp.arange(len(codes.leaders)), jnp.asarray(codes.leaders)

    def image(key, c):
        z = jax.random.normal(jax.random.fold_in(key, leaders[c]), (generator.latent_dim,))
        return generator(codes.matrices[c] @ z, c)

    return jax.vmap(lambda key: jax.vmap(lambda c: image(key, c))(classes))(each)
