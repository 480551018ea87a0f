"""Consolidated books from the feeds of two venues through pipeline, cache and database to the provider."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer import (
    DataCacheManager,
    DataIngestionPipeline,
    MarketHistory,
    OrderBook,
    OrderBookColumns,
    UnifiedDataProvider,
    UnitOfWork,
)
from datalayer.domain.imbalances_by_columns import imbalances_at_books
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.domain.scales import Scales
from datalayer.errors import IngestionClosedError, InvalidInputError
from datalayer.ingestion import IngestionSettings
from datalayer.ingestion.outcomes import Ingested
from datalayer.integrations.cob import ConsolidatedBookPublisher, Consolidator, Venue
from tests.fake_clock import Clock
from tests.market_books import capture_books

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

TETHER, DOLLAR, BOTH = "BTC/USDT", "BTC/USD", "BTCCOB/USDT"
SETTINGS = IngestionSettings(
    unknown_instruments="register",
    flush_after_s=0.05,
    scales={symbol: Scales(2, 5) for symbol in (TETHER, DOLLAR, BOTH)},
)
LATE = 6
"""How many books, half a second apart, the second venue is behind."""


def dollars(book: OrderBook, late: OrderBook) -> OrderBook:
    """The market of another venue: what this one was some seconds ago, a little dearer."""
    bids, asks = ((prices + 1.5).round(2) for prices in (late.bid_prices, late.ask_prices))
    return OrderBook(DOLLAR, book.ts, bids, late.bid_sizes, asks, late.ask_sizes, late.last_update_id)


def joined(books: list[OrderBook]) -> OrderBookColumns:
    """Return snapshots by columns, padded."""

    def wide(name: str) -> Any:
        sides = [getattr(book, name) for book in books]
        return np.array([np.pad(side, (0, 20 - len(side)), constant_values=np.nan) for side in sides])

    levels = {name: wide(name) for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")}
    times = np.array([book.ts.replace(tzinfo=None) for book in books], "datetime64[us]")
    return OrderBookColumns(times, **levels, last_update_ids=np.array([b.last_update_id for b in books]))


async def test_two_venues_through_everything(engine: AsyncEngine, tmp_path: Path) -> None:
    real = capture_books("BTCUSDT")
    clock = Clock(real.book(0, TETHER).ts)
    cache = DataCacheManager(clock=clock)
    venues = ["binance", Venue("coinbase", DOLLAR)]
    options: dict[str, Any] = {"price_scale": 2, "size_scale": 5, "bucket": "0.1", "stale_after_s": 3}
    books = Consolidator(TETHER, venues, clock=clock, **options)
    stop = books.follow(cache)
    made: list[OrderBook] = []
    async with DataIngestionPipeline(
        engine,
        outbox=tmp_path / "outbox",
        cache=cache,
        settings=SETTINGS,
        clock=lambda: clock.now.timestamp(),  # noqa: PLW0108 (the clock moves)
    ) as pipeline:
        publisher = ConsolidatedBookPublisher(books, pipeline)
        assert await publisher.publish() is None
        for row in range(LATE, 300):
            first = real.book(row, TETHER)
            clock.now = first.ts
            await pipeline.ingest_orderbook_snapshot(first)
            if not 100 <= row < 150:  # its connection is lost for a while
                await pipeline.ingest_orderbook_snapshot(dollars(first, real.book(row - LATE, TETHER)))
            assert await publisher.publish() is Ingested.ACCEPTED
            latest = cache.get_latest_orderbook(BOTH)
            assert latest is not None
            made.append(latest)
        stop()
        await pipeline.flush()
        names = [books.venues_of(book.last_update_id or 0) for book in made]
        assert names.count(("binance",)) == pytest.approx(50 - 6, abs=2)  # stale after 3 s
        assert names.count(("binance", "coinbase")) == len(made) - names.count(("binance",))

        assert [book.ts for book in made] == [real.book(row, TETHER).ts for row in range(LATE, 300)]
        assert 0 < publisher.crossed < len(made)
        assert cache.get_latest_orderbook(TETHER) == first  # beside the consolidated one

    # The database has all of them, to the last digit, and imbalances as the definition says.
    async with UnitOfWork(engine) as uow:
        stored = await uow.order_books.query_orderbook_snapshots(BOTH)
        assert [stored.book(row, BOTH) for row in range(len(stored))] == made
        kept = await uow.imbalances.query_orderbook_imbalances(BOTH)
        assert len(await uow.order_books.query_orderbook_snapshots(TETHER)) == len(made)
    nothing = pd.DataFrame(
        {"trade_id": np.zeros(0, np.int64), "size": np.zeros(0), "side": np.zeros(0, np.int8)},
        index=pd.DatetimeIndex([], tz="UTC"),
    )
    since = made[0].ts - timedelta(microseconds=1)
    expected = imbalances_at_books(joined(made), nothing, size_scale=5, since=since)
    pd.testing.assert_frame_equal(
        kept[list(IMBALANCES)],
        expected[list(IMBALANCES)],
        check_exact=True,
        check_freq=False,
        check_names=False,
    )

    # The provider answers of it as of any instrument, now from the cache and of then from the database.
    async with UnifiedDataProvider(engine, cache=cache, clock=clock) as market:
        for book in (made[50], made[120], made[-1]):
            then = await market.get_order_book_data(BOTH, book.ts)
            assert then.timestamp == book.ts
            assert then.bids["price"].tolist() == book.bid_prices.tolist()
            assert then.asks["size"].tolist() == book.ask_sizes.tolist()
        answer = await market.get_inference_data("btccob_usdt", made[-1].ts)
        assert answer.order_book is not None
    async with MarketHistory(engine).replay([BOTH, TETHER], start=made[0].ts, order_books=True) as events:
        assert [event.record async for event in events if event.symbol == BOTH] == made


async def test_the_publisher_keeps_its_pace_and_withholds_what_is_too_little(engine: AsyncEngine) -> None:
    real = capture_books("BTCUSDT").book(0, TETHER)

    def fresh() -> OrderBook:
        sides = (real.bid_prices, real.bid_sizes, real.ask_prices, real.ask_sizes)
        return OrderBook(TETHER, datetime.now(UTC), *sides)

    books = Consolidator(TETHER, ["one", "two"], price_scale=2, size_scale=5)
    async with DataIngestionPipeline(engine, outbox=None, settings=SETTINGS) as pipeline:
        publisher = ConsolidatedBookPublisher(books, pipeline, cadence_s=0.05, levels=5, min_venues=2)
        books.update("one", fresh())
        assert await publisher.publish() is None
        books.update("two", fresh())
        running = asyncio.create_task(publisher.run())
        async with asyncio.timeout(20):
            while publisher.outcomes[Ingested.ACCEPTED] < 4:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert publisher.withheld == 1
    assert publisher.crossed == 0
    async with UnitOfWork(engine) as uow:
        stored = await uow.order_books.query_orderbook_snapshots(BOTH)
    assert len(stored) == publisher.outcomes[Ingested.ACCEPTED]
    assert stored.bid_prices.shape[1] == 5
    assert set(stored.last_update_ids) == {0b11}
    assert stored.bid_sizes[0].tolist() == pytest.approx((2 * real.bid_sizes[:5]).tolist())
    with pytest.raises(IngestionClosedError):
        await publisher.publish()
    for options in ({"cadence_s": 0}, {"levels": 0}, {"min_venues": 3}):
        with pytest.raises(InvalidInputError):
            ConsolidatedBookPublisher(books, pipeline, **options)  # type: ignore[arg-type]
