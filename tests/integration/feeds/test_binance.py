"""Binance, replayed by a local server: socket, pipeline, cache, database and provider."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from datalayer import UnitOfWork
from datalayer.integrations.binance.spot import BinanceSpot
from datalayer.integrations.feeds import Channel
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.market import load_market
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
            await asyncio.sleep(0.2)  # the other connections
            assert [one.streams for one in feed.statistics.connections] == [3, 3]
    sent = [step for market in markets for step in market.steps if step.kind == "bookTicker"]
    assert {quote.symbol for quote in quotes} == {"BTC/USDT", "ETH/USDT"}
    assert [quote.update_id for quote in quotes] == [step.data["u"] for step in sent]
    await check_trades(engine, markets[0], [], first_id=markets[0].trades[0]["t"])
    async with UnitOfWork(engine) as uow:
        assert len(await uow.trades.query_trades("ETH/USDT")) == len(markets[1].trades)
        seconds = await uow.candles.query_ohlcv_data("BTC/USDT", "1s")
    inside = [candle["t"] for candle in markets[0].klines["1s"][1:] if candle["n"]]
    assert (seconds.index.asi8 // 1_000).tolist() == inside  # type: ignore[attr-defined]


async def test_everything_arrives(engine: AsyncEngine, tmp_path: Path) -> None:
    market = load_market(most=A_WHILE)
    async with (
        BinanceServer([market]) as server,
        feeding(engine, tmp_path / "o", binance(server), candles=timeframes()) as feed,
    ):
        await server.play()
        await seen_all(feed, market)
        statistics = feed.statistics
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
