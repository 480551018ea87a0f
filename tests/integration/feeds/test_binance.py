"""Binance, replayed by a local server: socket, pipeline, cache, database and provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

A_WHILE = 4_000
"""Messages: about two minutes."""


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
