"""Means of exact steps: one rounding, at the very end."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.steps import MAX_STEPS, PriceType, check_scale
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEAN_DIGITS: Final = 34
"""Significant digits to which a mean is rounded as `Decimal`."""

_DECIMALS: Final = Context(prec=MEAN_DIGITS)


def mean_of_steps(
    sums: NDArray[np.int64], counts: NDArray[np.int64], scale: int, price_type: PriceType = "float"
) -> NDArray[Any]:
    """Return `sums / counts` of steps of `10**-scale`.

    Args:
        sums: int64 `[n]`.
        counts: int64 `[n]`, 0 or more.
        scale: decimal digits of one step, 0 to 18.
        price_type: see `PriceType`. A mean need not be a whole number of steps: "fixed" is in steps, as a float.

    Returns:
        `[n]`: float64, each the float nearest to the exact mean, NaN of nothing; or object of `Decimal`, rounded half-even
        to 34 significant digits, None of nothing.

    Raises:
        InvalidInputError: `scale` or `price_type` is not one of the possible ones.
    """
    check_scale(scale)
    if price_type == "float":
        return _floats(sums, counts, scale)
    if price_type == "fixed":
        return _floats(sums, counts, 0)
    if price_type == "decimal":
        return _decimals(sums, counts, scale)
    raise InvalidInputError("price_type", price_type, "use one of float, decimal, fixed")


def _floats(sums: NDArray[np.int64], counts: NDArray[np.int64], scale: int) -> NDArray[np.float64]:
    divisors = counts * 10.0**scale
    means = np.full(len(sums), np.nan)
    np.divide(sums, divisors, out=means, where=counts > 0)
    # Beyond 2**53 a float is not every integer, and the division would round twice.
    large = (sums > MAX_STEPS) | (sums < -MAX_STEPS) | (divisors > MAX_STEPS)
    for row in np.flatnonzero(large & (counts > 0)):
        means[row] = int(sums[row]) / (int(counts[row]) * 10**scale)
    return means


def _decimals(sums: NDArray[np.int64], counts: NDArray[np.int64], scale: int) -> NDArray[Any]:
    means = np.empty(len(sums), dtype=object)
    for row, (total, count) in enumerate(zip(sums.tolist(), counts.tolist(), strict=True)):
        if count:
            means[row] = _DECIMALS.divide(Decimal(total), Decimal(count)).scaleb(-scale, _DECIMALS)
    return means
