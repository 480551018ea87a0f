"""Two live feeds, of Binance and of Coinbase, on local exchanges, into one consolidated book."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from datalayer import DataCacheManager, DataIngestionPipeline, UnitOfWork
from datalayer.ingestion.outcomes import Ingested
from datalayer.integrations.cob import ConsolidatedBookPublisher, Consolidator
from datalayer.integrations.coinbase import CoinbaseExchange
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.coinbase import CoinbaseServer
from tests.exchange_server.market import load_market
from tests.fake_clock import Clock
from tests.integration.feeds.feeding import BTC, binance, feeding

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

A_WHILE = 1_500
"""Messages: less than a minute."""


async def test_live_feeds_of_two_exchanges_are_one_book(engine: AsyncEngine, tmp_path: Path) -> None:
    markets = load_market(most=A_WHILE), load_market(most=A_WHILE)
    for _ in range(100):  # the recording begins before its snapshot
        markets[1].advance()
    clock = Clock(datetime.fromtimestamp(markets[0].trades[-1]["T"] / 1_000, UTC))
    caches = {name: DataCacheManager(clock=clock) for name in ("binance", "coinbase")}
    books = Consolidator(
        BTC, caches, price_scale=2, size_scale=8, bucket="0.5", stale_after_s=300, clock=clock
    )
    for name, cache in caches.items():
        books.follow(cache, name)
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(books.symbol, 2, 8)
        await uow.commit()
    async with (
        BinanceServer([markets[0]]) as first,
        CoinbaseServer([markets[1]]) as second,
        DataIngestionPipeline(engine, outbox=None) as pipeline,
        # Both write BTC/USDT here, and only one of them should; it is not looked at.
        feeding(engine, tmp_path / "one", binance(first), cache=caches["binance"]),
        feeding(
            engine,
            tmp_path / "two",
            CoinbaseExchange(socket_url=second.socket_url, rest_url=second.rest_url),
            cache=caches["coinbase"],
        ),
    ):
        publisher = ConsolidatedBookPublisher(books, pipeline, min_venues=2)
        async with asyncio.timeout(60):
            for end in range(300, A_WHILE + 1, 100):
                await asyncio.gather(first.play(end=end), second.play(end=end))
                await publisher.publish()
            while publisher.outcomes[Ingested.ACCEPTED] < 5:
                await asyncio.sleep(0.05)
                await publisher.publish()
        last = books.find_book()
        assert last is not None
        await pipeline.flush()
    async with UnitOfWork(engine) as uow:
        stored = await uow.order_books.query_orderbook_snapshots(books.symbol)
    assert len(stored) == publisher.outcomes[Ingested.ACCEPTED] >= 5
    assert set(stored.last_update_ids) == {0b11}
    assert last.stale == {}
    # The same market twice: as far as both have come, each level has two halves.
    assert (last.bids.contributions > 0).any(axis=0).all()
    assert (last.asks.contributions > 0).any(axis=0).all()
