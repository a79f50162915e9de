"""Results that come with irob: larger measurements of the shipped models, for reports that have no time for them.

A file of irob/results is the JSON of a report.  Its rows are taken only for the very weights that they were measured
on, and each says in `origin` when and by which command that was: they are marked wherever they are shown.
"""

import dataclasses
import json
import pathlib

from irob.core import weights
from irob.core.check import InputError
from irob.core.evidence import Report
from irob.core.rows import Row

CONFIDENCE = 0.95  # with which their ends hold
FOLDER = pathlib.Path(__file__).parents[1] / "results"


def rows(name: str, generator: str) -> tuple[Row, ...]:
    """The rows of a file of results, without those of weights that are others now; none for another generator."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        return ()
    report = Report.from_json(path.read_text(encoding="utf-8"))
    same = {model: _digest(model) == digest for model, digest in report.provenance["weights"].items()}
    if not same.get(generator):
        return ()
    origin = f"measured {report.provenance['time'][:10]} by `{report.provenance['command']}`"
    return tuple(dataclasses.replace(r, origin=origin) for r in report.rows
                 if same.get(r.model, True) and same.get(r.dataset, True))


def origins(found: tuple[Row, ...] | list[Row]) -> tuple[str, ...]:
    """What the rows say of where they come from, each once.

    >>> origins([])
    ()
    """
    return tuple(dict.fromkeys(r.origin for r in found if r.origin))


def _digest(model: str) -> str:
    """The checksum of weights that are here, "" of others."""
    try:
        return weights.checksum(model)
    except (InputError, OSError, KeyError, json.JSONDecodeError):
        return ""
