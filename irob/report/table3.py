"""Table 3: classifiers, clean, attacked and certified, against the limits that no classifier passes.

All of it is label robustness: f(x') is compared with the label of x.  The yardstick is the smallest proved limit;
bounds from sampled constants and the published protocol's follow as comparisons, since the truth may lie above them.
"""

from collections.abc import Sequence

from irob.core import published
from irob.core.laws import comparable
from irob.core.rows import Quantity, Row, largest, models, select
from irob.report import label, limits, tables
from irob.report.tables import Cell, Line, Table, percent

Counts = dict[str, set[int]]  # kind of accuracy to the numbers of images behind it


def table3(rows: Sequence[Row]) -> Table | None:
    """Table 3: accuracy of classifiers, clean and attacked, against the limits; None without classifiers."""
    if not models(rows):
        return None
    radii, known = tables.epsilons(rows), tables.paper(rows)
    counts: Counts = {}
    compared, fails = _compared(rows, radii)
    lines = [*_attacked(rows, radii, counts), *_inside(rows, radii, counts), *_certified(rows, radii, counts),
             *_proved(rows, radii), *compared]
    if known and compared:
        cells = (Cell(), *(tables.printed(known.bound.get(e)) for e in radii))
        lines.append(Line(f"paper, “Our Bound”, α = {known.alpha:g}", cells, "paper"))
    head = ("label robustness, %", "natural", *(f"ε = {e:g}" for e in radii))
    return Table("table3", "Table 3. Robustness of classifiers against the limit of the generator",
                 head, tuple(lines), tuple(_notes(rows, counts, bool(compared), fails)))


def _notes(rows: Sequence[Row], counts: Counts, compared: bool, fails: bool) -> list[str]:
    sizes = "; ".join(f"{k}: {', '.join(f'{n:,}' for n in sorted(v))} images" for k, v in counts.items() if v)
    trials = max((r.detail.trials or 1 for r in select(rows, Quantity.ROBUST)), default=1)
    over = f"mean ± standard deviation over {trials} trials on images of their own" if trials > 1 else "one trial"
    together = any("+" in r.method for r in select(rows, Quantity.ROBUST))
    notes = [
        f"Percent of test images; {over}; {sizes}. Exact 95 % intervals stand in report.json and report.csv.",
        "An attack that fails proves nothing: attacked accuracies bound the true robust accuracy from above."
        + (" Any image within ε: the worst of all attacks run on that image." if together else "")
        + (" Certificates bound it from below: certified ≤ true ≤ attacked, checked image by image."
           if "certified" in counts else ""),
    ]
    if compared:
        notes.append("Bounds for comparison speak of classifiers whose natural risk is at least α and rest on sampled "
                     "Lipschitz constants, which are found from below: they prove nothing, and the true bound may be "
                     "higher.")
    if fails:
        notes.append("† The theorem asks for r·L ≥ ε in the units of the images, which fails here for some class. "
                     "Measured here: the error set then grows by r only. Published protocol: ignored, as published.")
    return notes


def _attacked(rows: Sequence[Row], radii: Sequence[float], counts: Counts) -> list[Line]:
    names, known = models(rows), tables.paper(rows)
    lines = [Line("Under attack: any image within ε", kind="group")] if names or known else []
    for name in names:
        attacked = [largest(rows, Quantity.ROBUST, model=name, epsilon=e) for e in radii]
        natural = largest(rows, Quantity.NATURAL, model=name)
        _count(counts, "unconstrained", attacked)
        _count(counts, "natural", [natural])
        lines.append(_named(name, (percent(natural), *(percent(r) for r in attacked))))
    for method, values in (known.robust if known else {}).items():
        cells = tuple(tables.printed(*values.get(e, (None, None))) for e in [0.0, *radii])
        lines.append(Line(f"paper, {method}", cells, "paper"))
    return lines


def _inside(rows: Sequence[Row], radii: Sequence[float], counts: Counts) -> list[Line]:
    lines = []
    for name in [n for n in models(rows) if select(rows, Quantity.IN_DISTRIBUTION, model=n)]:
        found = [largest(rows, Quantity.IN_DISTRIBUTION, model=name, epsilon=e) for e in radii]
        _count(counts, "in-distribution", found)
        n = next(r.n for r in found if r)
        natural = next(iter(select(rows, Quantity.NATURAL, model=name, n=n)), None)
        lines.append(_named(name, (percent(natural), *(percent(r) for r in found))))
        free = [largest(rows, Quantity.ROBUST, model=name, epsilon=e, n=n) for e in radii]
        most = largest(rows, Quantity.ROBUST, model=name)
        if any(free) and most and most.n != n:
            cells = (Cell(), *(percent(r) for r in free))
            lines.append(Line(f"{published.short(name)}, any image", cells, "same", "the same clean images"))
    head = Line("Under attack in distribution: images within ε that the generator draws", kind="group")
    return [head, *lines] if lines else []


def _certified(rows: Sequence[Row], radii: Sequence[float], counts: Counts) -> list[Line]:
    lines = []
    for name in [n for n in models(rows) if select(rows, Quantity.CERTIFIED, model=n)]:
        found = [largest(rows, Quantity.CERTIFIED, model=name, epsilon=e) for e in radii]
        _count(counts, "certified", found)
        by = ", ".join(dict.fromkeys(r.detail.certifier or r.method for r in found if r))
        lines.append(_named(name, (Cell(), *(percent(r) for r in found)), f"by {by}"))
    return [Line("Certified: no image within ε, at least", kind="group"), *lines] if lines else []


def _count(counts: Counts, kind: str, found: Sequence[Row | None]) -> None:
    counts.setdefault(kind, set()).update(r.n for r in found if r and r.n)


def _named(model: str, cells: tuple[Cell, ...], note: str = "") -> Line:
    """A line under the field's name for the training method, the model's own name below it."""
    short = published.short(model)
    return Line(short, cells, "ours", ", ".join(t for t in ("" if short == model else model, note) if t))


def _proved(rows: Sequence[Row], radii: Sequence[float]) -> list[Line]:
    """The smallest proved limit at each epsilon, and the limits that it is the smallest of."""
    lines = []
    for d in label.datasets(rows)[:1]:
        ends = {"label limit": label.limit, "Theorem 4.4": label.theorem}
        found = {name: [end(rows, d, e) for e in radii] for name, end in ends.items()}
        for r in (r for of in found.values() for r in of if r):
            for a in select(rows, Quantity.ROBUST, epsilon=r.epsilon)[:1]:
                comparable(a, r)
        if any(r for of in found.values() for r in of):
            least = [label.smallest(rows, d, e) for e in radii]
            lines.append(Line("No classifier keeps more, proved", kind="group"))
            lines.append(Line("smallest proved limit", (Cell(), *(percent(r) for r in least)), "bound"))
        for name, of in found.items():
            one = next((r for r in of if r), None)
            if one:
                alpha = one.detail.alpha
                whom = "any classifier" if alpha is None else f"natural risk ≥ {tables.number(alpha)}"
                lines.append(Line(name, (Cell(), *(percent(r) for r in of)), "bound", f"{whom}, {limits.grade(one)}"))
    return lines


def _compared(rows: Sequence[Row], radii: Sequence[float]) -> tuple[list[Line], bool]:
    """A group for each protocol, a line for each alpha and family; and whether the theorem's proviso fails."""
    found = [r for r in select(rows, Quantity.BOUND) if r.section != "limits"]
    lines, fails = [], False
    for protocol in [p for p in tables.PROTOCOLS if select(found, Quantity.BOUND, protocol=p)]:
        what = {"default": "For comparison, an estimate: Theorem 4.4 with sampled constants",
                "paper": "For comparison: the same by the published protocol"}
        lines.append(Line(f"{what[protocol]} ({tables.meaning(protocol, rows)})", kind="group"))
        order = sorted(select(found, Quantity.BOUND, protocol=protocol), key=lambda r: not r.detail.measured)
        for alpha, family in dict.fromkeys((r.detail.alpha, r.detail.family) for r in order):
            own = [r for r in order if (r.detail.alpha, r.detail.family) == (alpha, family)]
            hits = {e: next((r for r in own if r.epsilon == e), None) for e in radii}
            signs = {e: "†" if r and not r.detail.proviso else "" for e, r in hits.items()}
            fails |= any(signs.values())
            measured = any(r and r.detail.measured for r in hits.values())
            source = "measured" if measured else "as in the paper"
            cells = (Cell(), *(percent(r, signs[e]) for e, r in hits.items()))
            lines.append(Line(f"α = {tables.number(alpha)} {source}", cells, "bound", tables.FAMILIES[family]))
    return lines, fails
