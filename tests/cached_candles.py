"""1s candles that are put into a cache one after the other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from datalayer.domain.candle import Candle
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    import pandas as pd

    from datalayer.cache import DataCacheManager
    from tests.fake_clock import Clock

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
VALUES = ["open", "high", "low", "close", "volume", "trade_count"]


def second(number: int, price: float = 100.0, **change: Any) -> Candle:
    candle = Candle(
        BTC, Timeframe.S1, START + number * SECOND, price, price + 2, price - 1, price + 1, 0.1, 3
    )
    return replace(candle, **change)


def feed(cache: DataCacheManager, clock: Clock, numbers: range) -> None:
    """Put in a 1s candle for each number, when it has just closed; all differ."""
    for number in numbers:
        clock.now = START + (number + 1) * SECOND
        cache.put_candle(second(number, 100.0 + number))


def opens(frame: pd.DataFrame) -> list[str]:
    return [f"{moment:%H:%M:%S}" for moment in frame.index]
