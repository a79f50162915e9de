"""Operator norms from above: closed forms, rational arithmetic, every scale, and a decomposition that lies."""

from fractions import Fraction

import numpy as np
import pytest

from irob.math.operator_norm import lengths, operator_norm


def stretched(matrix, v) -> Fraction:
    """|A v|^2 / |v|^2 in rational arithmetic."""
    rows = [[Fraction(float(a)) for a in row] for row in matrix]
    v = [Fraction(float(a)) for a in v]
    image = [sum(a * b for a, b in zip(row, v)) for row in rows]
    return sum(a * a for a in image) / sum(a * a for a in v)


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-20, 1.0, 1e20, 1e150, 1e300])
def test_no_vector_is_stretched_more_at_any_scale(scale):
    rng = np.random.default_rng(0)
    for shape in ((5, 3), (3, 5), (4, 4), (1, 6)):
        matrix = rng.normal(size=shape) * scale
        top = np.linalg.svd(matrix / scale)[2][0]
        found = operator_norm(matrix)
        exact = stretched(matrix, top)
        assert Fraction(found) ** 2 >= exact
        assert Fraction(found) ** 2 <= exact * Fraction(1 + 1e-8)


def test_closed_forms():
    assert operator_norm(np.zeros((3, 2))) == 0
    assert operator_norm(np.diag([1.0, -7.0, 2.0])) == pytest.approx(7, rel=1e-9)
    assert operator_norm(np.ones((30, 20))) == pytest.approx(600**0.5, rel=1e-9)
    assert operator_norm(np.full((2, 2), 1.7e308)) == np.inf
    with pytest.raises(ValueError, match="finite"):
        operator_norm([[np.nan, 1.0]])


@pytest.mark.parametrize("lie", ["values", "vectors", "nan", "failure"])
def test_nothing_is_assumed_of_the_decomposition(lie, monkeypatch):
    matrix = np.random.default_rng(1).normal(size=(6, 4))
    exact = np.linalg.norm(matrix, 2)
    right = np.linalg.svd

    def wrong(a, full_matrices):
        u, s, v = right(a, full_matrices=full_matrices)
        if lie == "failure":
            raise np.linalg.LinAlgError
        return {"values": (u, s / 2, v), "vectors": (u / 2, s, v[::-1]), "nan": (u * np.nan, s, v)}[lie]

    monkeypatch.setattr(np.linalg, "svd", wrong)
    assert exact <= operator_norm(matrix) <= 3 * exact


def test_lengths_are_from_above():
    rows = np.random.default_rng(2).normal(size=(50, 7)) * 10.0 ** np.arange(-150, 150, 6)[:, None]
    for row in rows:
        exact = sum(Fraction(float(a)) ** 2 for a in row)
        (found,) = lengths(row[None])
        assert exact <= Fraction(found) ** 2 <= exact * Fraction(1 + 1e-9)
