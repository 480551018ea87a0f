"""A price that knows how old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import datetime


class CurrentPrice(float):
    """The last known price, in the quote asset: a float, with what a caller should know of it.

    Attributes:
        at: it was the price then or later, UTC: time of the trade; of a candle its open, since when
            its last trade was is not told.
        age_s: seconds from `at` to the moment of the call; the price is at most so old.
        source: `trade`, or the candle it is the close of, as in `candles.1m`.
    """

    __slots__ = ("age_s", "at", "source")

    def __new__(cls, value: float, at: datetime, age_s: float, source: str) -> Self:
        """Make one."""
        made = super().__new__(cls, value)
        made.at, made.age_s, made.source = at, age_s, source
        return made

    at: datetime
    age_s: float
    source: str

    def __getnewargs__(self) -> tuple[float, datetime, float, str]:  # type: ignore[override]
        return float(self), self.at, self.age_s, self.source
