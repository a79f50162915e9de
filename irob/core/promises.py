"""What an attack and a certifier promise: every member that the library asks for, with a default that is safe.

A new one derives from `Attack`, `Ensemble`, `LayerCertifier` or `ModelCertifier` and states what differs from the
default; nothing is looked for by name.  Values are frozen pytrees (`irob.core.types.value`); a promise is a constant
of the class, or a property where it depends on the options.
"""

import abc
import dataclasses
import pathlib
from typing import Any, Self

import jax
import numpy as np

from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.evidence import Certificate
from irob.core.threat import LpBall, Threat
from irob.core.types import AttackResult, Classifier, Generator, Proposal
from irob.math.norms import NORMS

CHUNK = 16  # examples that a certifier takes at a time unless it says otherwise


class Promise(abc.ABC):  # noqa: B024
    """For which threats something works; asked before any work, by `meets`."""

    threats: tuple[type[Threat], ...] = (LpBall,)
    """Kinds of threat that it is for: what attacks are built for, and certifiers are run on."""

    norms: tuple[str, ...] = tuple(NORMS)
    """Norms of the threat that it knows."""

    otherwise: str = ""
    """What to do about a norm that it does not know, if there is anything."""

    def meets(self, threat: Threat, name: str) -> None:
        """Raises `InputError` unless it is for this threat.  name: how the error calls it.

        >>> from irob import attacks
        >>> attacks.build("pgd").meets(LpBall("linf", 0.1), "attack 'pgd'")
        """
        if not isinstance(threat, self.threats):
            wanted = " or ".join(kind.__name__ for kind in self.threats)
            raise InputError(f"{name}: got the threat {threat}, wanted {wanted}")
        if threat.norm not in self.norms:
            hint = f"; {self.otherwise}" if self.otherwise else ""
            raise InputError(f"{name}: got norm {threat.norm}, wanted {' or '.join(self.norms)}{hint}")


class Searcher(Promise):
    """What single attacks and ensembles have in common.

    threat: where they look, and where the referee judges; its strength is a leaf.
    """

    threat: Any

    needs_codes: bool = False
    """It starts from the codes of the images, which the caller must know."""

    needs_gradient: bool = True
    """It differentiates the classifier; a black box that reads logits alone does not."""

    minimum_norm: bool = False
    """It finds the nearest success, so that one run at the largest strength serves every smaller one."""

    least_classes: int = 2
    """The fewest classes for which it is defined."""

    copies: int = 1
    """Evaluations of the generator at once for one example, by which memory is planned."""

    @property
    def needs_generator(self) -> bool:
        """Whether it moves in the latent space of a generator, which its threat holds."""
        return self.threat.coded

    @property
    def generator(self) -> Generator:
        """The generator of the threat."""
        return self.threat.generator

    def at(self, strength: jax.Array | float) -> Self:
        """This attack at another strength of its threat; nothing is built or compiled again.

        What scales with the strength, such as a step, is scaled by the attack's own `at`.
        """
        threat = self.threat.at(strength)
        return dataclasses.replace(self, threat=threat)  # type: ignore[type-var]

    def require(self, x: np.ndarray, z: np.ndarray | None) -> None:
        """Raises `InputError` where it cannot work on the images f[n,H,W,C] and codes f[n,d]; by default nowhere."""


class Attack(Searcher):
    """An attack on one example.  It proposes, and the referee judges."""

    @abc.abstractmethod
    def perturb(self, key: jax.Array, classifier: Classifier, x: jax.Array, y: jax.Array, *, z=None) -> Proposal:
        """Proposals for one example, with a leading axis of restarts.

        Args:
            key: typed key of this example.
            x: f[H,W,C] in [0,1].  y: i[].  z: f[d], the code of x where it is known.
        """

    def parts(self, num_classes: int) -> tuple["Attack", ...]:
        """Attacks that together do the same, so that an ensemble leaves out what an earlier one broke."""
        return (self,)


class Ensemble(Searcher):
    """Several attacks, each on what the earlier ones left."""

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """What may break an example: `AttackResult.broken_by` is an index into it."""

    @property
    def black_boxes(self) -> tuple[str, ...]:
        """Members of `names` that do not differentiate the classifier."""
        return ()

    @abc.abstractmethod
    def run(
        self, key: jax.Array, classifier: Classifier, x: np.ndarray, y: np.ndarray, z=None, *, work: Work,
        state: pathlib.Path | None = None,
    ) -> AttackResult:
        """All attacks on all examples; `attacks.run` has checked the input.

        Args:
            work: its chunk is given.
            state: a file that keeps what is finished while it works.
        """


class Certifier(Promise):
    """What all certifiers have in common."""

    needs_layers: bool = True
    """It reads the explicit layers of the classifier; an opaque function is refused before any work."""

    needs_key: bool = False
    """It draws random numbers: `build` takes a typed `key`, without which nothing is certified."""

    chunk: int = CHUNK
    """Examples that fit into memory together."""


class LayerCertifier(Certifier):
    """A certifier that walks through explicit layers, one example after the other."""

    @abc.abstractmethod
    def margin(self, layers: tuple[Any, ...], x: jax.Array, y: jax.Array, threat: Threat) -> jax.Array:
        """Lower bound of min over x' in the threat of f_y(x') - max over k != y of f_k(x'), one example.

        Args:
            layers: from irob.core.layers.of(classifier).
            x: f[H,W,C] in [0,1].  y: i[].

        Raises:
            InputError: a layer that it does not know, by name.
        """


class ModelCertifier(Certifier):
    """A certifier that takes the classifier whole, and works on the host."""

    @abc.abstractmethod
    def run(
        self, classifier: Classifier, x, y, threat: Threat, *, work: Work = Work()
    ) -> Certificate:
        """The certificates of all examples.

        Args:
            x: f[n,H,W,C] in [0,1].  y: i[n].
            work: its chunk is examples at a time, or what else the certifier counts.
        """
