"""Makes irob/results, the measurements that come with irob, from the result files in docs.

    python -m benchmarks.results

Run it whenever these files were measured again.  Rows of weights that have changed since are refused.
"""

import dataclasses
import json
import pathlib

from irob import classifiers, generators
from irob.core import weights
from irob.core.check import write_atomically
from irob.core.evidence import Report
from irob.core.rows import Quantity, Row
from irob.core.store import fingerprint
from irob.evaluation.shipped import FOLDER

GENERATOR = "acgan_mnist"
DOCS = pathlib.Path(__file__).parents[1] / "docs"


def report(name: str) -> Report:
    """A result file of docs."""
    return Report.from_json((DOCS / f"{name}.json").read_text(encoding="utf-8"))


def used(found: Report, rows: list[Row]) -> dict[str, str]:
    """Name to checksum of the weights behind the rows; raises where the ones that are here are others."""
    named = dict(found.provenance.get("weights", {}))
    prints = found.provenance.get("classifier", {})
    drawn = found.provenance.get("generator")  # of generated images, by its arrays where it is not in the weights
    if GENERATOR not in named:
        if drawn and drawn != fingerprint(generators.load(GENERATOR).variables):
            raise SystemExit(f"{GENERATOR}: its weights have changed since it was measured")
        named[GENERATOR] = weights.checksum(GENERATOR)
    for model in {r.model for r in rows} - {"any", *named}:
        now = fingerprint(classifiers.load(model).variables)
        if prints and now != (prints if isinstance(prints, str) else prints[model]):
            raise SystemExit(f"{model}: its weights have changed since it was measured")
        named[model] = weights.checksum(model)
    for model, digest in named.items():
        if weights.checksum(model) != digest:
            raise SystemExit(f"{model}: its weights have changed since it was measured")
    return named


def write(name: str, found: Report, rows: list[Row]) -> None:
    """One file of irob/results; curves, which no page takes from here, stay in docs."""
    rows = [dataclasses.replace(r, detail=dataclasses.replace(r.detail, curve=None)) for r in rows]
    keep = ("seed", "command", "time", "versions", "device", "matmul_precision")
    record = {k: found.provenance[k] for k in keep} | {"weights": used(found, rows)}
    text = json.dumps(json.loads(Report(tuple(rows), record).to_json()), separators=(",", ":"))
    write_atomically(FOLDER / f"{name}.json", text + "\n")
    print(f"{name}: {len(rows)} rows, {len(text) // 1024} KiB")


def main() -> None:
    """All of them."""
    for name, source, quantities in (
            ("label", "label_limit", {Quantity.LABEL}),
            ("limits", "limits", {Quantity.BOUND, Quantity.WIDTH, Quantity.CONSTANT, Quantity.RATIO}),
            ("attacks", "attacks", {Quantity.ROBUST}), ("certificates", "certify", {Quantity.CERTIFIED})):
        found = report(source)
        rows = [r for r in found.rows if r.quantity in quantities]
        if name == "attacks":
            rows = [r for r in rows if r.method == "autoattack"]
        write(name, found, rows)


if __name__ == "__main__":
    main()
