"""Records for tests of the pipeline, and what the database has of them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import text

from datalayer import Candle, OrderBook, Timeframe, Trade, UnitOfWork
from datalayer.domain.scales import Scales
from datalayer.domain.trade import Side
from datalayer.ingestion import DataIngestionPipeline, IngestionSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.domain.imbalances import OrderBookImbalances

BTC, ETH = "BTC/USDT", "ETH/USDT"
START = datetime(2024, 8, 8, 10, tzinfo=UTC)
QUICK = IngestionSettings(
    flush_after_s=0.05,
    unknown_instruments="register",
    scales={BTC: Scales(2, 5), ETH: Scales(2, 4)},
    retry_wait_max_s=1.0,
)


def candle(n: int = 0, close: float = 11.0, symbol: str = BTC, **change: Any) -> Candle:
    values = Candle(symbol, Timeframe.M1, START + timedelta(minutes=n), 10.0, 20.0, 5.0, close, 1.5, 3)
    return replace(values, **change)


def trade(n: int = 0, price: float = 11.0, symbol: str = BTC, **change: Any) -> Trade:
    return replace(Trade(symbol, START + timedelta(milliseconds=n), n, price, 0.5, Side.BUY), **change)


def book(n: int = 0, best_bid: float = 11.0, symbol: str = BTC, **change: Any) -> OrderBook:
    bids, asks = np.array([best_bid, best_bid - 1]), np.array([best_bid + 1, best_bid + 2])
    ts = START + timedelta(milliseconds=100 * n)
    return replace(OrderBook(symbol, ts, bids, np.array([3.0, 1.0]), asks, np.array([1.0, 1.0]), n), **change)


class RecordingCache:
    """A cache that remembers what it is told, to be compared with what the pipeline says."""

    def __init__(self) -> None:
        self.items: list[Candle | Trade | OrderBook | OrderBookImbalances] = []

    def put(self, item: Any) -> None:
        self.items.append(item)

    put_candle = put_trade = put_orderbook = put_imbalances = put

    def discard(self, item: Any) -> bool:
        self.items.remove(item)
        return True

    def of(self, kind: type) -> list[Any]:
        return [item for item in self.items if type(item) is kind]


@asynccontextmanager
async def pipeline(
    engine: AsyncEngine, outbox: Path | None, settings: IngestionSettings = QUICK, **options: Any
) -> AsyncIterator[DataIngestionPipeline]:
    async with DataIngestionPipeline(engine, outbox=outbox, settings=settings, **options) as opened:
        yield opened


async def stored_closes(engine: AsyncEngine, symbol: str = BTC) -> dict[int, float]:
    """Return the closes of the stored 1m candles by their place after the first."""
    async with UnitOfWork(engine) as uow:
        if await uow.instruments.find(symbol) is None:
            return {}
        frame = await uow.candles.query_ohlcv_data(symbol, "1m")
    return {round((ts - START).total_seconds() / 60): close for ts, close in frame["close"].items()}


async def stored_trades(engine: AsyncEngine, symbol: str = BTC) -> list[int]:
    async with UnitOfWork(engine) as uow:
        return list((await uow.trades.query_trades(symbol))["trade_id"])


async def scalar(engine: AsyncEngine, statement: str) -> Any:
    async with engine.connect() as conn:
        return await conn.scalar(text(statement))


async def execute(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as conn:
        for statement in statements:
            await conn.execute(text(statement))
