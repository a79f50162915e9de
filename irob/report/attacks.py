"""The table of what every attack leaves of a classifier on the same images, by which attacks are compared.

The weakest attack of a line of claims makes a classifier look best; a reader sees here how much of it is the attack.
"""

from collections.abc import Sequence

from irob.core import published
from irob.core.rows import Quantity, Row, models, select
from irob.report import tables
from irob.report.tables import Cell, Line, Table

NAMES = {
    "pgd": "PGD", "autoattack": "AutoAttack", "manifold": "manifold attack", "on_manifold": "on-manifold (latent ball)",
    "in_distribution": "latent search", "apgd_ce": "APGD-CE", "apgd_dlr": "APGD-DLR", "apgd_t": "APGD-T",
    "fab": "FAB", "fab_t": "FAB-T", "square": "Square",
}
GROUPS = {Quantity.ROBUST: "any image within ε", Quantity.IN_DISTRIBUTION: "images within ε that the generator draws"}


def named(row: Row, alone: Sequence[str] = ()) -> str:
    """The usual name of a row's attack, or "together" for several at once.

    alone: attacks of any image; a row that has more than these counts attacks in distribution too.

    >>> from irob.core.rows import Number, Robust
    >>> named(Robust().row("d", "m", None, Number(0.5), "pgd"))
    'PGD'
    """
    methods = row.method.split(" + ")
    if len(methods) > 1:
        return "together" if set(methods) <= set(alone) else "together with the attacks in distribution"
    if row.method == "in_distribution" and row.detail.options.get("protocol") == "paper":
        return "the paper's attack"
    return NAMES.get(row.method, row.method)


def table(rows: Sequence[Row]) -> Table | None:
    """A group for each classifier and set of images, a line for each attack; None where one attack stands alone."""
    radii = sorted({r.epsilon for r in rows if r.quantity in GROUPS})
    lines = []
    for model in models(rows):
        for quantity, among in GROUPS.items():
            found = select(rows, quantity, model=model)
            methods = list(dict.fromkeys((r.method, r.n) for r in found))
            if len(methods) < 2:
                continue
            alone = [m for m, _ in methods if " + " not in m]
            lines.append(Line(f"{published.short(model)}: {among}", kind="group"))
            for method, n in methods:
                own = [next(iter(select(found, quantity, method=method, n=n, epsilon=e)), None) for e in radii]
                cells = tuple(tables.percent(r) for r in own)
                one = next(r for r in own if r)
                kind = "same" if " + " in method else "ours"
                lines.append(Line(named(one, alone), (Cell(f"{n:,}", n), *cells), kind))
    if not lines:
        return None
    notes = (
        "Every figure bounds the true accuracy from above: of two attacks the one that leaves less is nearer to it. "
        "Attacks on the same number of images were run on the same images; what several leave together counts an "
        "image as robust if all of them failed on it.",
    )
    head = ("accuracy left, %", "images", *(f"ε = {e:g}" for e in radii))
    return Table("attacks", "What each attack leaves", head, tuple(lines), notes)
