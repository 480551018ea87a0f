"""The drop-in on a real feed: socket of a local Binance, pipeline, cache, database, and the old methods."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import datalayer.sync
from datalayer import DataIngestionPipeline, UnitOfWork
from datalayer.integrations.data_provider import DataProvider
from datalayer.integrations.data_provider.exchange_candles import ExchangeCandles
from datalayer.integrations.feeds import Feed
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.market import load_market, shifted
from tests.integration.feeds.feeding import BTC, QUICK, binance, check_trades

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings, UnifiedDataProvider

MESSAGES = 4_000
"""About two minutes."""


async def wait_for(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 (no event of ours tells)
            await asyncio.sleep(0.05)


async def test_old_methods_on_a_live_feed(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
    recorded = load_market(most=MESSAGES)
    minute_ms = 60_000
    # At the latest whole minute, so that the last trade has just happened.
    shift = (
        int(time.time() * 1_000) // minute_ms * minute_ms - recorded.trades[-1]["T"] // minute_ms * minute_ms
    )
    market = shifted(recorded, shift - minute_ms)
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(BTC, 2, 5)
        await uow.commit()
    async with BinanceServer([market]) as server:

        @asynccontextmanager
        async def feed(provider: UnifiedDataProvider) -> AsyncIterator[None]:
            async with (
                DataIngestionPipeline(
                    provider.database, outbox=tmp_path / "outbox", cache=provider.cache
                ) as pipeline,
                Feed(binance(server), [BTC], pipeline=pipeline, candles=["1s", "1m"], settings=QUICK),
            ):
                yield

        def use(sync: datalayer.sync.UnifiedDataProvider) -> DataProvider:
            made = DataProvider(sync, feed=feed, fetch=ExchangeCandles(binance(server), QUICK))
            made.subscribe(seen.append)
            made.start_real_time_streaming()
            return made

        seen: list[dict[str, Any]] = []
        sync = datalayer.sync.UnifiedDataProvider(settings, symbols=[BTC])
        await asyncio.to_thread(sync.open)
        provider = await asyncio.to_thread(use, sync)
        await server.play()
        last = market.trades[-1]
        await wait_for(lambda: seen and seen[-1]["trade_id"] == last["t"])
        price = await asyncio.to_thread(provider.get_current_price, BTC)
        book = await asyncio.to_thread(provider.get_order_book, BTC, 5)
        fetched = await asyncio.to_thread(provider.get_historical_data, BTC, "1m", 5, refresh=True)
        await asyncio.to_thread(provider.close)
        await asyncio.to_thread(sync.close)
    ids = [event["trade_id"] for event in seen]
    assert ids == [trade["t"] for trade in market.trades if trade["t"] >= ids[0]]
    assert price is not None
    assert (price, price.source) == (float(last["p"]), "trade")
    assert round(price.at.timestamp() * 1_000) == last["T"]
    assert book is not None
    assert book["bids"][0][0] < book["asks"][0][0]
    assert fetched.attrs["refreshed"]
    closed = [kline for kline in market.klines["1m"] if kline["T"] < market.now_ms]
    assert len(closed) >= 2
    fetched_at = dict(zip(fetched.index.as_unit("ms").asi8.tolist(), fetched["close"], strict=True))
    assert {kline["t"]: float(kline["c"]) for kline in closed}.items() <= fetched_at.items()
    assert await check_trades(engine, market, []) == len(market.trades)
