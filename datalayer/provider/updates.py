"""What a subscription gives, and what it does when nobody takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from datalayer.domain.candle import Candle
from datalayer.domain.order_book_frame import OrderBookDataFrame
from datalayer.domain.trade import Trade

if TYPE_CHECKING:
    from datetime import datetime

WhenSlow: TypeAlias = Literal["error", "drop_oldest"]
"""What happens when a subscriber has `max_lag` updates waiting: it is told by `SlowConsumerError`, or the oldest are dropped and
an `UpdateGap` stands in their place."""


@dataclass(frozen=True, slots=True)
class UpdateGap:
    """Updates that were dropped because their subscriber was too slow; they can be read with the provider's other methods.

    Attributes:
        symbol: canonical.
        dropped: how many updates.
        first: time of the first of them, UTC; of candles the open time.
        last: of the last of them.
    """

    symbol: str
    dropped: int
    first: datetime
    last: datetime


Update: TypeAlias = Candle | OrderBookDataFrame | Trade | UpdateGap
"""What a subscription gives: candles, order books or trades, as it was asked for, and gaps."""
