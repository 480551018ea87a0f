"""What the tests of the old component run on: itself, and the drop-in."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

import datalayer.sync
from datalayer import (
    Candle,
    DataCacheManager,
    DataIngestionPipeline,
    DataMigrationManager,
    OrderBook,
    Timeframe,
    UnitOfWork,
)
from datalayer.cache import CacheSettings
from datalayer.integrations.data_provider import DataProvider, LegacySettings
from datalayer.provider import ProviderSettings
from tests.legacy import old_data_provider
from tests.legacy.local_exchange import LocalExchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings, UnifiedDataProvider
    from datalayer.integrations.data_provider import FetchCandles, StartFeed

SYMBOLS, TIMEFRAMES = ["BTC/USDT", "ETH/USDT"], ["1m", "1h"]
AnyProvider: TypeAlias = old_data_provider.DataProvider | DataProvider


@pytest.fixture
def exchange() -> LocalExchange:
    """At 10:00 on the first of August 2024, after ten hours of real candles."""
    return LocalExchange(600)


@pytest.fixture
def cache_dir(tmp_path: Path, exchange: LocalExchange) -> Path:
    """The cache as the old component left it, with `BTCUSDT_1m.parquet` and `BTCUSDT_1h.parquet`."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for timeframe in TIMEFRAMES:
        exchange.history(timeframe).reset_index().to_parquet(folder / f"BTCUSDT_{timeframe}.parquet")
    return folder


@pytest.fixture
async def migrated_cache(engine: AsyncEngine, cache_dir: Path) -> AsyncEngine:
    """The database, with that cache in it."""
    report = await DataMigrationManager(engine, cache_dir).migrate()
    assert report.is_right
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure("ETH/USDT", 2, 5)
        await uow.commit()
    return engine


@pytest.fixture
def market(
    migrated_cache: AsyncEngine, settings: Settings, exchange: LocalExchange
) -> Iterator[datalayer.sync.UnifiedDataProvider]:
    """A provider that lives in the exchange's time."""
    del migrated_cache

    def clock() -> datetime:
        return exchange.now

    with datalayer.sync.UnifiedDataProvider(
        settings,
        symbols=SYMBOLS,
        timeframes=TIMEFRAMES,
        cache=DataCacheManager(CacheSettings(settle_s=0), clock=clock),
        provider_settings=ProviderSettings(settle_s=0),
        clock=clock,
    ) as provider:
        yield provider


def feed_of(exchange: LocalExchange, outbox: Path) -> StartFeed:
    """Return what streams from an exchange for which the library has no adapter."""

    @asynccontextmanager
    async def feed(market: UnifiedDataProvider) -> AsyncIterator[None]:
        def clock() -> float:
            return exchange.now.timestamp()

        async with DataIngestionPipeline(
            market.database, outbox=outbox, cache=market.cache, clock=clock
        ) as pipeline:
            messages, hang_up = exchange.connect()

            async def stream() -> None:
                while (text := await asyncio.to_thread(next, messages, None)) is not None:
                    await ingest(pipeline, json.loads(text))

            task = asyncio.create_task(stream())
            try:
                yield
            finally:
                hang_up()
                await task

    return feed


async def ingest(pipeline: DataIngestionPipeline, message: dict[str, Any]) -> None:
    """Hand a message in."""
    ts = datetime.fromtimestamp(message["E"] / 1_000, UTC)
    if message["e"] == "trade":
        values = {"symbol": message["s"], "ts": ts, "trade_id": message["t"], "side": 1}
        await pipeline.ingest_trade(values | {"price": message["p"], "size": message["q"]})
    elif message["e"] == "kline":
        kline = message["k"]
        labels = {"symbol": message["s"], "timeframe": kline["i"], "is_forming": not kline["x"]}
        opened = datetime.fromtimestamp(kline["t"] / 1_000, UTC)
        names = ("open", "high", "low", "close", "volume")
        await pipeline.ingest_ohlcv_candle(labels | {"ts": opened} | {n: kline[n[0]] for n in names})
    else:
        sides = [np.array(message[side], np.float64).T for side in ("b", "a")]
        await pipeline.ingest_orderbook_snapshot(OrderBook("BTC/USDT", ts, *sides[0], *sides[1]))


def fetch_from(exchange: LocalExchange) -> FetchCandles:
    """Return what asks the exchange by its blocking client."""

    async def fetch(symbol: str, timeframe: Timeframe, start: datetime, end: datetime) -> list[Candle]:
        limit = int((end - start) / timeframe.length) + 1
        rows = await asyncio.to_thread(exchange.fetch_ohlcv, symbol, timeframe.label, limit)
        return [
            Candle(symbol, timeframe, datetime.fromtimestamp(ms / 1_000, UTC), *values)
            for ms, *values in rows
        ]

    return fetch


@pytest.fixture(params=["old", "drop-in"])
def provider(
    request: pytest.FixtureRequest, exchange: LocalExchange, cache_dir: Path, tmp_path: Path
) -> Iterator[Any]:
    """The component under test."""
    if request.param == "old":
        made: Any = old_data_provider.DataProvider(SYMBOLS, TIMEFRAMES, str(cache_dir), exchange)
    else:
        made = DataProvider(
            request.getfixturevalue("market"),
            settings=LegacySettings(forming_is_latest=True),
            feed=feed_of(exchange, tmp_path / "market.outbox"),
            fetch=fetch_from(exchange),
        )
    yield made
    made.close()
