"""AutoAttack (Croce and Hein, 2020): an ensemble without settings, each attack on what the earlier ones left.

    "standard"  apgd_ce, apgd_t, fab_t, square                                       for a deterministic classifier
    "plus"      apgd_ce x 5, apgd_dlr x 5, fab x 5, square, apgd_t, fab_t            dearer, seldom stronger
    "rand"      apgd_ce, apgd_dlr, gradients averaged over 20 evaluations            for a randomised classifier

Targeted attacks aim at the 9 likeliest wrong classes (l1: apgd_t at 5, apgd_ce with 5 restarts, as published).  An
attack that has `parts` (one ascent each) is run part by part, so that a second target costs only what the first left.

What an attack finds is judged by the referee like any other proposal.  An example that a part broke is not touched
again; of one that nothing breaks, the image of largest margin is returned.

Reference: https://arxiv.org/abs/2003.01690; l1: https://arxiv.org/abs/2103.01208
"""

from typing import Any

import jax
import numpy as np

from irob import attacks
from irob.attacks import program
from irob.attacks.resume import opened
from irob.core import batch, digest, keys
from irob.core.batch import Work
from irob.core.check import integer, unknown
from irob.core.progress import progress, say
from irob.core.promises import Attack, Ensemble
from irob.core.threat import ImageThreat
from irob.core.types import AttackResult, Classifier, value

CLEAN = "clean"  # what "broke" an example that was misclassified from the start
ORDER: dict[str, tuple[str, ...]] = {
    "standard": ("apgd_ce", "apgd_t", "fab_t", "square"),
    "plus": ("apgd_ce", "apgd_dlr", "fab", "square", "apgd_t", "fab_t"),
    "rand": ("apgd_ce", "apgd_dlr"),
}
OPTIONS: dict[str, dict[str, dict[str, int]]] = {
    "standard": {},
    "plus": {"apgd_ce": {"restarts": 5}, "apgd_dlr": {"restarts": 5}, "fab": {"restarts": 5}},
    "rand": {"apgd_ce": {"eot": 20}, "apgd_dlr": {"eot": 20}},
}
L1_OPTIONS = {"apgd_ce": {"restarts": 5}, "apgd_t": {"targets": 5}}
SMALL = 8  # the second size of a piece is an eighth of the chunk


@value("version", "steps", "queries")
class AutoAttack(Ensemble):
    """The ensemble of attacks; `build` explains its fields."""

    threat: ImageThreat
    version: str
    steps: int
    queries: int

    @property
    def names(self) -> tuple[str, ...]:
        """What may break an example: `AttackResult.broken_by` is an index into it."""
        return (CLEAN, *ORDER[self.version])

    @property
    def black_boxes(self) -> tuple[str, ...]:
        """Members of the ensemble that read the logits alone, by name."""
        return tuple(name for name, attack in self.members().items() if not attack.needs_gradient)

    def members(self) -> dict[str, Attack]:
        """The attacks by name, in the order in which they run."""
        chosen = {**OPTIONS[self.version]}
        if self.version == "standard" and self.threat.norm == "l1":
            chosen = L1_OPTIONS
        lengths = {name: {"steps": self.queries if name == "square" else self.steps} for name in ORDER[self.version]}
        made = {name: attacks.build(name, self.threat, **chosen.get(name, {}), **n) for name, n in lengths.items()}
        return {name: attack for name, attack in made.items() if isinstance(attack, Attack)}

    def notes(self, num_classes: int) -> tuple[str, ...]:
        """What is left out or shortened for so many classes, one sentence each.

        >>> attacks.build("autoattack").notes(3)
        ('apgd_t is left out: its loss needs 4 classes, the classifier has 3',)
        """
        out = []
        for name, attack in self.members().items():
            least = attack.least_classes
            if num_classes < least:
                out.append(f"{name} is left out: its loss needs {least} classes, the classifier has {num_classes}")
        if (self.steps, self.queries) != (100, 5000):
            out.append(f"{self.steps} steps and {self.queries} queries in place of the standard's 100 and 5000")
        return tuple(out)

    def stages(self, num_classes: int) -> list[tuple[int, str, Attack]]:
        """(index into names, what to show, attack) in the order in which they run."""
        out: list[tuple[int, str, Attack]] = []
        for name, attack in self.members().items():
            if num_classes < attack.least_classes:
                continue
            parts = attack.parts(num_classes)
            for i, part in enumerate(parts):
                shown = f"{name} {i + 1}/{len(parts)}" if len(parts) > 1 else name
                out.append((self.names.index(name), shown, program.numbers(part)))
        return out

    def run(
        self, key: jax.Array, classifier: Classifier, x: np.ndarray, y: np.ndarray, z=None, *, work: Work, state=None
    ) -> AttackResult:
        """All stages on all examples; `attacks.run` has checked the input.  z is not used."""
        stages = self.stages(classifier.num_classes)
        title = f"{work.label} autoattack {self.version}" if work.label else ""
        for note in self.notes(classifier.num_classes) if title else ():
            say(f"{title}: {note}")
        chunk = min(work.chunk or len(y), batch.bucket(len(y)))
        identity = {
            "version": self.version, "steps": self.steps, "queries": self.queries, "norm": self.threat.norm,
            "epsilon": float(self.threat.strength), "bounds": self.threat.bounds, "chunk": chunk,
            "platform": f"{jax.default_backend()} {jax.__version__}", "source": digest.source(),
            "key": digest.fingerprint(key), "weights": digest.fingerprint(classifier.variables),
            "images": digest.fingerprint((x, y)),
        }  # fmt: skip
        table = opened(state, identity, classifier, x, y, chunk)
        for stage in range(table.stage, len(stages)):
            member, shown, attack = stages[stage]
            left = table.before(stage)
            pieces = cut(left, chunk)
            about = f"{title}, {shown}, {len(left)} of {len(y)} left" if title else ""
            for i, rows in enumerate(progress(pieces, total=len(pieces), label=about)):
                if i >= table.pieces:  # else it was finished before the run was killed
                    table.take(rows, stage, *_piece(key, self.names[member], attack, classifier, x, y, rows, chunk))
                    table.advance(stage, i + 1)
            table.advance(stage + 1, 0)
        table.save()
        if title:
            say(f"{title}: {np.mean(table.broken < 0):.2%} of {len(y)} are robust")
        # The last entry is for -1, robust.
        by = np.array([0, *(member for member, *_ in stages), -1], np.int32)[table.broken]
        found: Any = (table.x_adv, None, table.broken >= 0, table.distance, by)
        return AttackResult(*found)


def cut(rows: np.ndarray, chunk: int) -> list[np.ndarray]:
    """Pieces of two sizes, so that few programs are compiled: chunks, then the rest in eighths of one, or one more.

    A chunk of less than 64 has no eighths: compiling for them would cost more than they save.

    The last may be shorter, and is filled up when it runs.

    >>> [len(piece) for piece in cut(np.arange(150), 64)]
    [64, 64, 8, 8, 6]
    """
    whole = len(rows) // chunk * chunk
    step = _small(chunk) if 2 * (len(rows) - whole) <= chunk else chunk
    ends = [*range(chunk, whole + 1, chunk), *range(whole + step, len(rows), step)]
    return [piece for piece in np.split(rows, ends) if len(piece)]


def _small(chunk: int) -> int:
    return -(-chunk // SMALL) if chunk >= SMALL**2 else chunk


def _piece(key, name: str, attack, classifier, x, y, rows, chunk: int) -> tuple[AttackResult, np.ndarray]:
    """One attack on some examples, and the margins of what it found; as many as there are rows."""
    key = keys.named(key, name)
    size = _small(chunk) if len(rows) <= _small(chunk) else chunk
    filled = np.resize(rows, size)

    def one(_, index, x, y):
        result, _ = program.chunk(key, attack, classifier, index, x, y, None)
        return result, program.look(classifier, result.x_adv, y)[1]

    found = batch.stream(one, filled.astype(np.int32), x[filled], y[filled], chunk=size)
    return jax.tree.map(lambda a: a[: len(rows)], found)


def build(threat: ImageThreat, *, version: str = "standard", steps: int = 100, queries: int = 5000) -> AutoAttack:
    """AutoAttack; with its defaults nothing is left to choose, which is what makes results comparable.

    Args:
        version: "standard", "plus" or "rand".
        steps: of every attack that follows gradients.
        queries: of the square attack.

    Raises:
        InputError: unknown version, a number below 1.

    >>> attacks.build("autoattack", version="rand").names
    ('clean', 'apgd_ce', 'apgd_dlr')
    """
    if version not in ORDER:
        raise unknown("version", version, ORDER)
    return AutoAttack(threat, version, integer("steps", steps, low=1), integer("queries", queries, low=1))
