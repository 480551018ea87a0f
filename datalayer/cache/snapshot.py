"""What a cache had at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from datalayer.cache.candle_arrays import CandleArrays
    from datalayer.domain.imbalances import OrderBookImbalances
    from datalayer.domain.order_book import OrderBook
    from datalayer.domain.timeframe import Timeframe


@dataclass(frozen=True, slots=True, eq=False)
class CacheSnapshot:
    """What was visible of one symbol at one moment; nothing was written while it was taken.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        as_of: the moment, UTC.
        candles: by timeframe, those that were asked for; without candles where there are none.
        order_book: the last one of the window; None: there is none.
        imbalances: likewise.
        ages_s: how old the newest data of each part are, in seconds, as from `DataCacheManager.get_ages`.
    """

    symbol: str
    as_of: datetime
    candles: Mapping[Timeframe, CandleArrays]
    order_book: OrderBook | None
    imbalances: OrderBookImbalances | None
    ages_s: Mapping[str, float]
