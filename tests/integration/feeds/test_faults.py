"""Everything that goes wrong between an exchange and a feed; every event is accounted for in the end.

DATALAYER_TEST_SEEDS=20 tries as many random courses of a longer market.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from aiohttp import web

from datalayer import CoverageRepository, UnifiedDataProvider, UnitOfWork
from datalayer.integrations.coinbase import CoinbaseExchange
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.coinbase import CoinbaseServer
from tests.exchange_server.market import load_market
from tests.exchange_server.server import Fault
from tests.integration.feeds.feeding import (
    BTC,
    binance,
    check_books,
    check_candles,
    check_everything,
    check_trades,
    feeding,
    place_of,
    seen_all,
    stored_gaps,
    timeframes,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.exchange_server.market import Market

SEEDS = int(os.environ.get("DATALAYER_TEST_SEEDS", "0"))
SHORT, LONG = 2_500, 20_000
KINDS = ("cut", "drop", "slow", "twice", "swap", "garbage")


SECOND = pd.Timedelta("1s")


def misfortunes(market: Market, seed: int, count: int) -> dict[int, Fault]:
    """Faults at random messages, not too near to the ends."""
    dice = random.Random(seed)  # noqa: S311
    places = dice.sample(range(300, len(market.steps) - 500, 60), count)
    faults = {}
    for place in places:
        kind = dice.choice(KINDS)
        size = dice.randint(1, 400) if kind == "cut" else dice.randint(1, 5)
        faults[place] = Fault(kind, size)
    faults[places[0]] = Fault("stall", 200)
    return faults


async def stormy(engine: AsyncEngine, outbox: Path, market: Market, seed: int, count: int) -> BinanceServer:
    faults = misfortunes(market, seed, count)
    dice = random.Random(seed)  # noqa: S311
    async with (
        BinanceServer([market], faults) as server,
        feeding(engine, outbox, binance(server), candles=timeframes()) as feed,
    ):
        server.old_snapshots = 2
        for place in range(0, len(market.steps), 1_000):
            for _ in range(dice.randint(0, 2)):
                status = dice.choice([500, 429, 418])
                answer = web.Response(status=status, headers={"Retry-After": "0"}, text="busy")
                server.rest_answers.append(answer)
            await server.play(end=min(place + 1_000, len(market.steps)))
        await seen_all(feed, market, wait_s=120)
    return server


@pytest.mark.parametrize("seed", range(2))
async def test_a_storm(engine: AsyncEngine, tmp_path: Path, seed: int) -> None:
    market = load_market(most=SHORT)
    server = await stormy(engine, tmp_path / "o", market, seed, 8)
    await check_everything(engine, market, server.sent_garbage)


@pytest.mark.skipif(not SEEDS, reason="DATALAYER_TEST_SEEDS is not set")
@pytest.mark.parametrize("seed", range(100, 100 + SEEDS))
async def test_a_longer_storm(engine: AsyncEngine, tmp_path: Path, seed: int) -> None:
    market = load_market(most=LONG)
    server = await stormy(engine, tmp_path / "o", market, seed, 60)
    await check_everything(engine, market, server.sent_garbage)


async def test_what_cannot_be_read_is_kept_and_stops_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    market = load_market(most=1_000)
    faults = {400: Fault("garbage"), 500: Fault("twice", 9), 600: Fault("swap", 2), 700: Fault("garbage")}
    async with (
        BinanceServer([market], faults) as server,
        feeding(engine, tmp_path / "o", binance(server), candles=timeframes()) as feed,
    ):
        await server.play()
        await seen_all(feed, market)
        counts = feed.statistics.faults
        assert counts["malformed"] + counts["unknown"] == server.sent_garbage
        assert counts["repeated"] >= 8
        assert feed.statistics.connections[0].reconnects == 0
    async with UnitOfWork(engine) as uow:
        rejects = await uow.rejects.list_rejects(limit=100)
    kept = [str(reject.decoded().received, "utf-8") for reject in rejects]  # type: ignore[arg-type]
    assert sorted(kept) == sorted(server.garbage)  # quarantine keeps what is equal once
    await check_trades(engine, market, [], first_id=market.trades[0]["t"])


async def test_what_the_exchange_does_not_have_stays_visible(engine: AsyncEngine, tmp_path: Path) -> None:
    """REST refuses: holes are open, and everything else is there."""
    market = load_market(most=SHORT)
    place = place_of(market, "trade", 1_000)
    async with (
        BinanceServer([market], {place: Fault("cut", 300)}) as server,
        feeding(engine, tmp_path / "o", binance(server), candles=timeframes()) as feed,
    ):
        await server.play(end=place)
        first_missing = next(t["t"] for t in market.trades if t is market.steps[place].data)
        market.known_trades = lambda *_: []  # type: ignore[method-assign]
        await server.play()
        await seen_all(feed, market)
        assert feed.statistics.gaps == {"lost": 2, "filled": feed.statistics.gaps.get("filled", 0)}
    gaps = await stored_gaps(engine)
    lost = [gap for gap in gaps if gap.kind == "trades"]
    assert [(gap.state, gap.first_id, gap.cause) for gap in lost] == [("lost", first_missing, "reconnect")]
    assert lost[0].missing == lost[0].last_id - first_missing + 1  # type: ignore[operator]
    await check_trades(engine, market, gaps)
    await check_books(engine, market, gaps)
    async with engine.connect() as conn:
        report = await CoverageRepository(conn).query_coverage(
            BTC, "1s", lost[0].start, lost[0].end, as_of=lost[0].end
        )
    assert lost[0] in report.feed_gaps
    async with UnifiedDataProvider(engine) as provider:
        assert await provider.list_feed_gaps([BTC]) == [gap for gap in gaps if gap.state != "filled"]


async def test_a_restart_goes_on_where_it_was(engine: AsyncEngine, tmp_path: Path) -> None:
    market = load_market(most=SHORT)
    async with BinanceServer([market]) as server:
        async with feeding(engine, tmp_path / "o", binance(server), candles=timeframes()):
            await server.play(end=1_000)
        for _ in range(500):  # nobody listens
            market.advance()
        server._wanted.clear()
        async with feeding(engine, tmp_path / "o", binance(server), candles=timeframes()) as feed:
            await server.play()
            await seen_all(feed, market)
    gaps = await stored_gaps(engine)
    assert {(gap.kind, gap.state) for gap in gaps if gap.cause == "restart"} >= {
        ("trades", "filled"),
        ("order_books", "lost"),
    }
    await check_everything(engine, market, 0)


async def test_holes_that_nobody_noted_are_found_at_the_start(engine: AsyncEngine, tmp_path: Path) -> None:
    """As if the process had died between a hole and its note."""
    market = load_market(most=SHORT)
    async with BinanceServer([market]) as server:
        async with feeding(engine, tmp_path / "o", binance(server), candles=timeframes()):
            await server.play(end=1_500)
        async with UnitOfWork(engine) as uow:
            trades = await uow.trades.query_trades(BTC)
            removed = trades["trade_id"].iloc[40:60].tolist()
            for statement in (
                f"DELETE FROM trades WHERE trade_id BETWEEN {removed[0]} AND {removed[-1]}",
                "DELETE FROM candles WHERE timeframe = 1 AND ts IN (SELECT ts FROM candles WHERE timeframe = 1 ORDER BY ts OFFSET 5 LIMIT 3)",
            ):
                await uow.connection.exec_driver_sql(statement)
            await uow.commit()
        server._wanted.clear()
        async with feeding(engine, tmp_path / "o", binance(server), candles=timeframes()) as feed:
            await server.play()
            await seen_all(feed, market)
    found = [gap for gap in await stored_gaps(engine) if gap.cause == "restart"]
    assert (removed[0], removed[-1]) in {(gap.first_id, gap.last_id) for gap in found}
    await check_everything(engine, market, 0)


async def test_coinbase_by_the_same_runner(engine: AsyncEngine, tmp_path: Path) -> None:
    """1s candles are made from trades, in spite of all that goes wrong."""
    market = load_market(most=SHORT)
    plan = misfortunes(market, 7, 8)
    async with CoinbaseServer([market], plan) as server:
        exchange = CoinbaseExchange(socket_url=server.socket_url, rest_url=server.rest_url)
        for _ in range(100):  # the recording begins before its snapshot
            market.advance()
        async with feeding(engine, tmp_path / "o", exchange) as feed:
            await server.play()
            await seen_all(feed, market)
            assert feed.statistics.events["candles"] > 20
            assert feed.statistics.events["order_books"] > 50
    gaps = await stored_gaps(engine)
    stored = await check_trades(engine, market, gaps)
    assert stored > 500
    async with UnitOfWork(engine) as uow:
        trades = await uow.trades.query_trades(BTC)
        seconds = await uow.candles.query_ohlcv_data(BTC, "1s")
    begin, end = trades.index[0].floor("1s") + SECOND, trades.index[-1].floor("1s")
    assert seconds.index[0] >= begin
    span = int(begin.timestamp() * 1_000), int(end.timestamp() * 1_000)
    await check_candles(engine, market, "1s", start_ms=span[0], end_ms=span[1], silent=False)
