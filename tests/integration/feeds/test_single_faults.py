"""One thing that goes wrong at a time: a connection, a snapshot, a clock."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from aiohttp import web

from datalayer import UnitOfWork
from datalayer.integrations.binance.spot import BinanceSpot
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.market import load_market, shifted
from tests.exchange_server.server import Fault
from tests.integration.feeds.feeding import (
    BTC,
    QUICK,
    binance,
    check_everything,
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


SHORT = 2_500


SECOND = pd.Timedelta("1s")


class ShortLived(BinanceSpot):
    """Binance, which cuts connections after a second instead of a day."""

    limits = replace(BinanceSpot.limits, connection_age_s=1.0)


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
