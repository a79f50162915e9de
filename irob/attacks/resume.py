"""What an ensemble has found so far: one row an example, kept in a file from which a run that was killed goes on.

The file is an npz, written to another name and renamed, so it is always whole.  It holds the identity of its run
(settings, key, weights, images, source), and a run of another identity refuses it.
"""

import dataclasses
import io
import json
import pathlib
import time
import zipfile
from typing import Any

import numpy as np

from irob.attacks import program
from irob.core import batch
from irob.core.check import InputError, write_atomically
from irob.core.types import AttackResult, Classifier

SHARE = 0.05  # of the time that writing may take
ARRAYS = ("broken", "distance", "margin", "x_adv")


@dataclasses.dataclass
class Table:
    """What an ensemble has found so far of n examples; `opened` makes it.

    broken: i[n], 0 if misclassified from the start, 1 + s if stage s broke it, -1 if nothing did.
    x_adv: f[n,H,W,C], what broke it, else the image of largest margin; distance: f[n], from x.
    stage, pieces: the next to run.
    """

    path: pathlib.Path | None
    identity: str
    broken: np.ndarray
    distance: np.ndarray
    margin: np.ndarray
    x_adv: np.ndarray
    stage: int = 0
    pieces: int = 0
    written: float = -np.inf
    cost: float = 0.0

    def before(self, stage: int) -> np.ndarray:
        """The examples that a stage attacks: those that no earlier one broke."""
        return np.flatnonzero((self.broken < 0) | (self.broken > stage))

    def take(self, rows: np.ndarray, stage: int, result: AttackResult, margin: np.ndarray) -> None:
        """What a stage found on some examples."""
        hit = np.asarray(result.success)
        worse = hit | (margin > self.margin[rows])
        here = rows[worse]
        self.broken[rows[hit]] = stage + 1
        self.distance[here], self.margin[here] = result.distance[worse], margin[worse]
        self.x_adv[here] = result.x_adv[worse]

    def advance(self, stage: int, pieces: int) -> None:
        """Notes what is finished, and writes it unless that would take too much of the time."""
        self.stage, self.pieces = stage, pieces
        if time.monotonic() - self.written >= self.cost / SHARE:
            self.save()

    def save(self) -> None:
        """Writes the file, if there is one."""
        if self.path is None:
            return
        begin = time.monotonic()
        out = io.BytesIO()
        arrays = {name: vars(self)[name] for name in ARRAYS}
        np.savez(out, identity=self.identity, at=np.array([self.stage, self.pieces]), **arrays)  # type: ignore[arg-type]
        try:
            write_atomically(self.path, out.getvalue())
        except OSError as e:
            why = f"cannot be written ({e.strerror}); choose another"
            raise InputError(f"state file {str(self.path)!r}: {why}") from None
        self.written = time.monotonic()
        self.cost = self.written - begin


def opened(path, identity: dict[str, Any], classifier: Classifier, x: np.ndarray, y: np.ndarray, chunk: int) -> Table:
    """The table of a run: from its file, or fresh with the clean predictions in it.

    Raises:
        InputError: a file of another run, a damaged one, one that cannot be written; clean logits that are not finite.
    """
    path = None if path is None else pathlib.Path(path)
    said = json.dumps(identity, sort_keys=True)
    if path is not None and path.exists():
        return _read(path, said, classifier, y, chunk)
    wrong, margin, finite = _look(classifier, x, y, chunk)
    program.finite(finite, np.arange(len(y)))
    table = Table(path, said, np.where(wrong, 0, -1).astype(np.int32), np.zeros(len(y), np.float32), margin, x.copy())
    table.save()
    return table


def _read(path: pathlib.Path, identity: str, classifier: Classifier, y: np.ndarray, chunk: int) -> Table:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
            found = {k: data[k] for k in data.files}
        stage, pieces = (int(v) for v in found.pop("at"))
        table = Table(path, str(found.pop("identity")), **found, stage=stage, pieces=pieces)
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        raise InputError(f"state file {str(path)!r}: cannot be read; delete it or choose another") from None
    if table.identity != identity:
        old, new = json.loads(table.identity), json.loads(identity)
        other = ", ".join(sorted(k for k in new if new[k] != old.get(k)))
        raise InputError(f"state file {str(path)!r}: is of another run ({other}); delete it or choose another")
    # Weights hidden in a function's closure are in no identity: what is recorded as broken must be misclassified.
    broken = table.broken >= 0
    if not _look(classifier, table.x_adv, y, chunk)[0][broken].all():
        raise InputError(f"state file {str(path)!r}: is of another classifier; delete it or choose another")
    return table


def _look(classifier: Classifier, x: np.ndarray, y: np.ndarray, chunk: int):
    return batch.stream(lambda _, x, y: program.look(classifier, x, y), x, y, chunk=chunk)
