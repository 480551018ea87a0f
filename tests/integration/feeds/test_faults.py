"""Everything that goes wrong between an exchange and a feed; every event is accounted for in the end.

DATALAYER_TEST_SEEDS=20 tries as many random courses of a longer market.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from aiohttp import web

from datalayer import CoverageRepository, UnifiedDataProvider, UnitOfWork
from datalayer.integrations.binance.spot import BinanceSpot
from datalayer.integrations.coinbase import CoinbaseExchange
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.coinbase import CoinbaseServer
from tests.exchange_server.market import load_market, shifted
from tests.exchange_server.server import Fault
from tests.integration.feeds.feeding import (
    BTC,
    QUICK,
    binance,
    check_books,
    check_candles,
    check_trades,
    feeding,
    seen_all,
    stored_gaps,
    timeframes,
    true_books,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.exchange_server.market import Market

SEEDS = int(os.environ.get("DATALAYER_TEST_SEEDS", "0"))
SHORT, LONG = 2_500, 20_000
KINDS = ("cut", "drop", "slow", "twice", "swap", "garbage")


SECOND = pd.Timedelta("1s")


class ShortLived(BinanceSpot):
    """Binance, which cuts connections after a second instead of a day."""

    limits = replace(BinanceSpot.limits, connection_age_s=1.0)


def place_of(market: Market, kind: str, after: int) -> int:
    """Number of the first message of a kind after another."""
    return next(n for n, step in enumerate(market.steps) if n >= after and step.kind == kind)


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


async def check_everything(engine: AsyncEngine, market: Market, sent_garbage: int) -> None:
    gaps = await stored_gaps(engine)
    assert [gap for gap in gaps if gap.kind != "order_books" and gap.state != "filled"] == []
    assert {gap.state for gap in gaps if gap.kind == "order_books"} <= {"lost"}
    await check_trades(engine, market, gaps, first_id=market.trades[0]["t"])
    closed = [step.data["k"] for step in market.steps if "kline" in step.stream and step.data["k"]["x"]]
    for label in ("1s", "1m"):
        opens = [candle["t"] for candle in closed if candle["i"] == label]
        assert opens
        first = market.klines[label][0]["t"]
        await check_candles(engine, market, label, start_ms=first, end_ms=opens[-1] + 1)
    await check_books(engine, market, gaps)
    async with UnitOfWork(engine) as uow:
        rejects = await uow.rejects.list_rejects(limit=10_000)
    assert len(rejects) <= sent_garbage  # what was on its way when a connection was cut is gone
    assert {reject.kind for reject in rejects} <= {"message"}


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


@pytest.mark.parametrize("kind", [ShortLived, BinanceSpot], ids=["by its age", "when the exchange says so"])
async def test_a_connection_is_replaced_before_it_is_cut(
    engine: AsyncEngine, tmp_path: Path, kind: type[BinanceSpot]
) -> None:
    """Make before break: no hole, not even in the order book."""
    market = load_market(most=SHORT)
    async with BinanceServer([market]) as server:
        exchange = kind(socket_url=server.socket_url, rest_url=server.rest_url)
        patient = replace(QUICK, silent_after_s=5.0)
        async with feeding(engine, tmp_path / "o", exchange, candles=timeframes(), settings=patient) as feed:
            for end in range(500, len(market.steps) + 500, 500):
                await server.play(end=min(end, len(market.steps)))
                for socket in tuple(server.sockets) if kind is BinanceSpot and end in {500, 1_500} else ():
                    await server.send_text(socket, '{"e": "serverShutdown", "E": 1723161255208}')
                await asyncio.sleep(0.2)
            await seen_all(feed, market)
            while feed.statistics.connections[0].handovers < 2:  # noqa: ASYNC110 (no event of ours tells)
                await asyncio.sleep(0.05)
            assert feed.statistics.connections[0].reconnects == 0
    assert await stored_gaps(engine) == []
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


async def test_a_second_that_broke_off_is_not_ended_by_the_order_book(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """The first message of the new connection is of the book, three seconds on; no trade has told of the hole yet."""
    market = load_market(most=SHORT)
    trades = [n for n, step in enumerate(market.steps) if step.kind == "trade" and n >= 300]
    place = next(
        n + 1
        for n, after in itertools.pairwise(trades)
        if market.steps[n].data["T"] // 1_000 == market.steps[after].data["T"] // 1_000
    )
    last_ms = market.steps[place - 1].data["T"]
    resumed = next(
        n
        for n, step in enumerate(market.steps)
        if n > place and step.kind == "depth@100ms" and step.data["E"] > last_ms + 3_000
    )
    async with (
        BinanceServer([market], {place: Fault("cut", resumed - place)}) as server,
        feeding(engine, tmp_path / "o", binance(server), candles=[]) as feed,
    ):
        await server.play(end=resumed + 1)
        while feed.statistics.connections[0].reconnects == 0:  # noqa: ASYNC110 (no event of ours tells)
            await asyncio.sleep(0.01)
    async with UnitOfWork(engine) as uow:
        stored = await uow.candles.query_ohlcv_data(BTC, "1s", source="stored")
    assert len(stored) > 0
    assert stored.index[-1].timestamp() < last_ms // 1_000


async def test_a_book_that_has_left_its_snapshot_gets_another(engine: AsyncEngine, tmp_path: Path) -> None:
    """Snapshots of a few levels, which the market of the recording soon leaves; no level may be missing in between."""
    market = load_market(most=SHORT)
    settings = replace(QUICK, handover_s=0.05, book_levels=5)
    async with (
        BinanceServer([market]) as server,
        feeding(
            engine, tmp_path / "o", binance(server, book_depth=30), candles=[], settings=settings
        ) as feed,
    ):
        await server.play()
        await seen_all(feed, market)
    true, whole = true_books(market), 0
    async with UnitOfWork(engine) as uow:
        books = await uow.order_books.query_orderbook_snapshots(BTC)
    for row, update_id in enumerate(books.last_update_ids.tolist()):
        book = books.book(row, BTC)
        ours = [
            np.column_stack(side)
            for side in ((book.bid_prices, book.bid_sizes), (book.ask_prices, book.ask_sizes))
        ]
        for side, best in zip(ours, true[update_id], strict=False):
            assert np.array_equal(side, best[: len(side)])
        whole += all(len(side) == 5 for side in ours)
    assert server.requests["/api/v3/depth"] > 1
    assert whole > len(books) / 2
    assert await stored_gaps(engine) == []


async def test_a_refused_snapshot_is_asked_for_ever_more_rarely(engine: AsyncEngine, tmp_path: Path) -> None:
    market = load_market(most=600)
    settings = replace(QUICK, retry_wait_initial_s=0.1, retry_wait_max_s=60.0)
    async with (
        BinanceServer([market]) as server,
        feeding(engine, tmp_path / "o", binance(server), candles=[], settings=settings) as feed,
    ):
        server.rest_answers += [web.Response(status=400, text="Invalid symbol.") for _ in range(100)]
        await server.play()
        await asyncio.sleep(2)
        assert feed.statistics.invalid_books == (BTC,)
        assert 2 <= server.requests["/api/v3/depth"] <= 8


async def test_a_hole_over_which_the_clock_goes_back_is_filled_all_the_same(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    market = shifted(load_market(most=1_000), 0)  # a copy
    steps = [step for step in market.steps if step.kind == "trade"]
    steps[20].data["T"] = (
        steps[17].data["T"] - 50
    )  # the next one that comes, and the exchange's own record of it
    dropped = {market.steps.index(steps[n]): Fault("drop") for n in (18, 19)}
    async with (
        BinanceServer([market], dropped) as server,
        feeding(engine, tmp_path / "o", binance(server), candles=[]) as feed,
    ):
        await server.play()
        await seen_all(feed, market)
    gaps = [gap for gap in await stored_gaps(engine) if gap.kind == "trades"]
    assert [(gap.state, gap.missing) for gap in gaps] == [("filled", 2)]
    async with UnitOfWork(engine) as uow:
        stored = await uow.trades.query_trades(BTC)
    assert sorted(stored["trade_id"]) == [step.data["t"] for step in steps]


async def test_messages_from_the_far_future_mislead_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    """A trade and an update of the book say the year 2200; the trade is had from REST, and the rest goes on."""
    market = shifted(load_market(most=1_500), 0)  # a copy
    far_ms = 7_258_118_400_000
    wrong = next(step for step in market.steps[300:] if step.kind == "trade")
    book = next(step for step in market.steps[500:] if step.kind == "depth@100ms")
    true_ms, wrong.data["T"], book.data["E"] = wrong.data["T"], far_ms, far_ms
    settings = replace(QUICK, silent_seconds="fill")
    async with (
        BinanceServer([market]) as server,
        feeding(engine, tmp_path / "o", binance(server), candles=[], settings=settings) as feed,
    ):
        await server.play(end=market.steps.index(wrong) + 1)
        await asyncio.sleep(0.2)
        wrong.data["T"] = true_ms
        await server.play()
        await seen_all(feed, market)
        assert feed.statistics.faults["ahead"] == 2
    gaps = await stored_gaps(engine)
    assert [(gap.kind, gap.state, gap.missing) for gap in gaps] == [("trades", "filled", 1)]
    await check_trades(engine, market, gaps, first_id=market.trades[0]["t"])
    async with UnitOfWork(engine) as uow:
        books = await uow.order_books.query_orderbook_snapshots(BTC)
        candles = await uow.candles.query_ohlcv_data(BTC, "1s", source="stored")
    assert books.timestamps[-1] > np.datetime64(market.trades[-1]["T"] - 2_000, "ms")
    assert len(candles) == (candles.index[-1] - candles.index[0]) / SECOND + 1


async def test_a_silent_market_does_not_make_the_pauses_longer(engine: AsyncEngine, tmp_path: Path) -> None:
    settings = replace(QUICK, silent_after_s=0.1, stable_after_s=60.0)
    async with (
        BinanceServer([load_market(most=SHORT)]) as server,
        feeding(engine, tmp_path / "o", binance(server), candles=[], settings=settings) as feed,
    ):
        while feed.statistics.connections[0].reconnects < 5:  # noqa: ASYNC110 (no event of ours tells)
            await asyncio.sleep(0.01)
        assert feed._connections[0]._failures == 0
        assert feed.statistics.connections[0].last_error == "TimeoutError: no message for 0.1 s"
