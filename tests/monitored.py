"""A data layer that has done a bit of everything, so that every metric has a value."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from datalayer import DataCacheManager, DataIngestionPipeline, UnifiedDataProvider
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.integrations.feeds import ConnectionStatistics, FeedStatistics
from datalayer.monitoring import DatabaseWatch
from datalayer.monitoring.metrics import DatabaseCollector, FeedCollector, ServiceMetrics, serve_metrics
from datalayer.timescale import compress_chunks
from tests.integration.ingestion.market import BTC, ETH, QUICK, book, candle, trade
from tests.no_server import engine_on_nothing
from tests.scraping import Scrape, scrape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from datalayer.config import Settings

CANDLES, TRADES, BOOKS = 30, 20, 10
FEED = FeedStatistics(
    "binance",
    (ConnectionStatistics(3, datetime.now(UTC), 0.5, 1, 0, "lost"),),
    events={"trades": 20},
    faults={"late": 1},
    gaps={"filled": 1},
    invalid_books=(BTC,),
)


@dataclass
class Monitored:
    """A service and what it tells."""

    database: DatabaseConnectionManager
    cache: DataCacheManager
    pipeline: DataIngestionPipeline
    metrics: ServiceMetrics
    watch: DatabaseWatch
    address: str

    async def scrape(self) -> Scrape:
        await self.watch.look()
        return await scrape(self.address)


@asynccontextmanager
async def monitored(settings: Settings, folder: Path) -> AsyncIterator[Monitored]:
    """A pipeline with a cache, watched; BTC/USDT is configured, ETH/USDT is not."""
    metrics, cache = ServiceMetrics(), DataCacheManager()
    async with (
        DatabaseConnectionManager(settings) as database,
        DataIngestionPipeline(
            database, outbox=folder / "outbox", cache=cache, settings=QUICK, hooks=metrics.hooks
        ) as pipeline,
    ):
        watch = DatabaseWatch(database, symbols=[BTC])
        metrics.watch(
            database=database, cache=cache, pipeline=pipeline, symbols=["BTCUSDT"], folders={"outbox": folder}
        )
        metrics.registry.register(DatabaseCollector(watch))
        metrics.registry.register(
            FeedCollector(lambda: FEED)
        )  # a real one: tests/integration/feeds/test_cli_ingest.py
        with serve_metrics(metrics, port=0) as address:
            yield Monitored(database, cache, pipeline, metrics, watch, address)


async def work(service: Monitored) -> None:
    """Take records of an hour ago in, refuse one, read; BTC/USDT has a hole of two candles."""
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)
    pipeline = service.pipeline
    for n in [*range(10), *range(12, CANDLES + 2)]:
        await pipeline.ingest_ohlcv_candle(candle(ts=start + timedelta(minutes=n)))
    for n in range(TRADES):
        await pipeline.ingest_trade(trade(n, ts=start + timedelta(seconds=n)))
    for n in range(BOOKS):
        await pipeline.ingest_orderbook_snapshot(book(n, ts=start + timedelta(seconds=n)))
    await pipeline.ingest_ohlcv_candle(candle(symbol=ETH, ts=start))
    await pipeline.ingest_trade(trade(price=-1.0))
    await pipeline.flush()
    service.cache.get_latest_ohlcv(BTC, "1m", 5)
    service.cache.get_latest_orderbook(ETH)
    async with UnifiedDataProvider(service.database, cache=service.cache) as market:
        await market.get_multi_timeframe_data(BTC, ["1m"], limit=5, as_of=start + timedelta(minutes=20))
        await market.get_trades(BTC, start)
    await compress_chunks(service.database.engine, "candles")


async def fail_once(service: Monitored, folder: Path) -> None:
    """Let a write fail, as when the database is away; its metrics go where the others do."""
    async with engine_on_nothing() as away:
        pipeline = DataIngestionPipeline(
            away, outbox=folder / "away", settings=replace(QUICK, lookup_s=0.1), hooks=service.metrics.hooks
        )
        await pipeline.open()
        await pipeline.ingest_trade(trade())
        async with asyncio.timeout(30):
            while "datalayer_ingestion_retries_total{" not in (await scrape(service.address)).text:  # noqa: ASYNC110 (another thread answers)
                await asyncio.sleep(0.05)
        await pipeline.close(timeout_s=0)
