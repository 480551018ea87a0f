"""The replay: everything in the order in which it became visible, the same each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer.db.retry import RetryableDBOperation
from datalayer.domain.candle import Candle
from datalayer.domain.order_book import OrderBook, OrderBookColumns
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Side, Trade
from datalayer.errors import DatabaseError, InvalidInputError
from datalayer.repositories import (
    CandleRepository,
    MarketHistory,
    OrderBookRepository,
    TradeRepository,
)
from tests.market_books import capture_books, capture_trades
from tests.market_files import market_frame
from tests.stored_history import BTC, END, ETH, START, collect, rename

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.domain.replay_event import ReplayEvent

EVERYTHING: dict[str, Any] = {"timeframes": ["1m", "1s"], "trades": True, "order_books": True}
KINDS = ("candle", "trade", "order_book")


async def write_captures(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        for symbol in (BTC, ETH):
            pair = symbol.replace("/", "")
            seconds = market_frame(f"ohlcv/binance_spot_{pair}_1s_derived_from_trades_20240808-09.parquet")
            seconds["volume"] = seconds["volume"].round(6)
            await CandleRepository(conn).upsert_candles(symbol, "1s", seconds)
            await TradeRepository(conn).insert_trades(symbol, capture_trades(pair))
            await OrderBookRepository(conn).insert_order_books(symbol, capture_books(pair))
        minutes = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2024.parquet").loc["2024-08-08":"2024-08-09"]
        await CandleRepository(conn).upsert_candles(BTC, "1m", minutes)


async def replayed(history: MarketHistory, symbols: list[str], **options: Any) -> list[ReplayEvent]:
    async with history.replay(symbols, **{"start": START, "end": END, **options}) as events:
        return [event async for event in events]


def place(event: ReplayEvent) -> tuple[Any, ...]:
    """Where an event belongs, by the words of the documentation."""
    record = event.record
    length = record.timeframe if isinstance(record, Candle) else 0
    trade_id = record.trade_id if isinstance(record, Trade) else 0
    return event.visible_at, KINDS.index(event.kind), length, event.symbol, trade_id


def visible_at(record: Candle | Trade | OrderBook) -> datetime:
    return record.closed_at if isinstance(record, Candle) else record.ts


async def test_real_captures_of_two_symbols_are_merged(history: MarketHistory, engine: AsyncEngine) -> None:
    await write_captures(engine)
    events = await replayed(history, [ETH, BTC], **EVERYTHING)
    assert [place(event) for event in events] == sorted(place(event) for event in events)
    assert all(event.visible_at == visible_at(event.record) for event in events)
    assert all(event.symbol == event.record.symbol for event in events)
    counts = pd.Series([(event.symbol, event.kind) for event in events]).value_counts()
    assert counts[(BTC, "trade")] == len(capture_trades("BTCUSDT")) == 19_904
    assert counts[(ETH, "trade")] == len(capture_trades("ETHUSDT"))
    assert counts[(BTC, "order_book")] == counts[(ETH, "order_book")] == 1_301

    books, shown = capture_books("BTCUSDT"), [e.record for e in events if e[1:3] == (BTC, "order_book")]
    assert shown == [books.book(row, BTC) for row in range(len(books))]
    trades = capture_trades("BTCUSDT").sort_values(["timestamp", "trade_id"])
    expected = [Trade(BTC, at, *values, Side(side)) for at, *values, side in trades.itertuples()]
    assert [e.record for e in events if e[1:3] == (BTC, "trade")] == expected

    # Neither the order of the arguments nor the size of the batches makes a difference.
    assert await replayed(history, ["btcusdt", ETH, BTC], **EVERYTHING, batch_rows=301) == events
    again = EVERYTHING | {"timeframes": ["1s", "1m"]}
    assert await replayed(history, [BTC, ETH], **again, batch_rows=100_000) == events


async def write_one_moment(engine: AsyncEngine, at: datetime, trades: int = 2) -> None:
    """Everything that there is at one moment, of both symbols."""
    for symbol in (BTC, ETH):
        async with engine.begin() as conn:
            for timeframe in (Timeframe.M5, Timeframe.S1, Timeframe.M1):
                index = pd.DatetimeIndex([at - timeframe.length]).as_unit("us")
                frame = pd.DataFrame(
                    dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0), index=index
                )
                await CandleRepository(conn).upsert_candles(symbol, timeframe, frame.assign(trade_count=7))
            ids = np.arange(trades)[::-1]
            frame = pd.DataFrame(
                {"trade_id": ids, "price": 1.0, "size": 1.0, "side": 0}, index=pd.DatetimeIndex([at] * trades)
            )
            await TradeRepository(conn).insert_trades(symbol, frame)
            one = np.ones((1, 1))
            times = np.array([at.replace(tzinfo=None)], "datetime64[us]")
            books = OrderBookColumns(times, one, one, one * 2, one, np.array([-1]))
            await OrderBookRepository(conn).insert_order_books(symbol, books)


async def test_at_one_moment_candles_come_before_what_happens_then(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    at = START + timedelta(minutes=5)
    at = Timeframe.M5.floor(at)
    await write_one_moment(engine, at)
    options = EVERYTHING | {"timeframes": ["5m", "1s", "1m"]}
    for rows in (1, 2, 100):
        events = await replayed(history, [ETH, BTC], **options, batch_rows=rows)
        assert {event.visible_at for event in events} == {at}
        assert [(e.kind, getattr(e.record, "timeframe", None), e.symbol) for e in events] == [
            *(("candle", length, symbol) for length in (1, 60, 300) for symbol in (BTC, ETH)),
            *(("trade", None, symbol) for symbol in (BTC, BTC, ETH, ETH)),
            *(("order_book", None, symbol) for symbol in (BTC, ETH)),
        ]
        assert [e.record.trade_id for e in events if isinstance(e.record, Trade)] == [0, 1, 0, 1]
    assert events[0].record == Candle(
        BTC, Timeframe.S1, at - timedelta(seconds=1), 1.0, 1.0, 1.0, 1.0, 1.0, 7
    )


async def test_the_range_is_of_what_becomes_visible(history: MarketHistory, engine: AsyncEngine) -> None:
    at, tick = Timeframe.M5.floor(START + timedelta(minutes=5)), timedelta(microseconds=1)
    await write_one_moment(engine, at)

    async def count(**options: Any) -> int:
        return len(await replayed(history, [BTC], **EVERYTHING | {"timeframes": ["5m", "1m"]} | options))

    assert await count(start=at, end=at + tick) == 5
    assert await count(start=at - tick, end=at) == 0
    assert await count(start=at + tick) == 0
    assert await count(end=None, as_of=at) == 5
    assert await count(end=None, as_of=at - tick) == 0
    assert await count(start=datetime.min.replace(tzinfo=UTC)) == 5


async def test_more_events_of_one_microsecond_than_a_batch_holds(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    at = Timeframe.M5.floor(START + timedelta(minutes=5))
    await write_one_moment(engine, at, trades=50)
    events = await replayed(history, [BTC, ETH], **EVERYTHING, batch_rows=7)
    ids = [event.record.trade_id for event in events if isinstance(event.record, Trade)]
    assert ids == [*range(50), *range(50)]
    assert [event.kind for event in events[-2:]] == ["order_book"] * 2


async def test_a_replay_as_of_a_moment_is_the_beginning_of_a_later_one(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    await write_captures(engine)
    everything = await replayed(history, [BTC], **EVERYTHING)
    as_of = START + timedelta(minutes=4, seconds=59, microseconds=123_456)
    early = await replayed(history, [BTC], **EVERYTHING, end=None, as_of=as_of)
    assert early == [event for event in everything if event.visible_at <= as_of]
    assert 0 < len(early) < len(everything)


@pytest.mark.usefixtures("history")
async def test_a_caller_may_stop_early_and_no_error_is_an_end(engine: AsyncEngine) -> None:
    """The fixture looks whether a task or connection is left."""
    await write_captures(engine)
    history = MarketHistory(engine, retry=RetryableDBOperation(max_attempts=1))
    expected = await replayed(history, [BTC, ETH], **EVERYTHING)
    async with history.replay([BTC, ETH], start=START, **EVERYTHING, batch_rows=50) as events:
        async for _ in events:
            break
    assert [event async for event in events] == []

    found: list[ReplayEvent] = []
    async with history.replay([BTC, ETH], start=START, end=END, **EVERYTHING, batch_rows=500) as events:
        found.append(await anext(events))
        await rename(engine, "order_books", "elsewhere")
        try:
            for _ in range(2):
                with pytest.raises(DatabaseError, match="does not exist"):
                    await collect(events, found)
        finally:
            await rename(engine, "elsewhere", "order_books")
        await collect(events, found)
    assert found == expected


async def test_nothing_to_replay_is_refused(history: MarketHistory) -> None:
    for symbols, options in [([], EVERYTHING), ([BTC], {})]:
        with pytest.raises(InvalidInputError, match="timeframes, trades or order_books"):
            history.replay(symbols, start=START, **options)
    assert await replayed(history, [BTC], **EVERYTHING) == []
    with pytest.raises(InvalidInputError, match="not registered"):
        await replayed(history, ["XLM/EUR"], trades=True)
