"""A single candle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from datalayer.domain.timeframe import Timeframe

UNKNOWN_COUNT: Final = -1
"""Stands in arrays of integers for a trade count that the source does not say."""


@dataclass(frozen=True, slots=True)
class Candle:
    """One candle of one timeframe; it covers `[ts, ts + timeframe)`.

    A plain value, made without any check: `DataValidator` tells whether it may be stored.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        timeframe: its length.
        ts: open time, aware.
        open: price of the first trade, in the quote asset.
        high: highest price.
        low: lowest price.
        close: price of the last trade.
        volume: traded size, in the base asset.
        trade_count: number of trades; None: the source does not say.
        is_forming: it was taken before its close; its high, low, close, volume and count may still change.
    """

    symbol: str
    timeframe: Timeframe
    ts: datetime
    open: float | Decimal
    high: float | Decimal
    low: float | Decimal
    close: float | Decimal
    volume: float | Decimal
    trade_count: int | None = None
    is_forming: bool = False

    @property
    def closed_at(self) -> datetime:
        """When it closes; from then on it is visible as final."""
        return self.ts + self.timeframe.length

    def is_visible_at(self, moment: datetime) -> bool:
        """Tell whether it was closed at a moment (aware)."""
        return self.closed_at <= moment
