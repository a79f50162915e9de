"""Quantiles of constants over codes, checked at the edge; the mathematics is in irob.math.quantiles."""

import numpy as np

from irob.core.check import InputError, integer, number
from irob.math import quantiles


def quantile(values, q: float, confidence: float = 0.95, *, strict: bool = False) -> tuple[float, float]:
    """(value, achieved): the smallest order statistic that is at least the true q-quantile with that confidence.

    Where even the maximum falls short, the maximum and the confidence that it has.

    Args:
        values: f[n], independent draws, for instance one constant a code.
        q: in (0, 1); 1 - delta.
        confidence: in (0, 1).
        strict: too few values for the wanted confidence are an error, which says how many it takes.

    Raises:
        InputError: no values, NaN among them, q or confidence outside (0, 1); too few values, if strict.

    >>> value, achieved = quantile(range(1000), 0.999)
    >>> value, round(achieved, 3)
    (999.0, 0.632)
    """
    try:
        found = quantiles.quantile(np.asarray(values, np.float64), float(q), float(confidence))
        wanted = quantiles.needed(1 - float(q), float(confidence))
    except (TypeError, ValueError) as e:
        raise InputError(str(e)) from None
    if strict and np.size(values) < wanted:
        raise InputError(f"quantile: got {np.size(values)} values, wanted at least {wanted} for the {q:g}-quantile at "
                         f"confidence {confidence:g}; draw more, or take another quantile")
    return found


def supported_delta(n: int, confidence: float = 0.95) -> float:
    """The smallest delta such that the largest of n draws covers the (1 - delta)-quantile with that confidence.

    >>> round(supported_delta(1000), 5)
    0.00299
    """
    number("confidence", confidence, low=0.0, high=1.0, open_low=True)
    try:
        return quantiles.supported_delta(integer("n", n, low=1), confidence)
    except ValueError as e:
        raise InputError(str(e)) from None
