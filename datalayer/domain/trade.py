"""A single trade."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal


class Side(IntEnum):
    """Who was the aggressor of a trade; the value is what is stored."""

    SELL = -1
    UNKNOWN = 0
    BUY = 1


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade. Distinct trades may share instrument, time, price and size, but not the exchange's id.

    A plain value, made without any check: `DataValidator` tells whether it may be stored.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        ts: exchange time, aware.
        trade_id: the exchange's, rising with time.
        price: in the quote asset.
        size: in the base asset.
        side: of the aggressor.
    """

    symbol: str
    ts: datetime
    trade_id: int
    price: float | Decimal
    size: float | Decimal
    side: Side = Side.UNKNOWN
