"""Witnesses: explicit error regions whose expansion is known, hence adversarial risk certified without an attack.

A witness is a classifier that equals the ground truth outside E.  Its unconstrained adversarial risk at epsilon is
mu(E_eps), E_eps all images within epsilon of E: it is robust by the error-region definition, f(x') against the ground
truth at x'.  By the label definition, f(x') against the label of x, it may not be: where images of two classes are
near each other the ground truth itself changes within epsilon.  So no witness stands beside an attacked accuracy.

For scores s_k that are 1-Lipschitz in l2,

    overall      E = {s >= t}                                 E_eps  in  {s >= t - epsilon}
    per class    E = union over k of {class k, s_k >= t_k}    E_eps  in  {max over k of s_k - t_k >= -epsilon}

so a sample of images bounds mu(E_eps) from above.  The thresholds are order statistics of one sample (such that E has
measure alpha with confidence), the adversarial risk is counted on another; scores have seen neither.

Scores: u.x with |u| = 1 (half-spaces), -|x - c| and |x - c| (balls, complements), 1-Lipschitz networks.

References: Mahloujifar, Zhang, Mahmoody, Evans (2019), https://arxiv.org/abs/1905.12202 (balls);
Prescott, Zhang, Evans (2021), https://arxiv.org/abs/2103.12913 (half-spaces).
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.classifiers import one_lipschitz
from irob.core import batch, check, keys, latents, memory, mesh, weights
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.store import fingerprint
from irob.core.types import Generator, value
from irob.math.quantiles import order_statistic

# Scores are computed in float32: a computed score is within half of this of the exact one (tested), so the expansion
# of the computed region is covered when its threshold is lowered by the whole of it.
SLACK = 1e-4


@value("score", "kind", "names", "classwise")
class Scores:
    """Scores that are 1-Lipschitz in l2, of one kind.

    score: (variables, x f[H,W,C]) -> f[m].  kind: of error region.  names: m of them, or one if classwise.
    classwise: score k is for class k, all of them together one witness of the per-class family; otherwise each score
    is a witness of its own.
    """

    variables: Any
    score: Callable
    kind: str
    names: tuple[str, ...]
    classwise: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f[H,W,C] -> f[m]."""
        return self.score(self.variables, x)


def _linear(directions, x):
    return directions @ (x.ravel() - 0.5)  # centred, so that float32 keeps the digits; scores may shift


def _balls(variables, x):
    """Signed distances from the centres."""
    return variables["sign"] * jnp.linalg.norm(x.ravel() - variables["centre"], axis=1)


def _network(variables, x):
    """One score of each stacked network."""

    def one(layers, constant):
        return one_lipschitz.scores(layers, x.ravel()) / constant

    return jax.vmap(one)(variables["layers"], variables["constants"]).ravel()


def half_spaces(directions, names: Sequence[str], *, kind: str, classwise: bool = False) -> Scores:
    """{u.x >= t} for directions f[m,D], made unit vectors in float64."""
    u = np.asarray(directions, np.float64)
    norms = np.linalg.norm(u, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise InputError("half-spaces: got a direction that is zero, wanted directions with a length")
    return Scores(jnp.asarray(u / (norms * (1 + 1e-7)), jnp.float32), _linear, kind, tuple(names), classwise)


def balls(centres, names: Sequence[str]) -> tuple[Scores, Scores]:
    """Balls {|x - c| <= r} and their complements, about centres f[m,D]."""
    c = jnp.asarray(np.asarray(centres), jnp.float32)
    return tuple(Scores({"centre": c, "sign": jnp.float32(sign)}, _balls, kind, tuple(names))  # type: ignore[return-value]
                 for sign, kind in ((-1.0, "ball"), (1.0, "complement of a ball")))


def networks(layers: Sequence[one_lipschitz.Layers], names: Sequence[str], *, classwise: bool = False,
             kind: str = "1-Lipschitz network") -> Scores:
    """{h >= t} for networks of the same widths with one score each; the verified constant is divided out."""
    exact = np.asarray([one_lipschitz.constants(n)[0] for n in layers])
    constants = jnp.asarray(np.nextafter(exact.astype(np.float32), np.float32(np.inf)))  # rounded up
    stacked = jax.tree.map(lambda *a: jnp.stack([jnp.asarray(b) for b in a]), *layers)
    return Scores({"layers": stacked, "constants": constants}, _network, kind, tuple(names), classwise)


def load(name_or_path) -> Scores:
    """A witness that `python -m train.witness` wrote; its constants are verified again, not read.

    >>> load("witness_acgan_mnist/overall").kind
    '1-Lipschitz network'
    """
    folder = weights.resolve(name_or_path)
    tree, config = weights.load(folder)
    if config.get("kind") != "witness":
        raise InputError(f"{folder}: got {config.get('kind')!r}, wanted a witness; train one with train.witness")
    count = len(tree["0"]["kernel"])
    layers = [jax.tree.map(lambda a, i=i: a[i], tree) for i in range(count)]
    kind = "1-Lipschitz network" if len(tree) > 1 else "half-space, learned direction"
    if config["family"] == "per_class":
        return networks(layers, ("one score for each class",), classwise=True, kind=kind)
    return networks(layers, tuple(_class(c) for c in config["error_classes"]), kind=kind)


def _class(c: int | None) -> str:
    return "errors in all classes" if c is None else f"errors in class {c}"


def shipped(generator: Generator) -> tuple[Scores, ...]:
    """The witnesses that are shipped for a generator with these very weights; none for others."""
    folders = sorted(weights.SHIPPED.glob(f"witness_*/*/{weights.CONFIG}"))
    known = {f.parent: json.loads(f.read_text(encoding="utf-8")).get("generator_fingerprint") for f in folders}
    mine = fingerprint(generator.variables) if known else None
    return tuple(load(folder) for folder, wanted in known.items() if wanted == mine)


def candidates(moments: "Moments", components: int = 5) -> list[Scores]:
    """Half-spaces along principal components, of all images and of every class, in both directions, and balls.

    Classwise: along the first component of every class.  Balls are about the mean images.
    """
    whole = moments.whole()
    found: list[np.ndarray] = []
    names: list[str] = []
    first: dict[int, list[np.ndarray]] = {1: [], -1: []}
    groups = [("", whole)] + ([(f" of class {c}", m) for c, m in enumerate(moments.classes())]
                              if moments.count.size > 1 else [])
    for label, (_, covariance) in groups:
        vectors = np.linalg.eigh(covariance)[1]
        for i in range(min(components, len(vectors))):
            v = vectors[:, -1 - i]
            for sign in (1, -1):
                found.append(sign * v)
                names.append(f"{'-' if sign < 0 else ''}principal component {i + 1}{label}")
                if label and i == 0:
                    first[sign].append(sign * v)
    out = [half_spaces(found, names, kind="half-space, principal component")]
    if moments.count.size > 1:
        out += [half_spaces(first[s], (f"{'-' if s < 0 else ''}principal component 1 of each class",),
                            kind="half-space, principal component", classwise=True) for s in (1, -1)]
        means = [whole[0], *(m for m, _ in moments.classes())]
        labels = ["mean image", *(f"mean of class {c}" for c in range(moments.count.size))]
    else:
        means, labels = [whole[0]], ["mean image"]
    out += balls(means, labels)
    return out


@dataclasses.dataclass(frozen=True)
class Moments:
    """count f[K], mean f[K,D] and covariance f[K,D,D] of every class, in float64."""

    count: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    def classes(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(mean, covariance) of each class."""
        return list(zip(self.mean, self.covariance, strict=True))

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, covariance) of all images."""
        p = self.count / self.count.sum()
        mean = p @ self.mean
        gap = self.mean - mean
        return mean, np.tensordot(p, self.covariance, 1) + (gap * p[:, None]).T @ gap


def moments(x: np.ndarray, y: np.ndarray, num_classes: int) -> Moments:
    """The moments of images f[n,...] with labels i[n]."""
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    groups = [flat[y == c] for c in range(max(1, num_classes))]
    size = flat.shape[1]
    mean = np.stack([g.mean(0) if len(g) else np.zeros(size) for g in groups])
    cov = np.stack([(g - m).T @ (g - m) / max(1, len(g)) for g, m in zip(groups, mean, strict=True)])
    return Moments(np.asarray([len(g) for g in groups], np.float64), mean, cov)


def draw(key: jax.Array, generator: Generator, count: int, what: Any, *, priors=None, chunk: int | None = None,
         label: str = "", start: int = 0) -> tuple[Any, np.ndarray]:
    """(what(x) of fresh images, their labels i[n]), in chunks.

    Images themselves are not kept unless `what` does.  priors: f[K] of the components.

    Image i (from `start` on) depends on the key and i.  what: a pytree that is called with x f[H,W,C], per example.

    Raises:
        InputError: a generator whose latent law is not known.
    """
    keys.require(key)
    latents.require(generator.latent)
    p = jnp.asarray(check.priors(priors, generator.components), jnp.float32)
    chunk = memory.fitting(generator, chunk or 1000)
    generator, what = mesh.everywhere((generator, what))
    with jax.default_matmul_precision("float32"):
        return batch.stream(
            lambda index, _: _chunk(generator, what, keys.for_examples(key, index), p),
            np.empty(check.integer("samples", count, low=1), np.bool_), chunk=chunk, label=label, start=start)


@jit
def _chunk(generator, what, each, p):
    edges = jnp.cumsum(p)[:-1]

    def one(k):
        a, b = jax.random.split(k)
        y = jnp.sum(jax.random.uniform(b) >= edges)  # component k on [edges[k - 1], edges[k])
        return what(generator(jax.random.normal(a, (generator.latent_dim,)), y)), generator.labels(y)

    return jax.vmap(one)(each)


@value()
class Images:
    """Images themselves, for `draw`."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f[H,W,C] -> x."""
        return x


@value()
class Picked:
    """Some of all scores of several kinds, for `draw`.  index: i[m] into their concatenation."""

    members: tuple[Scores, ...]
    index: Any

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f[H,W,C] -> f[m]."""
        return jnp.concatenate([s(x) for s in self.members])[self.index]


def threshold(scores: np.ndarray, alpha: float, confidence: float) -> float:
    """t with Pr[s >= t] >= alpha, with the wanted confidence over the sample f[n]: an order statistic from above.

    Raises:
        InputError: too few samples; says how many are needed.

    >>> threshold(np.arange(1000.0), 0.1, 0.95)
    883.0
    """
    n = len(scores)
    needed = int(np.ceil(np.log(1 - confidence) / np.log(alpha)))  # even all of them must not lie above
    k, achieved = order_statistic(n, alpha, confidence) if n else (0, 0.0)
    if achieved < confidence - 1e-9:
        raise InputError(f"samples: got {n}, wanted at least {needed} to choose a threshold for alpha {alpha:g}")
    return float(np.partition(scores, n - k)[n - k])
