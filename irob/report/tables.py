"""Rows to tables: Table 1 (Lipschitz constants), Table 3 (robustness against its bound), and a comparison.

A `Table` is plain text with the numbers behind it; latex.py, csv.py and html.py each write it their way.
Rows are recognised by their quantity and by what stands in `detail`.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from irob.core.evidence import Row
from irob.report import published

LIPSCHITZ = "local Lipschitz constant"
NATURAL = "natural accuracy"
ROBUST = "robust accuracy"
IN_DISTRIBUTION = "in-distribution robust accuracy"
CERTIFIED = "certified robust accuracy"
BOUND = "intrinsic robustness"
INTENDED = "intended-label share"
PREDICTIONS = "in-distribution stability of predictions"
PROTOCOLS = {"default": "measured here", "paper": "published protocol, here"}
FAMILIES = {"overall": "risk ≥ α overall", "per_class": "risk ≥ α in each class"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is shown, the number behind it, its spread, its interval, and a sign that points to a note."""

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
    """An accuracy in percent with one decimal, as the paper prints it, with its standard deviation if it has one."""
    if row is None:
        return Cell()
    spread = row.detail.get("std")
    text = f"{100 * row.value:.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else "")
    return Cell(text, row.value, spread, row.low, row.high, sign)


def printed(value: float | None, spread: float | None = None) -> Cell:
    """A number of the paper, in percent."""
    if value is None:
        return Cell()
    return Cell(f"{100 * value:.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else ""), value, spread)


def select(rows: Iterable[Row], quantity: str, **wanted) -> list[Row]:
    """The rows of a quantity whose fields or details have the wanted values."""
    def fits(row: Row) -> bool:
        return all((getattr(row, k) if hasattr(row, k) else row.detail.get(k)) == v for k, v in wanted.items())

    return [r for r in rows if r.quantity == quantity and fits(r)]


def largest(rows: Iterable[Row], quantity: str, **wanted) -> Row | None:
    """Of the rows that fit, the one that rests on most examples; of several, the strongest attack's."""
    return max(select(rows, quantity, **wanted), key=lambda r: (r.n or 0, -r.value), default=None)


def models(rows: Iterable[Row]) -> list[str]:
    """The classifiers in the order of their rows; checkpoints along training ("name@epoch") are left out."""
    return list(dict.fromkeys(r.model for r in rows if r.quantity == NATURAL and "@" not in r.model))


def epsilons(rows: Iterable[Row]) -> list[float]:
    """The radii that the rows of robustness speak of."""
    return sorted({r.detail["epsilon"] for r in rows if r.quantity in (ROBUST, IN_DISTRIBUTION, BOUND)})


def paper(rows: Sequence[Row]) -> published.Benchmark | None:
    """The paper's numbers that may stand beside these: generated MNIST or ImageNet10, under l2."""
    if any(r.threat.startswith("linf") for r in rows):
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
    classes = sorted({r.detail["class"] for r in select(rows, LIPSCHITZ, model=model) if r.detail["class"] is not None})
    if not classes:
        return None
    for protocol, label in PROTOCOLS.items():
        found = {r.detail["class"]: r for r in select(rows, LIPSCHITZ, model=model, protocol=protocol)}
        if found:
            top = max(found.values(), key=lambda r: r.value)
            cells = tuple(_constant(found.get(c)) for c in classes)
            lines.append(Line(label, (*cells, _constant(top)), note=meaning(protocol, rows)))
    known = paper(rows)
    if known and len(classes) == len(known.lipschitz):
        numbers = (*known.lipschitz, max(known.lipschitz))
        lines.append(Line(f"paper, {known.table}", tuple(Cell(f"{v:.1f}", v) for v in numbers), "paper"))
    first = select(rows, LIPSCHITZ, model=model)[0].detail
    notes = [
        f"Quantile at 1 − δ = {1 - first['delta']:g} over {first['codes']} codes a class, {first['neighbours']} "
        f"neighbours a code within r = {first['radius']:g}, {first['trials']} trial"
        + ("s: mean ± standard deviation." if first["trials"] > 1 else ".")
        + f" {first['codes']} codes cover that quantile with a probability of {first['confidence']:.2g} only.",
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
    spread = row.detail.get("std")
    text = f"{row.value:.1f}" + (f" ± {spread:.1f}" if spread is not None else "")
    return Cell(text, row.value, spread, row.low, row.high)


def comparison(rows: Sequence[Row], conditional: str) -> Table | None:
    """The unconditional generator against the conditional one, measured by the same sampler."""
    lines, name = [], ""
    for protocol, label in PROTOCOLS.items():
        whole = select(rows, LIPSCHITZ, protocol=protocol, **{"class": None})
        classes = select(rows, LIPSCHITZ, protocol=protocol, model=conditional)
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
    found = select(rows, PREDICTIONS)
    radii = sorted({r.detail["epsilon"] for r in found})
    if not found:
        return None
    lines = []
    for protocol, label in PROTOCOLS.items():
        of = select(found, PREDICTIONS, protocol=protocol)
        if of:
            said = meaning(protocol, rows)
            lines.append(Line(f"{label}, L = {of[0].detail['lipschitz']:.2f} ({said})", kind="group"))
        for method in dict.fromkeys(r.method for r in of):
            hits = [next(iter(select(of, PREDICTIONS, method=method, epsilon=e)), None) for e in radii]
            cells = tuple(Cell() if r is None else Cell(f"{100 * r.value:.1f}" if r.value < 1 else "vacuous", r.value)
                          for r in hits)
            lines.append(Line(method, cells, "bound"))
    notes = (
        "Fawzi et al. (2018) bound the chance that a prediction survives a move within ε on the image manifold; labels "
        "play no part, so these hold for other quantities than Table 3. “Vacuous” means a bound of 100 % or more. L is "
        "sampled, from below, so these are estimates: the true bounds are higher.",
    )
    head = ("stability of predictions at most, %", *(f"ε = {e:g}" for e in radii))
    return Table("fawzi", "Earlier bounds for an unconditional generator", head, tuple(lines), notes)


def table3(rows: Sequence[Row]) -> Table | None:
    """Table 3: accuracy of classifiers, clean and attacked, against the bound that no classifier passes."""
    radii, names, known = epsilons(rows), models(rows), paper(rows)
    bounds, fails = _bound_lines(rows, radii)
    if not names and not bounds:
        return None
    counts: dict[str, set[int]] = {}
    lines = [Line("Under attack: any image within ε", kind="group")] if names or known else []
    for name in names:
        attacked = [largest(rows, ROBUST, model=name, epsilon=e) for e in radii]
        counts.setdefault("unconstrained", set()).update(r.n for r in attacked if r and r.n)
        natural = largest(rows, NATURAL, model=name)
        counts.setdefault("natural", set()).update([natural.n] if natural and natural.n else [])
        lines.append(Line(*_named(name, (percent(natural), *(percent(r) for r in attacked)))))
    if known:
        for method, values in known.robust.items():
            cells = tuple(printed(*values.get(e, (None, None))) for e in [0.0, *radii])
            lines.append(Line(f"paper, {method}", cells, "paper"))
    inside = [n for n in names if select(rows, IN_DISTRIBUTION, model=n)]
    if inside:
        lines.append(Line("Under attack in distribution: images within ε that the generator draws", kind="group"))
        for name in inside:
            found = [largest(rows, IN_DISTRIBUTION, model=name, epsilon=e) for e in radii]
            counts.setdefault("in-distribution", set()).update(r.n for r in found if r and r.n)
            same = [n.n for n in found if n]
            natural = next(iter(select(rows, NATURAL, model=name, n=same[0])), None)
            lines.append(Line(*_named(name, (percent(natural), *(percent(r) for r in found)))))
            free = [largest(rows, ROBUST, model=name, epsilon=e, n=same[0]) for e in radii]
            most = largest(rows, ROBUST, model=name)
            if any(free) and most and most.n != same[0]:
                cells = (Cell(), *(percent(r) for r in free))
                lines.append(Line(f"{published.short(name)}, any image", cells, "same", "the same clean images"))
    proved = [n for n in names if select(rows, CERTIFIED, model=n)]
    if proved:
        lines.append(Line("Certified: no image within ε, at least", kind="group"))
        for name in proved:
            found = [largest(rows, CERTIFIED, model=name, epsilon=e) for e in radii]
            counts.setdefault("certified", set()).update(r.n for r in found if r and r.n)
            label, cells, kind, note = _named(name, (Cell(), *(percent(r) for r in found)))
            by = ", ".join(dict.fromkeys(r.detail.get("certifier", r.method) for r in found if r))
            lines.append(Line(label, cells, kind, f"{note}, by {by}" if note else f"by {by}"))
    lines += bounds
    if known and bounds:
        cells = (Cell(), *(printed(known.bound.get(e)) for e in radii))
        lines.append(Line(f"paper, “Our Bound”, α = {known.alpha:g}", cells, "paper"))
    together = any("+" in r.method for r in select(rows, ROBUST))
    sizes = "; ".join(f"{k}: {', '.join(f'{n:,}' for n in sorted(v))} images" for k, v in counts.items() if v)
    trials = max((r.detail.get("trials", 1) for r in select(rows, ROBUST)), default=1)
    over = f"mean ± standard deviation over {trials} trials on images of their own" if trials > 1 else "one trial"
    notes = [
        f"Percent of test images; {over}; {sizes}. Exact 95 % intervals stand in report.json and report.csv.",
        "An attack that fails proves nothing: attacked accuracies bound the true robust accuracy from above."
        + (" Any image within ε: the worst of all attacks run on that image." if together else "")
        + (" Certificates bound it from below: certified ≤ true ≤ attacked, checked image by image." if proved else ""),
        "The bound speaks of classifiers whose natural risk is at least α; it rests on sampled "
        "Lipschitz constants, which are found from below; the true bound may be higher.",
    ]
    if fails:
        notes.append("† The theorem asks for r·L ≥ ε in the units of the images, which fails here for some class. "
                     "Measured here: the error set then grows by r only. Published protocol: ignored, as published.")
    head = ("accuracy, %", "natural", *(f"ε = {e:g}" for e in radii))
    return Table("table3", "Table 3. Robustness of classifiers against the limit of the generator",
                 head, tuple(lines), tuple(notes))


def _named(model: str, cells: tuple[Cell, ...]) -> tuple[str, tuple[Cell, ...], str, str]:
    """A line under the field's name for the training method, the model's own name below it."""
    short = published.short(model)
    return short, cells, "ours", "" if short == model else model


def _bound_lines(rows: Sequence[Row], radii: Sequence[float]) -> tuple[list[Line], bool]:
    """A group for each protocol, a line for each alpha and family; and whether the theorem's proviso fails."""
    found = [r for r in select(rows, BOUND) if r.detail.get("section") != "limits"]
    lines, fails = [], False
    for protocol in [p for p in PROTOCOLS if select(found, BOUND, protocol=p)]:
        what = {"default": "Limit of any classifier, an estimate", "paper": "The same by the published protocol"}
        lines.append(Line(f"{what[protocol]} ({meaning(protocol, rows)})", kind="group"))
        order = sorted(select(found, BOUND, protocol=protocol), key=lambda r: not r.detail["measured"])
        for alpha, family in dict.fromkeys((r.detail["alpha"], r.detail["family"]) for r in order):
            hits = {e: next(iter(select(order, BOUND, alpha=alpha, family=family, epsilon=e)), None) for e in radii}
            signs = {e: "†" if r and not r.detail["proviso"] else "" for e, r in hits.items()}
            fails |= any(signs.values())
            measured = any(r and r.detail["measured"] for r in hits.values())
            source = "measured" if measured else "as in the paper"
            cells = (Cell(), *(percent(r, signs[e]) for e, r in hits.items()))
            lines.append(Line(f"α = {number(alpha)} {source}", cells, "bound", FAMILIES[family]))
    return lines, fails


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
            low, high = Cell(f"{100 * r.low:.1f}", r.low), Cell(f"{100 * r.high:.1f}", r.high)
            bounds = {"upper": "at most", "lower": "at least"}.get(r.side, "")
            where = "clean" if r.threat == "none" else f"{r.threat}, {r.method}"
            cells = (Cell(bounds), percent(r), low, high, Cell(f"{r.n:,}", r.n))
            lines.append(Line(f"{r.quantity}, {where}", cells))
    title = ", ".join(dict.fromkeys(f"{r.model} on {r.dataset}" for r in rows))
    head = ("accuracy, %", "", "measured", "95 % from", "to", "images")
    return Table("attack", title, head, tuple(lines), ("An attack that fails proves nothing: the truth may be lower.",))
