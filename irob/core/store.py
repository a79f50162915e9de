"""Work in pieces: each is kept on disk under the hash of everything that it depends on.

A run that was killed finds its pieces again and ends in the same result.  A piece's name is the SHA-256 of its
settings, of the arrays it works on (weights, images), of the device's kind and of irob's own source, so that nothing
stale is ever read.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import re
import time
import zipfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from irob.core import registry
from irob.core.check import write_atomically
from irob.core.digest import fingerprint, source
from irob.core.types import Generator

__all__ = ["Pieces", "fingerprint", "source", "whole"]


def whole(generator: Generator) -> str:
    """A digest of a generator: its weights, and what is static of it (classes, truncation, down-sampling).

    The name of a user's own tells models with equal repr apart, whose functions have other addresses every time.
    """
    m = generator.module
    static = repr((getattr(m, "__qualname__", None) or m, generator.stages, generator.latent, generator.label_of))
    if registry.is_outside(generator.name.partition(" ")[0]):
        static = re.sub(r" at 0x[0-9a-f]+", "", static) + generator.name
    return fingerprint((generator.variables, np.frombuffer(static.encode(), np.uint8)))


STATE = ".state"  # suffix of what unfinished work keeps


@dataclasses.dataclass
class Pieces:
    """A folder of pieces.  folder None keeps nothing; resume False computes again and overwrites.

    seconds: what each piece took when it was computed, by section.  reused: how many were found on disk.
    """

    folder: pathlib.Path | None = None
    resume: bool = True
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    reused: int = 0
    computed: int = 0

    def get(self, section: str, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The piece: a dict of arrays, from disk or from `compute()`."""
        path = self._path(section, settings)
        found = _read(path) if path and self.resume else None
        if found is None:
            start = time.perf_counter()
            found = {k: np.asarray(v) for k, v in compute().items()}
            found["seconds"] = np.asarray(time.perf_counter() - start)
            self.computed += 1
            if path:
                out = io.BytesIO()
                np.savez_compressed(out, **found)  # type: ignore[arg-type]
                write_atomically(path, out.getvalue())
                path.with_suffix(STATE).unlink(missing_ok=True)
        else:
            self.reused += 1
        self.seconds[section] = self.seconds.get(section, 0.0) + float(found.pop("seconds"))
        return found

    def state(self, section: str, settings: dict[str, Any]) -> pathlib.Path | None:
        """A file for what `compute` of this piece keeps while it works; it goes when the piece is there."""
        path = self._path(section, settings)
        if path is None:
            return None
        path = path.with_suffix(STATE)
        if not self.resume:
            path.unlink(missing_ok=True)
        return path

    def _path(self, section: str, settings: dict[str, Any]) -> pathlib.Path | None:
        record = json.dumps({"section": section, **settings}, sort_keys=True, default=str)
        platform = f"{jax.default_backend()} {jax.__version__} {source()}"
        name = hashlib.sha256(f"{record} {platform}".encode()).hexdigest()[:32]
        return self.folder / f"{section}-{name}.npz" if self.folder else None


@dataclasses.dataclass(frozen=True)
class Task:
    """What measurements are for.  dataset: its name in rows.  pieces: where finished work is kept.

    label: of the progress; an empty one shows nothing.
    """

    dataset: str = ""
    pieces: Pieces = dataclasses.field(default_factory=Pieces)
    label: str = ""

    def says(self, text: str) -> str:
        """The label of a part of the work.

        >>> Task(label="mnist").says("images"), Task().says("images")
        ('mnist images', '')
        """
        return self.label and f"{self.label} {text}"


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    """A piece, or None if it is not there or not whole."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
            return {k: data[k] for k in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
