"""Where the scales of an instrument come from: what the exchange says, a scan of its data, or the first data there is."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.steps import MAX_SCALE, MAX_STEPS, check_scale, infer_scale, to_steps
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

HEADROOM_DIGITS: Final = 2
"""Decimals that are added to those which the first data happen to have."""

GROWTH: Final = 1000
"""By how much values may still grow: with headroom, one this many times the largest seen stays below 2**53 steps."""


@dataclass(frozen=True, slots=True)
class Scales:
    """The decimal digits of an instrument.

    Attributes:
        price: one price step is `10**-price` of the quote asset.
        size: one size step is `10**-size` of the base asset.

    Raises:
        InvalidInputError: a scale is not 0 to 18.
    """

    price: int
    size: int

    def __post_init__(self) -> None:
        check_scale(self.price, "price_scale")
        check_scale(self.size, "size_scale")

    def covering(self, other: Scales) -> Scales:
        """Return the scales that hold what either holds."""
        return Scales(max(self.price, other.price), max(self.size, other.size))


def scale_of_step(step: Any, field: str = "step") -> int:
    """Return the scale of an exchange's smallest step: 2 for `0.01000000`, 1 for `0.5`, 0 for `1` and for `10`.

    Args:
        step: text or `Decimal`, such as Binance's `tickSize` and `stepSize`. No float: its 0.1 is no tenth.
        field: name of the value, for the error.

    Raises:
        InvalidInputError: it is no number above zero, or has more than 18 decimals.
    """
    try:
        exact = Decimal(step) if isinstance(step, str | Decimal) else Decimal("NaN")
    except InvalidOperation:
        exact = Decimal("NaN")
    if not exact.is_finite() or exact <= 0:
        raise InvalidInputError(field, step, 'give the step as text or Decimal, above zero, as in "0.01"')
    digits = -int(exact.normalize().as_tuple().exponent)
    if digits > MAX_SCALE:
        raise InvalidInputError(field, step, f"has more than {MAX_SCALE} decimals")
    return max(digits, 0)


def inferred_scales(prices: ArrayLike, sizes: ArrayLike, *, headroom_digits: int = HEADROOM_DIGITS) -> Scales:
    """Return scales from the first data of an instrument of which nobody has said more.

    A first price of 61837.6 says nothing of the next one. So the scales have more digits than the data, but not so many
    that values a thousand times as large would leave the range of 2**53 steps.

    Args:
        prices: float, int, `Decimal` or str, of any shape.
        sizes: likewise.
        headroom_digits: decimals to add.

    Raises:
        ScaleError: a value needs more than 12 decimals, or more than 2**53 steps.
        InvalidInputError: a value is no number, or there are none at all.
    """
    seen = [_Seen("prices"), _Seen("sizes")]
    for unit, values in zip(seen, (prices, sizes), strict=True):
        unit.add(values)
        if not unit.any:
            raise InvalidInputError(unit.field, [], "there are no values to infer a scale from")
    return Scales(*(unit.scale(headroom_digits) for unit in seen))


class ScaleScan:
    """Finds the scales of data that come in pieces, such as the files of an import; keeps no data.

    Every value counts: of 521,623 real candles a single one has a third decimal.
    """

    def __init__(self) -> None:
        self._prices = _Seen("prices")
        self._sizes = _Seen("sizes")

    def add(self, *, prices: ArrayLike = (), sizes: ArrayLike = ()) -> None:
        """Look at values: float, int, `Decimal` or str, of any shape.

        Raises:
            ScaleError: a value needs more than 12 decimals, or more than 2**53 steps.
            InvalidInputError: a value is no number.
        """
        self._prices.add(prices)
        self._sizes.add(sizes)

    @property
    def scales(self) -> Scales:
        """The smallest scales that hold all that was looked at.

        Raises:
            ScaleError: one value has so many decimals, and another is so large, that no scale holds both.
        """
        return Scales(self._prices.scale(0), self._sizes.scale(0))


class _Seen:
    """The decimals and the magnitude of the values of one unit."""

    def __init__(self, field: str) -> None:
        self.field = field
        self._decimals = 0
        self._largest = Decimal(0)
        self.any = False

    def add(self, values: ArrayLike) -> None:
        array = np.asarray(values)
        if not array.size:
            return
        self._decimals = max(self._decimals, infer_scale(array, field=self.field))
        extremes = [array.min(), array.max()] if array.dtype.kind in "fiu" else array.flat
        self._largest = max(self._largest, *(abs(Decimal(str(value))) for value in extremes))
        self.any = True

    def scale(self, headroom_digits: int) -> int:
        to_steps(np.array([self._largest], dtype=object), self._decimals, field=self.field)
        wished = range(min(self._decimals + headroom_digits, MAX_SCALE), self._decimals, -1)
        return next((s for s in wished if self._largest * GROWTH * 10**s <= MAX_STEPS), self._decimals)
