"""1s candles, order books and trades by number, for tests that count them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from datalayer import Candle, OrderBook, OrderBookColumns, OrderBookImbalances, Timeframe, Trade, UnitOfWork
from datalayer.domain.trade import Side

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.cache import DataCacheManager
    from tests.integration.provider.conftest import Clock

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def candle(number: int, timeframe: Timeframe = Timeframe.S1, **change: Any) -> Candle:
    value = 60_000.0 + number
    ts = START + number * timeframe.length
    return Candle(BTC, timeframe, ts, value, value + 1, value - 1, value, 0.5, trade_count=1, **change)


def book(number: int, *, after_s: float = 0.0) -> OrderBook:
    levels = np.array([60_000.0, 59_999.0]) + number
    sizes = np.array([1.0, 2.0])
    ts = START + number * SECOND + timedelta(seconds=after_s)
    return OrderBook(BTC, ts, levels, sizes, levels[::-1] + 2, sizes, number)


def imbalances(number: int) -> OrderBookImbalances:
    return OrderBookImbalances(BTC, START + number * SECOND, 0.5, 0.25)


def trade(number: int) -> Trade:
    return Trade(BTC, START + number * SECOND, number, 60_000.0 + number, 0.5, Side.BUY)


def books(numbers: range) -> OrderBookColumns:
    columns = [book(number).columns() for number in numbers]
    joined = {
        name: np.concatenate([getattr(one, name) for one in columns]) for name in OrderBookColumns.__slots__
    }
    return OrderBookColumns(**joined)


def feed(cache: DataCacheManager, clock: Clock, numbers: range, *, with_books: bool = True) -> None:
    """Put in a second each, a little after its end, and the book of that moment."""
    for number in numbers:
        clock.now = START + (number + 1) * SECOND + timedelta(milliseconds=100)
        cache.put_candle(candle(number))
        cache.put_trade(trade(number))
        if with_books:
            cache.put_orderbook(book(number + 1))
            cache.put_imbalances(imbalances(number + 1))


async def store(engine: AsyncEngine, numbers: range, *, with_books: bool = True) -> None:
    """Write the same to the database."""
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(BTC, 2, 5)
        rows = [candle(number) for number in numbers]
        if rows:
            frame = pd.DataFrame(rows).set_index("ts")
            await uow.candles.upsert_candles(BTC, "1s", frame)
            trades = pd.DataFrame([trade(number) for number in numbers]).set_index("ts")
            await uow.trades.insert_trades(BTC, trades)
        if with_books and rows:
            await uow.order_books.insert_order_books(BTC, books(range(numbers.start + 1, numbers.stop + 1)))
            known = pd.DataFrame([imbalances(number + 1).values() for number in numbers])
            known.index = pd.DatetimeIndex([imbalances(number + 1).ts for number in numbers])
            await uow.imbalances.upsert_imbalances(BTC, known)
        await uow.commit()
