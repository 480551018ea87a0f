"""Binance, replayed by a local server: socket, pipeline, cache, database and provider."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from datalayer import DataCacheManager, Timeframe, UnifiedDataProvider, UnitOfWork
from datalayer.integrations.binance.spot import BinanceSpot
from datalayer.integrations.feeds import Channel
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.market import load_market, shifted
from tests.integration.feeds.feeding import (
    binance,
    check_books,
    check_candles,
    check_trades,
    feeding,
    seen_all,
    stored_gaps,
    timeframes,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.integrations.feeds import Quote

MINUTE_MS = 60_000
A_WHILE = 4_000
"""Messages: about two minutes."""


class Split(BinanceSpot):
    """Binance, with room for three streams on a connection."""

    limits = replace(BinanceSpot.limits, streams_per_connection=3)


async def test_symbols_and_streams_over_several_connections(engine: AsyncEngine, tmp_path: Path) -> None:
    markets = [load_market(pair, most=600, quotes=True) for pair in ("BTCUSDT", "ETHUSDT")]
    quotes: list[Quote] = []
    async with BinanceServer(markets) as server:
        exchange = Split(socket_url=server.socket_url, rest_url=server.rest_url, time_unit="ms")
        options = {"candles": [], "channels": list(Channel), "on_quote": quotes.append}
        async with feeding(
            engine, tmp_path / "o", exchange, symbols=["btcusdt", "ETH-USDT"], **options
        ) as feed:
            for market in markets:
                await server.play(market.pair)
            await seen_all(feed, *markets)
            sent = [step for market in markets for step in market.steps if step.kind == "bookTicker"]
            async with asyncio.timeout(30):
                while len(quotes) < len(sent):  # noqa: ASYNC110 (on another connection than the trades)
                    await asyncio.sleep(0.01)
            assert [one.streams for one in feed.statistics.connections] == [3, 3]
    assert {quote.symbol for quote in quotes} == {"BTC/USDT", "ETH/USDT"}
    assert [quote.update_id for quote in quotes] == [step.data["u"] for step in sent]
    await check_trades(engine, markets[0], [], first_id=markets[0].trades[0]["t"])
    async with UnitOfWork(engine) as uow:
        assert len(await uow.trades.query_trades("ETH/USDT")) == len(markets[1].trades)
        seconds = await uow.candles.query_ohlcv_data("BTC/USDT", "1s")
    inside = [candle["t"] for candle in markets[0].klines["1s"][1:] if candle["n"]]
    assert (seconds.index.asi8 // 1_000).tolist() == inside  # type: ignore[attr-defined]


async def test_everything_arrives(engine: AsyncEngine, tmp_path: Path) -> None:
    recorded, cache = load_market(most=A_WHILE), DataCacheManager()
    ago_ms = time.time() * 1_000 - recorded.steps[-1].data["E"]
    market = shifted(recorded, int(ago_ms // MINUTE_MS) * MINUTE_MS)  # its end is not a minute ago
    async with (
        BinanceServer([market]) as server,
        feeding(engine, tmp_path / "o", binance(server), candles=timeframes(), cache=cache) as feed,
        UnifiedDataProvider(engine, cache=cache) as provider,
    ):
        await server.play()
        await seen_all(feed, market)
        statistics = feed.statistics
        live = await provider.get_inference_data("BTC/USDT", timeframes=timeframes())
        await feed.stop()
        await feed._pipeline.flush()
        later = await provider.get_inference_data("BTC/USDT", live.as_of, timeframes=timeframes())
    assert "cache" in live.sources["candles.1s"]
    assert live.sources["order_book"] == "cache"
    assert live.order_book is not None
    assert live.order_book == later.order_book
    for timeframe in timeframes():
        pd.testing.assert_frame_equal(live.candles[timeframe], later.candles[timeframe])
    assert len(live.candles[Timeframe.S1]) == 100
    assert await stored_gaps(engine) == []
    assert await check_trades(engine, market, [], first_id=market.trades[0]["t"]) == len(market.trades)
    closed = [step.data["k"] for step in market.steps if "kline" in step.stream and step.data["k"]["x"]]
    for label in ("1s", "1m"):
        opens = [candle["t"] for candle in closed if candle["i"] == label]
        first = market.klines[label][0]["t"]
        assert await check_candles(engine, market, label, start_ms=first, end_ms=opens[-1] + 1) >= 2
    assert await check_books(engine, market, []) > 200
    assert statistics.is_healthy
    assert statistics.events["trades"] == len(market.trades)
    assert statistics.events["forming"] > 100
    assert dict(statistics.faults) == {"repeated": statistics.faults["repeated"]}
