"""Rows for tests of late data: 1s candles and order books whose values tell them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories import CandleRepository, InstrumentRepository, OrderBookRepository, WriteCounts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

BTC, ETH = "BTC/USDT", "ETH/USDT"


def candles(times: Sequence[datetime] | pd.DatetimeIndex, price: float = 100.0) -> pd.DataFrame:
    """Candles at these open times; `price` is what they are about, and their volume."""
    close = price + np.arange(len(times)) % 7
    columns = {"open": close, "high": close + 2, "low": close - 1, "close": close + 1, "volume": close}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(times).tz_convert("UTC"))


def seconds(start: datetime, count: int, *, step: int = 1) -> pd.DatetimeIndex:
    """So many times from `start` on, `step` seconds apart."""
    return pd.date_range(start, periods=count, freq=f"{step}s")


async def write_candles(
    conn: AsyncConnection,
    times: Sequence[datetime] | pd.DatetimeIndex,
    price: float = 100.0,
    *,
    timeframe: Timeframe = Timeframe.S1,
    symbol: str = BTC,
) -> WriteCounts:
    """Write candles, and register the instrument first."""
    await InstrumentRepository(conn).ensure(symbol, 2, 2)
    return await CandleRepository(conn).upsert_candles(symbol, timeframe, candles(times, price))


async def write_books(
    conn: AsyncConnection,
    times: Sequence[datetime] | pd.DatetimeIndex,
    price: float = 100.0,
    *,
    symbol: str = BTC,
) -> WriteCounts:
    """Write books of one level a side, and register the instrument first."""
    await InstrumentRepository(conn).ensure(symbol, 2, 2)
    bid = (price + np.arange(len(times)) % 7)[:, None]
    books = OrderBookColumns(
        timestamps=pd.DatetimeIndex(times).tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]"),
        bid_prices=bid,
        bid_sizes=bid,
        ask_prices=bid + 1,
        ask_sizes=bid * 2,
        last_update_ids=np.arange(len(times)),
    )
    return await OrderBookRepository(conn).insert_order_books(symbol, books)
