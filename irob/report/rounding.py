"""Numbers as decimals that err to the safe side: upper ends are rounded up, lower ends down, others to nearest.

Every number of a page or a terminal that bounds something goes through here, so that what is printed holds as it is
printed: "at most 98.46 %" is never said where only 98.46386 % is proved.
"""

import decimal
import math

_MODES = {"upper": decimal.ROUND_CEILING, "lower": decimal.ROUND_FLOOR}


def outward(value: float, side: str, digits: int) -> str:
    """The value with so many digits behind the point, rounded up for side "upper" and down for "lower".

    Args:
        value: printed as it is if not finite.  side: of what it bounds; any other word rounds to nearest.

    >>> outward(98.46386, "upper", 2), outward(98.46386, "lower", 2), outward(98.46386, "exact", 2)
    ('98.47', '98.46', '98.46')
    >>> outward(98.5, "upper", 2)
    '98.50'
    """
    return _rounded(value, 0, side, digits)


def percent(share: float, side: str, digits: int = 1) -> str:
    """A share of 1 in percent, without the sign; see `outward`.

    >>> percent(0.985, "upper", 2), percent(0.57, "lower"), percent(0.1 + 0.2, "upper")
    ('98.50', '57.0', '30.1')
    """
    return _rounded(share, 2, side, digits)


def width(low: float, high: float, digits: int = 2) -> str:
    """The difference of two shares of 1 in percentage points, rounded up.

    >>> width(0.976, 0.9815), width(0.1, 0.3)
    ('0.55', '20.00')
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{high - low}"
    return _decimal((_exact(high) - _exact(low)).scaleb(2), "upper", digits)


def _rounded(value: float, shift: int, side: str, digits: int) -> str:
    return _decimal(_exact(value).scaleb(shift), side, digits) if math.isfinite(value) else f"{value}"


def _exact(value: float) -> decimal.Decimal:
    """The shortest decimal that equals the float, so that 98.5 is printed as 98.50 whichever way it is rounded."""
    return decimal.Decimal(repr(float(value)))


def _decimal(exact: decimal.Decimal, side: str, digits: int) -> str:
    shown = exact.quantize(decimal.Decimal(1).scaleb(-digits), rounding=_MODES.get(side, decimal.ROUND_HALF_EVEN))
    return f"{shown if shown else abs(shown)}"
