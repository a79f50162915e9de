"""The rows of a report as CSV: one line each, `detail` spread over columns of its own."""

import csv
import dataclasses
import io
from collections.abc import Sequence

from irob.core.rows import Row

_LONG = ("curve",)  # details that are arrays stay in report.json


def text(rows: Sequence[Row]) -> str:
    """CSV with a head; numbers in full precision, empty where a row has no such field."""
    fields = [*(f.name for f in dataclasses.fields(Row) if f.name != "detail"), "epsilon", "norm", "certified"]
    found = [r.to_json()["detail"] for r in rows]
    details = sorted({k for d in found for k in d if k not in _LONG})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*fields, *details])
    for r, d in zip(rows, found):
        writer.writerow([*(_plain(getattr(r, f)) for f in fields), *(_plain(d.get(k)) for k in details)])
    return out.getvalue()


def _plain(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
