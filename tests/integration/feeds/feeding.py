"""A feed on a local exchange, and what must be stored in the end."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from datalayer import DataCacheManager, DataIngestionPipeline, Timeframe, UnitOfWork
from datalayer.ingestion import IngestionSettings
from datalayer.integrations.binance.spot import BinanceSpot
from datalayer.integrations.feeds import Feed, FeedSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.domain.feed_gap import FeedGap
    from datalayer.integrations.feeds import Exchange
    from tests.exchange_server.market import Market
    from tests.exchange_server.server import ExchangeServer

BTC = "BTC/USDT"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUICK = FeedSettings(
    retry_wait_initial_s=0.01,
    retry_wait_max_s=0.05,
    settle_s=0.05,
    backfill_retry_s=0.1,
    silent_after_s=2.0,
    handover_s=2.0,
    stable_after_s=0.5,
    log_every_s=0.01,
)


def binance(server: ExchangeServer, **options: Any) -> BinanceSpot:
    return BinanceSpot(socket_url=server.socket_url, rest_url=server.rest_url, **options)


@asynccontextmanager
async def feeding(
    engine: AsyncEngine, outbox: Path | None, exchange: Exchange, **options: Any
) -> AsyncIterator[Feed]:
    """A running feed; in the end everything is in the database."""
    cache = options.pop("cache", None) or DataCacheManager()
    settings = IngestionSettings(flush_after_s=0.05)
    symbols = options.pop("symbols", [BTC])
    options = {"settings": QUICK} | options
    async with (
        DataIngestionPipeline(engine, outbox=outbox, cache=cache, settings=settings) as pipeline,
        Feed(exchange, symbols, pipeline=pipeline, **options) as feed,
    ):
        yield feed


async def seen_all(feed: Feed, *markets: Market, wait_s: float = 60.0) -> None:
    """Wait until the last trade was seen, and no hole is being filled."""
    async with asyncio.timeout(wait_s):
        for market in markets:
            ids = feed._router.states[feed._router.symbols.get(market.pair, BTC)]
            while ids.trades.last != market.trades[-1]["t"]:  # noqa: ASYNC110 (no event of ours tells)
                await asyncio.sleep(0.01)
        await feed.idle()


async def stored_gaps(engine: AsyncEngine) -> list[FeedGap]:
    async with UnitOfWork(engine) as uow:
        return await uow.feed_gaps.list_gaps(states=("open", "lost", "filled"))


async def check_trades(
    engine: AsyncEngine, market: Market, gaps: list[FeedGap], *, first_id: int | None = None
) -> int:
    """Every trade from the first on is stored exactly, but for the ids that are declared missing; returns how many."""
    async with UnitOfWork(engine) as uow:
        stored = await uow.trades.query_trades(BTC, price_type="decimal")
    begin = int(stored["trade_id"].iloc[0])
    assert first_id in (None, begin)
    missing = {
        number
        for gap in gaps
        if gap.kind == "trades" and gap.state != "filled"
        for number in range(gap.first_id, gap.last_id + 1)  # type: ignore[operator, arg-type]
    }
    expected = [trade for trade in market.trades if trade["t"] >= begin and trade["t"] not in missing]
    assert stored["trade_id"].tolist() == [trade["t"] for trade in expected]
    assert [f"{price:.8f}" for price in stored["price"]] == [trade["p"] for trade in expected]
    assert [f"{size:.8f}" for size in stored["size"]] == [trade["q"] for trade in expected]
    assert stored["side"].tolist() == [-1 if trade["m"] else 1 for trade in expected]
    times = stored.index.asi8 // 1_000  # type: ignore[attr-defined]
    assert times.tolist() == [trade["T"] for trade in expected]
    return len(stored)


async def check_candles(
    engine: AsyncEngine, market: Market, label: str, *, start_ms: int, end_ms: int, silent: bool = True
) -> int:
    """The candles that open in a range are those of the trades, all of them; returns how many."""
    async with UnitOfWork(engine) as uow:
        span = EPOCH + timedelta(milliseconds=start_ms), EPOCH + timedelta(milliseconds=end_ms)
        stored = await uow.candles.query_ohlcv_data(
            BTC, label, start=span[0], end=span[1], source="stored", price_type="decimal"
        )
    expected = [
        candle
        for candle in market.klines[label]
        if start_ms <= candle["t"] < end_ms and (silent or candle["n"])
    ]
    opens = (stored.index.asi8 // 1_000).tolist()  # type: ignore[attr-defined]
    wanted = [candle["t"] for candle in expected]
    assert not set(wanted) - set(opens), sorted(set(wanted) - set(opens))
    assert opens == wanted
    for name, key in (("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("volume", "v")):
        assert [f"{value:.8f}" for value in stored[name]] == [
            f"{float(candle[key]):.8f}" for candle in expected
        ]
    assert stored["trade_count"].tolist() == [candle["n"] for candle in expected]
    return len(stored)


async def check_books(engine: AsyncEngine, market: Market, gaps: list[FeedGap]) -> int:
    """Every stored book is the true one, and none is missing but where that is declared; returns how many there are."""
    true = true_books(market)
    async with UnitOfWork(engine) as uow:
        books = await uow.order_books.query_orderbook_snapshots(BTC)
    for row, update_id in enumerate(books.last_update_ids.tolist()):
        book = books.book(row, BTC)
        bids, asks, time_ms = true[update_id]
        assert book.ts == EPOCH + timedelta(milliseconds=time_ms)
        assert np.array_equal(np.column_stack([book.bid_prices, book.bid_sizes]), bids)
        assert np.array_equal(np.column_stack([book.ask_prices, book.ask_sizes]), asks)
    spans = [(gap.start, gap.end) for gap in gaps if gap.kind == "order_books"]
    times = [time.replace(tzinfo=UTC) for time in books.timestamps.astype("datetime64[us]").tolist()]
    for before, after in itertools.pairwise(times):
        assert after - before <= timedelta(seconds=1) or (before, after) in spans
    return len(times)


def true_books(market: Market) -> dict[int, tuple[Any, Any, int]]:
    """The best 20 levels of each side after every update, by its id, by the plain definition."""
    sides: tuple[dict[float, float], dict[float, float]] = (
        {float(price): float(size) for price, size in market.snapshot["bids"]},
        {float(price): float(size) for price, size in market.snapshot["asks"]},
    )
    known, found = market.snapshot["lastUpdateId"], {}
    for step in market.steps:
        if step.kind != "depth@100ms" or step.data["u"] <= known:
            continue
        known = step.data["u"]
        for side, key in zip(sides, "ba", strict=True):
            for price, size in step.data[key]:
                side[float(price)] = float(size)
                if not float(size):
                    del side[float(price)]
        bids = sorted(sides[0].items(), reverse=True)[:20]
        asks = sorted(sides[1].items())[:20]
        found[known] = np.array(bids), np.array(asks), step.data["E"]
    return found


def timeframes() -> list[Timeframe]:
    return [Timeframe.S1, Timeframe.M1]


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


def place_of(market: Market, kind: str, after: int) -> int:
    """Number of the first message of a kind after another."""
    return next(n for n, step in enumerate(market.steps) if n >= after and step.kind == kind)
