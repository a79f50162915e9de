"""Error-region robustness from both sides: what each method says, the constants behind it, and the bracket as a figure.

Rows here are of the section "limits".  Upper ends name their method in `UpperEnd.rung`; lower ends
are witnesses, explicit classifiers whose error region was measured on fresh samples; they say nothing about labels.
"""

import re
from collections.abc import Sequence
from typing import Any

from irob.core.rows import RUNGS, Quantity, Row
from irob.math.confidence import together
from irob.report import figures, rounding, tables
from irob.report.tables import Cell, Line, Table

EMPTY = "‡"  # marks a limit that is no more than the trivial one
COLOURS = dict(zip(RUNGS, ("#9a8a2e", "#d9642b", "#8a6fc4", "#7db8e0", "#2f8fd0", "#2c7a55", "#2c7a55")))
NUMBER = r"\d[\d,.]*\d|\d"
MARKS = dict(zip(RUNGS, ("x", "^", "v", "d", "D", "s", "s")))


def rows_of(rows: Sequence[Row]) -> list[Row]:
    """The ends of brackets."""
    return [r for r in rows if r.quantity == Quantity.BOUND and r.section == "limits"]


def datasets(rows: Sequence[Row]) -> list[str]:
    """The distributions that have a bracket, in the order of their rows."""
    return list(dict.fromkeys(r.dataset for r in rows_of(rows)))


def alphas(rows: Sequence[Row], dataset: str) -> list[float]:
    """The natural risks that the limits of a data set were computed for; given ones come before measured ones."""
    found = [r for r in rows_of(rows) if r.dataset == dataset]
    found.sort(key=lambda r: r.side == "upper" and r.detail.measured)
    return list(dict.fromkeys(r.detail.alpha for r in found))


def ends(rows: Sequence[Row], dataset: str, alpha: float, family: str, epsilon: float) -> tuple[list[Row], list[Row]]:
    """(lower ends, upper ends) of one bracket."""
    at = [r for r in rows_of(rows) if r.dataset == dataset and r.epsilon == epsilon
          and (r.detail.alpha, r.detail.family) == (alpha, family)]
    return [r for r in at if r.side == "lower"], [r for r in at if r.side == "upper"]


def best(found: Sequence[Row], certified: bool = False) -> Row | None:
    """The end that says most: the largest lower end, certified ones first, or the tightest upper one.

    Of upper ends that are estimates the last of the ladder counts, since it leaves least to chance; if its codes are
    too few for it to say anything, the one before; a certified end where that is lower still.
    """
    found = [r for r in found if (r.certified or not certified) and r.detail.protocol != "paper"]
    if not found:
        return None
    if found[0].side == "lower":
        # Whichever the first sample chose; to take the largest of what the second measured would flatter it.
        return max(found, key=lambda r: (r.certified, r.detail.best, r.value))
    if certified:
        return min(found, key=lambda r: r.value)
    order = list(RUNGS)
    estimates = [r for r in found if not r.certified]
    estimates = [r for r in estimates if r.value < 1 - r.detail.alpha - 1e-12] or estimates
    proved = best(found, True)
    last = max(estimates, key=lambda r: order.index(r.detail.rung), default=proved)
    return proved if proved and last and proved.value < last.value else last


def ladder(rows: Sequence[Row], dataset: str) -> Table | None:
    """One line for each method and family: the limit at every epsilon, then witnesses, then the width."""
    radii = sorted({r.epsilon for r in rows_of(rows) if r.dataset == dataset})
    lines = []
    for alpha in alphas(rows, dataset):
        for family, words in tables.FAMILIES.items():
            brackets = {e: ends(rows, dataset, alpha, family, e) for e in radii}
            if not any(low or high for low, high in brackets.values()):
                continue
            lines.append(Line(f"α = {tables.number(alpha)}, {words}", kind="group"))
            for rung, label in RUNGS.items():
                hits = {e: next((r for r in high if r.detail.rung == rung), None)
                        for e, (_, high) in brackets.items()}
                first = next((r for r in hits.values() if r), None)
                if first:
                    kind = "paper" if rung == "paper" else "bound"
                    lines.append(Line(f"no classifier passes: {label}", tuple(_percent(hits[e]) for e in radii), kind,
                                      grade(first)))
            kinds = dict.fromkeys(r.detail.witness for low, _ in brackets.values() for r in low)
            for witness in kinds:
                hits = {e: next((r for r in low if r.detail.witness == witness), None)
                        for e, (low, _) in brackets.items()}
                first = next(r for r in hits.values() if r)
                lines.append(Line(f"a witness reaches: {witness}", tuple(_percent(hits[e]) for e in radii),
                                  "ours", grade(first)))
            ends_of = [(best(low), best(high)) for low, high in brackets.values()]
            if any(low and high for low, high in ends_of):
                lines.append(Line("width of the bracket, points", tuple(
                    _width(low, high) for low, high in ends_of), "same"))
            sure = [(best(low, True), best(high, True)) for low, high in brackets.values()]
            if all(low and high for low, high in sure):
                lines.append(Line("width between certified ends, points", tuple(
                    _width(low, high) for low, high in sure), "same", both(*sure)))
    if not lines:
        return None
    high = [r for r in rows_of(rows) if r.dataset == dataset and r.side == "upper"]
    codes = sorted({r.n for r in high if r.n})
    empty = list(dict.fromkeys(r.detail.vacuous for r in high if r.detail.vacuous))
    notes = (
        "Percent. Upper ends hold for every classifier of the family, for label robustness too. A witness errs on a "
        "region of probability α and nowhere else; how much of the distribution lies within ε of that region is "
        "counted on fresh samples. That is error-region robustness: attacked accuracies must not be set beside it.",
        "Estimates stand on constants found from below: the true limit may be higher. Each certified end holds by "
        f"itself with the confidence shown, for the sampling of {', '.join(f'{n:,}' for n in codes)} codes."
        if codes else
        "Estimates stand on constants found from below: the true limit may be higher.",
        "The width is that between the best certified lower end and the best upper end found by search.",
        *([f"{EMPTY} An end so marked {'; or '.join(merged(empty))}."] if empty else []),
    )
    head = ("error-region robustness, %", *(f"ε = {e:g}" for e in radii))
    return Table("ladder", f"Error-region robustness from both sides: {dataset}", head, tuple(lines), notes)


def merged(said: Sequence[str]) -> list[str]:
    """Sentences that differ in numbers alone as one sentence, with the range of each number.

    >>> merged(["20 codes of 2,205", "300 codes of 68", "too few errors"])
    ['20 to 300 codes of 68 to 2,205', 'too few errors']
    """
    forms: dict[str, list[list[str]]] = {}
    for text in said:
        forms.setdefault(re.sub(NUMBER, "#", text), []).append(re.findall(NUMBER, text))
    out = []
    for form, numbers in forms.items():
        columns = (sorted(set(c), key=lambda n: float(n.replace(",", ""))) for c in zip(*numbers))
        for c in columns:
            form = form.replace("#", c[0] if len(c) == 1 else f"{c[0]} to {c[-1]}", 1)
        out.append(form)
    return out


def grade(row: Row) -> str:
    """What stands behind an end: "estimate", or "certified" with its confidence."""
    if not row.certified:
        return "estimate"
    level = confidence(row)
    return f"certified, {100 * level:g} % confidence" if level < 1 else "certified"


def confidence(row: Row) -> float:
    """The confidence with which a row holds, joint where there is a joint one; 1 for rows without sampling."""
    return row.detail.joint_confidence or row.detail.confidence or 1.0


def both(*brackets: tuple[Row | None, Row | None]) -> str:
    """In words, the smallest confidence over the brackets that both ends hold at once; "" if all are certain."""
    level = min(together(*(confidence(r) for r in ends if r)) for ends in brackets)
    return f"{100 * level:g} % confidence, both ends at once" if level < 1 else ""


def _percent(row: Row | None) -> Cell:
    """A cell in percent with two decimals, since the ends of a bracket lie close together."""
    if row is None:
        return Cell()
    sign = EMPTY if row.side == "upper" and row.detail.vacuous else ""
    return Cell(rounding.percent(row.value, row.side, 2), row.value, None, row.low, row.high, sign + tables.mark(row))


def _width(low: Row | None, high: Row | None) -> Cell:
    if low is None or high is None:
        return Cell()
    return Cell(rounding.width(low.value, high.value), high.value - low.value)


def constants(rows: Sequence[Row], dataset: str) -> Table | None:
    """Sampled, maximised and certified constants of each class at common codes: median and largest."""
    found = [r for r in rows if r.quantity == Quantity.CONSTANT and r.dataset == dataset]
    if not found:
        return None
    classes = sorted({r.detail.class_index for r in found})
    lines = []

    def shown(row: Row, value: float) -> str:
        return rounding.outward(value, row.side, 1)

    for method in dict.fromkeys(r.method for r in found):
        by = {r.detail.class_index: r for r in found if r.method == method}
        top = max(by.values(), key=lambda r: r.value)
        cells = [Cell() if c not in by else
                 Cell(f"{shown(by[c], by[c].detail.median)} / {shown(by[c], by[c].value)}", by[c].value)
                 for c in classes]
        lines.append(Line(method, (*cells, Cell(shown(top, top.value), top.value)), "ours",
                          {"lower": "from below", "upper": "from above"}.get(top.side, "")))
    d = found[0].detail
    notes = (f"Median / largest over the codes of a class, within r = {d.radius:g} latent standard deviations; "
             "image units per latent unit, images in [0,1].",)
    return Table("constants", f"How fast images move: {dataset}", ("class", *map(str, classes), "largest"),
                 tuple(lines), notes)


def ratios(rows: Sequence[Row], dataset: str) -> Table | None:
    """Certified against maximised constants, radius by radius."""
    found = [r for r in rows if r.quantity == Quantity.RATIO and r.dataset == dataset]
    if not found:
        return None
    lines = [
        *(Line(f"{name}, {words}", tuple(
            Cell(rounding.outward(v, side, 1), v) for r in found for v in [vars(r.detail)[name]]), "ours")
          for name, side, words in (("maximised", "lower", "from below"), ("certified", "upper", "from above"))),
        Line("ratio", tuple(
            Cell(f"{r.value:.2f}", r.value, None, r.low, r.high) for r in found), "same")]
    notes = (f"Medians over {found[0].n} codes; the truth lies between the two.",)
    return Table("ratios", f"What certificates cost: {dataset}",
                 ("constant", *(f"r = {r.detail.radius:g}" for r in found)), tuple(lines), notes)


def figure(rows: Sequence[Row], dataset: str, alpha: float) -> Any:
    """The bracket over epsilon, a panel for each family: a band between the ends, a mark for every method."""
    families = [f for f in tables.FAMILIES if any(
        r.dataset == dataset and (r.detail.alpha, r.detail.family) == (alpha, f) for r in rows_of(rows))]
    radii = sorted({r.epsilon for r in rows_of(rows) if r.dataset == dataset})
    drawing = figures._figure(4.6 * max(1, len(families)), 4.4)
    panels = drawing.subplots(1, max(1, len(families)), squeeze=False)[0]
    for axes, family in zip(panels, families):
        brackets = [ends(rows, dataset, alpha, family, e) for e in radii]
        band = [(e, best(low), best(high)) for e, (low, high) in zip(radii, brackets)]
        whole = [(e, lo.value, hi.value) for e, lo, hi in band if lo and hi]
        if whole:
            x, low, high = zip(*whole)
            axes.fill_between(x, low, high, color="#2f8fd0", alpha=0.18, linewidth=0, label="bracket")
        for rung, label in RUNGS.items():
            hits = [(e, r.value, r.certified) for e, (_, up) in zip(radii, brackets) for r in up
                    if r.detail.rung == rung]
            if hits:
                sure = "certified" if hits[0][2] else "estimate"
                axes.plot([h[0] for h in hits], [h[1] for h in hits], color=COLOURS[rung], marker=MARKS[rung],
                          markersize=6, linewidth=1.2, linestyle="-" if hits[0][2] else ":",
                          label=label if rung == "paper" else f"{label} ({sure})")
        found = sorted((r for low, _ in brackets for r in low), key=lambda r: (not r.certified, -r.value))
        for i, witness in enumerate(dict.fromkeys(r.detail.witness for r in found)):  # the best in the darkest ink
            hits = [(e, r.value, r.certified) for e, (lo, _) in zip(radii, brackets) for r in lo
                    if r.detail.witness == witness]
            axes.plot([h[0] for h in hits], [h[1] for h in hits], color=figures.INK, alpha=max(0.25, 0.9 - 0.17 * i),
                      marker="o", markersize=5, markerfacecolor=figures.INK if hits[0][2] else "none", linewidth=1,
                      linestyle="-" if hits[0][2] else ":", label=f"witness: {witness}")
        # What lies far below the bracket says little; it stands in the table.
        floor = min((lo for _, lo, _ in whole), default=0.0)
        room = 1 - alpha - floor
        axes.set_ylim(floor - 0.6 * room, 1 - alpha + 0.15 * room)
        axes.axhline(1 - alpha, color="#808080", linewidth=0.8, linestyle="--", label="1 − α")
        axes.set_title(tables.FAMILIES[family], fontsize=11, color=figures.INK)
        axes.set_xticks(radii)
        figures.framed(axes, figures.strength(rows_of(rows)), "error-region robustness" if axes is panels[0] else "")
    figures.keyed(drawing, size=8)
    return drawing


def words(rows: Sequence[Row], dataset: str) -> str:
    """What may be claimed about error-region robustness, in plain language."""
    out = []
    for alpha in alphas(rows, dataset)[:1]:
        radii = sorted({r.epsilon for r in rows_of(rows) if r.dataset == dataset})
        for e in radii[-1:]:
            low, high = ends(rows, dataset, alpha, "overall", e)
            proved, reached, searched = best(high, True), best(low), best(high)
            share = f"{100 * alpha:.3g} %"
            out.append("Error-region robustness compares the answer at the moved image with the truth there, and not "
                       "with the label of the image that was moved.")
            if proved and proved.value < 1 - alpha - 1e-12:
                out.append(f"Proved{confidently(proved)}, in either sense of the word: no classifier that errs on at "
                           f"least {share} of the images of {dataset} keeps more than "
                           f"{rounding.percent(proved.value, 'upper', 2)} % of its answers right when an image may "
                           f"move by ε = {e:g}.")
            elif proved:
                why = proved.detail.vacuous or ": the certified radii, or the number of codes, are too small"
                out.append(f"Nothing beyond the trivial limit of {rounding.percent(1 - alpha, 'upper', 2)} % is proved "
                           f"about {dataset} at ε = {e:g}: {why.partition(': ')[2]}.")
            if reached and reached.certified:
                out.append(f"Proved{confidently(reached)}, in the error-region sense only: errors can be placed on "
                           f"{share} of the images so that {rounding.percent(reached.value, 'lower', 2)} % stay out of "
                           f"their reach ({reached.detail.witness}). It does not say that so many labels can be "
                           "kept.")
            if searched and not searched.certified:
                out.append("Not proved, but as far as search can tell: the limit is "
                           f"{rounding.percent(searched.value, 'upper', 2)} %; a steeper chord than any that was found "
                           "would raise it.")
            if reached and searched:
                at = both((reached, searched))
                sure = "So" if searched.certified else "If the search missed nothing"
                sure += (f" ({at})" if at else "") + ("" if searched.certified else ",")
                out.append(f"{sure} the error-region limit is known to within "
                           f"{rounding.width(reached.value, searched.value)} points.")
    return " ".join(out)


def confidently(row: Row) -> str:
    """" with 95 % confidence", or nothing where no confidence is needed."""
    level = confidence(row)
    return f" with {100 * level:g} % confidence" if level < 1 else ""
