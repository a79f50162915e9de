"""Tables of rows: Table 1 (Lipschitz constants), the comparison of generators, Fawzi's bounds, attacked accuracies.

A `Table` is plain text with the numbers behind it; latex.py, csv.py and html.py each write it their way.
Rows are recognised by their quantity and by what stands in `detail`.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from irob.core import published
from irob.core.rows import Quantity, Row, select
from irob.report import rounding

EARLIER = "§"  # marks what was not measured in this run
PROTOCOLS = {"default": "measured here", "paper": "published protocol, here"}
FAMILIES = {"overall": "risk ≥ α overall", "per_class": "risk ≥ α in each class"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, the number behind it, spread, interval, and a sign that points to a note."""

    text: str = "–"
    value: float | None = None
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    sign: str = ""


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a table.  kind: "ours", "same" (another view of the line above), "paper" (printed numbers),
    "bound" or "group" (a heading)."""

    label: str
    cells: tuple[Cell, ...] = ()
    kind: str = "ours"
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A title, a head, lines and notes."""

    name: str
    title: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def percent(row: Row | None, sign: str = "") -> Cell:
    """An accuracy in percent with one decimal, as the paper prints it, with its standard deviation if it has one.

    What bounds the truth from above is rounded up, what bounds it from below down.
    """
    if row is None:
        return Cell()
    spread = row.detail.std
    text = rounding.percent(row.value, row.side) + (f" ± {100 * spread:.1f}" if spread is not None else "")
    return Cell(text, row.value, spread, row.low, row.high, sign + mark(row))


def mark(row: Row) -> str:
    """The sign of a number that was not measured in this run; a note of the table says where it comes from."""
    return EARLIER if row.origin else ""


def printed(value: float | None, spread: float | None = None) -> Cell:
    """A number of the paper, in percent."""
    if value is None:
        return Cell()
    return Cell(f"{100 * value:.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else ""), value, spread)


def epsilons(rows: Iterable[Row]) -> list[float]:
    """The radii that the rows of robustness speak of."""
    robustness = (Quantity.ROBUST, Quantity.IN_DISTRIBUTION, Quantity.BOUND)
    return sorted({r.epsilon for r in rows if r.quantity in robustness})


def paper(rows: Sequence[Row]) -> published.Benchmark | None:
    """The paper's numbers that may stand beside these: generated MNIST or ImageNet10, under l2."""
    if any(r.threat and r.threat.name == "linf" for r in rows):
        return None
    return next((b for r in rows if (b := published.of(r.dataset))), None)


def meaning(protocol: str, rows: Sequence[Row]) -> str:
    """Directions and units of a protocol; the published code measured ImageNet10 in [0,1], MNIST not."""
    if protocol == "default":
        return "directions of the ball, images in [0,1]"
    known = paper(rows)
    return f"directions of the orthant, images in {'[0,1]' if known and known.scale == 1 else '[−1,1]'}"


def class_names(count: int, rows: Sequence[Row]) -> tuple[str, ...]:
    """The classes' names, where the paper has some, or their numbers."""
    found = paper(rows)
    return found.names if found and len(found.names) == count else tuple(map(str, range(count)))


def table1(rows: Sequence[Row], model: str) -> Table | None:
    """Table 1: local Lipschitz constants of a generator, class by class; both protocols, and the paper's print."""
    lines = []
    measured = select(rows, Quantity.LIPSCHITZ, model=model)
    classes = sorted({r.detail.class_index for r in measured if r.detail.class_index is not None})
    if not classes:
        return None
    for protocol, label in PROTOCOLS.items():
        found = {r.detail.class_index: r for r in select(rows, Quantity.LIPSCHITZ, model=model, protocol=protocol)}
        if found:
            top = max(found.values(), key=lambda r: r.value)
            cells = tuple(_constant(found.get(c)) for c in classes)
            lines.append(Line(label, (*cells, _constant(top)), note=meaning(protocol, rows)))
    known = paper(rows)
    if known and len(classes) == len(known.lipschitz):
        numbers = (*known.lipschitz, max(known.lipschitz))
        lines.append(Line(f"paper, {known.table}", tuple(Cell(f"{v:.1f}", v) for v in numbers), "paper"))
    first = measured[0].detail
    notes = [
        f"Quantile at 1 − δ = {1 - first.delta:g} over {first.codes} codes a class, {first.neighbours} "
        f"neighbours a code within r = {first.radius:g}, {first.trials} trial"
        + ("s: mean ± standard deviation." if first.trials > 1 else ".")
        + f" {first.codes} codes cover that quantile with a probability of {first.confidence:.2g} only.",
        "Sampling finds constants from below: the true ones are at least as large.",
        "The published protocol draws directions from the positive orthant only"
        + (" and measures outputs in [−1,1], which doubles every figure; ε, data and classifiers live in [0,1]."
           if known is None or known.scale == 2 else "."),
    ]
    called = class_names(max(classes) + 1, rows)
    head = (f"{model}, class", *(called[c] for c in classes), "largest")
    number = known.table if known else "Table 1"
    return Table("table1", f"{number}. Local Lipschitz constants of the generator", head, tuple(lines), tuple(notes))


def _constant(row: Row | None) -> Cell:
    if row is None:
        return Cell()
    spread = row.detail.std
    text = rounding.outward(row.value, row.side, 1) + (f" ± {spread:.1f}" if spread is not None else "")
    return Cell(text, row.value, spread, row.low, row.high)


def comparison(rows: Sequence[Row], conditional: str) -> Table | None:
    """The unconditional generator against the conditional one, measured by the same sampler."""
    lines, name = [], ""
    for protocol, label in PROTOCOLS.items():
        whole = select(rows, Quantity.LIPSCHITZ, protocol=protocol, class_index=None)
        classes = select(rows, Quantity.LIPSCHITZ, protocol=protocol, model=conditional)
        if whole and classes:
            name = whole[0].model
            a, b = whole[0], max(classes, key=lambda r: r.value)
            ratio = Cell(f"{a.value / b.value:.2f}", a.value / b.value)
            lines.append(Line(label, (_constant(a), _constant(b), ratio), note=meaning(protocol, rows)))
    if not lines:
        return None
    known = paper(rows)
    if known and known.unconditional:
        gan, acgan = known.unconditional, max(known.lipschitz)
        cells = (Cell(f"{gan:.2f}", gan), Cell(f"{acgan:.1f}", acgan), Cell(f"{gan / acgan:.2f}", gan / acgan))
        lines.append(Line("paper, two samplers", cells, "paper"))
    head = ("", f"{name} (unconditional)", f"{conditional}, largest class", "ratio")
    notes = ["Each line uses one sampler for both generators."]
    if known and known.unconditional:
        notes.append("The paper's 27.01 was drawn with directions of the whole sphere, its conditional figures with "
                     "directions of the positive orthant, both in [−1,1]: two estimators.")
    return Table("comparison", "Unconditional against conditional generator", head, tuple(lines), tuple(notes))


def fawzi(rows: Sequence[Row]) -> Table | None:
    """Earlier bounds for unconditional generators, at the same radii."""
    found = select(rows, Quantity.PREDICTIONS)
    radii = sorted({r.epsilon for r in found})
    if not found:
        return None
    lines = []
    for protocol, label in PROTOCOLS.items():
        of = select(found, Quantity.PREDICTIONS, protocol=protocol)
        if of:
            said = meaning(protocol, rows)
            lines.append(Line(f"{label}, L = {of[0].detail.lipschitz:.2f} ({said})", kind="group"))
        for method in dict.fromkeys(r.method for r in of):
            hits = [next(iter(select(of, Quantity.PREDICTIONS, method=method, epsilon=e)), None) for e in radii]
            shown = ["" if r is None else rounding.percent(r.value, r.side) if r.value < 1 else "vacuous" for r in hits]
            cells = tuple(Cell() if r is None else Cell(text, r.value) for r, text in zip(hits, shown))
            lines.append(Line(method, cells, "bound"))
    notes = (
        "Fawzi et al. (2018) bound the chance that a prediction survives a move within ε on the image manifold; labels "
        "play no part, so these hold for other quantities than Table 3. “Vacuous” means a bound of 100 % or more. L is "
        "sampled, from below, so these are estimates: the true bounds are higher.",
    )
    head = ("stability of predictions at most, %", *(f"ε = {e:g}" for e in radii))
    return Table("fawzi", "Earlier bounds for an unconditional generator", head, tuple(lines), notes)


def number(alpha: float) -> str:
    """A risk with at most four decimals.

    >>> number(0.015), number(0.01234567)
    ('0.015', '0.0123')
    """
    return f"{alpha:.4f}".rstrip("0")


def attacked(rows: Sequence[Row]) -> Table:
    """One line for each accuracy of a classifier, with its interval."""
    lines = []
    for r in rows:
        if r.low is not None and r.high is not None:
            low, high = (Cell(rounding.percent(v, end), v) for v, end in ((r.low, "lower"), (r.high, "upper")))
            bounds = {"upper": "at most", "lower": "at least"}.get(r.side, "")
            where = f"{r.threat}, {r.method}" if r.threat else "clean"
            cells = (Cell(bounds), percent(r), low, high, Cell(f"{r.n:,}", r.n))
            lines.append(Line(f"{r.quantity}, {where}", cells))
    title = ", ".join(dict.fromkeys(f"{r.model} on {r.dataset}" for r in rows))
    head = ("accuracy, %", "", "measured", "95 % from", "to", "images")
    return Table("attack", title, head, tuple(lines), ("An attack that fails proves nothing: the truth may be lower.",))
