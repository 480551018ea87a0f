"""Whatever is asked with an `as_of` is answered as by a database in which nothing later had been written.

The truncated copy is a second instrument, which has of each record of the first only what was visible at `as_of`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories import (
    CandleRepository,
    CoverageRepository,
    ImbalanceRepository,
    InstrumentRepository,
    OrderBookRepository,
    TradeRepository,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.coverage import CoverageReport

WHOLE, TRUNCATED = "AAA/USDT", "BBB/USDT"
START = datetime(2024, 8, 8, 23, 50, tzinfo=UTC)
SPAN_S = 1200

moments = st.integers(0, SPAN_S * 1_000_000).map(lambda us: START + timedelta(microseconds=us))
on_a_second = st.integers(0, SPAN_S).map(lambda s: START + timedelta(seconds=s))
places = st.lists(st.integers(0, SPAN_S - 1), unique=True, max_size=40)
answers_when = st.fixed_dictionaries(
    {
        "timeframe": st.sampled_from(list(Timeframe)),
        "others": st.lists(st.sampled_from(list(Timeframe)), min_size=1, max_size=3, unique=True),
        "start": st.none() | on_a_second,
        "end": st.none() | on_a_second,
        "limit": st.none() | st.integers(0, 5),
        "source": st.sampled_from(["best", "stored", "aggregate", "generated"]),
        "fill": st.sampled_from([None, "nan", "previous"]),
        "include_forming": st.booleans(),
        "price_type": st.sampled_from(["float", "fixed"]),
    }
)


def candles_of(timeframe: Timeframe, seconds: list[int], seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    opens = sorted({timeframe.floor(START + timedelta(seconds=second)) for second in seconds})
    prices = random.integers(100, 200, (len(opens), 4)).astype(float)
    index = pd.DatetimeIndex(opens, tz="UTC", name="timestamp").as_unit("us")
    return pd.DataFrame(
        {
            "open": prices[:, 0],
            "high": prices.max(axis=1),
            "low": prices.min(axis=1),
            "close": prices[:, 1],
            "volume": random.integers(0, 50, len(opens)).astype(float),
        },
        index=index,
    )


def trades_of(seconds: list[int]) -> pd.DataFrame:
    times = [START + timedelta(seconds=second, microseconds=second % 3) for second in sorted(seconds)]
    ids = np.arange(len(times))
    return pd.DataFrame(
        {"trade_id": ids, "price": 100.0 + ids, "size": 1.0, "side": 1},
        index=pd.DatetimeIndex(times, tz="UTC").as_unit("us"),
    )


def books_of(seconds: list[int]) -> OrderBookColumns:
    times = np.array(
        [f"{START + timedelta(seconds=s):%Y-%m-%dT%H:%M:%S}" for s in sorted(seconds)], "datetime64[us]"
    )
    bids = 100.0 - np.arange(2) + np.arange(len(times))[:, None]
    sizes = np.ones((len(times), 2))
    return OrderBookColumns(times, bids, sizes, bids + 10 + 2 * np.arange(2), sizes, np.arange(len(times)))


async def write(
    conn: AsyncConnection, symbol: str, market: dict[str, Any], visible_at: datetime | None
) -> None:
    """Write a market, or of it what is visible at a moment."""
    for timeframe, frame in market["candles"].items():
        last = None if visible_at is None else visible_at - timeframe.length
        await CandleRepository(conn).upsert_candles(
            symbol, timeframe, frame if last is None else frame.loc[:last]
        )
    trades, books = market["trades"], market["books"]
    await TradeRepository(conn).insert_trades(
        symbol, trades if visible_at is None else trades.loc[:visible_at]
    )
    known = (
        slice(None)
        if visible_at is None
        else books.timestamps <= np.datetime64(visible_at.replace(tzinfo=None))
    )
    columns = [getattr(books, name)[known] for name in books.__slots__]
    await OrderBookRepository(conn).insert_order_books(symbol, OrderBookColumns(*columns))


async def write_imbalances(
    conn: AsyncConnection, symbol: str, seconds: list[int], visible_at: datetime | None
) -> None:
    times = pd.DatetimeIndex(
        [START + timedelta(seconds=second) for second in sorted(seconds)], tz="UTC"
    ).as_unit("us")
    frame = pd.DataFrame(dict.fromkeys(IMBALANCES, 0.25), index=times)
    known = frame if visible_at is None else frame.loc[:visible_at]
    await ImbalanceRepository(conn).upsert_imbalances(symbol, known)


async def outcome(answer: Callable[[], Awaitable[Any]]) -> Any:
    """Return what was answered, or the kind of refusal, in a form that can be compared."""
    try:
        found = await answer()
    except ValueError as refusal:
        return type(refusal)
    if isinstance(found, OrderBookColumns):
        return [getattr(found, name).tolist() for name in found.__slots__]
    return found


def assert_same(whole: Any, truncated: Any) -> None:
    if isinstance(whole, dict):
        assert list(whole) == list(truncated)
        for name, frame in whole.items():
            pd.testing.assert_frame_equal(frame, truncated[name], check_freq=False)
    elif isinstance(whole, pd.DataFrame):
        pd.testing.assert_frame_equal(whole, truncated, check_freq=False)
    else:
        assert str(whole) == str(truncated)


def questions(
    conn: AsyncConnection, symbol: str, asked: dict[str, Any], as_of: datetime
) -> dict[str, Callable[[], Awaitable[Any]]]:
    bounds = {name: asked[name] for name in ("start", "end", "limit")} | {"as_of": as_of}
    candles = {name: asked[name] for name in ("source", "price_type")} | bounds
    by_price: dict[str, Any] = {"start": asked["start"] or START, "end": asked["end"], "as_of": as_of}
    of_books = OrderBookRepository(conn)
    forming = {"include_forming": asked["include_forming"]}
    coverage, since = CoverageRepository(conn), asked["start"] or START
    of_candles, separate = (
        CandleRepository(conn),
        {"align": False, "include_forming": asked["include_forming"]},
    )
    return {
        "query_ohlcv_data": lambda: of_candles.query_ohlcv_data(
            symbol,
            asked["timeframe"],
            fill=asked["fill"],
            include_forming=asked["include_forming"],
            **candles,
        ),
        "aligned": lambda: of_candles.query_multi_timeframe_ohlcv(symbol, asked["others"], **candles),
        "separate": lambda: of_candles.query_multi_timeframe_ohlcv(
            symbol, asked["others"], **candles, **separate
        ),
        "query_trades": lambda: TradeRepository(conn).query_trades(symbol, **bounds),
        "query_orderbook_snapshots": lambda: of_books.query_orderbook_snapshots(symbol, **bounds),
        "query_orderbook_1s": lambda: of_books.query_orderbook_aggregated(symbol, "1s", **bounds, **forming),
        "query_orderbook_1m": lambda: of_books.query_orderbook_aggregated(symbol, "1m", **bounds, **forming),
        "query_orderbook_by_price": lambda: of_books.query_orderbook_by_price(symbol, "1m", 2, **by_price),
        "query_orderbook_imbalances": lambda: ImbalanceRepository(conn).query_orderbook_imbalances(
            symbol, **bounds
        ),
        "query_missing_intervals": lambda: coverage.query_missing_intervals(
            symbol, asked["timeframe"], since, asked["end"], as_of=as_of
        ),
        "query_coverage": lambda: intervals(
            coverage.query_coverage(symbol, asked["timeframe"], since, asked["end"], as_of=as_of)
        ),
        "list_stored_ranges": lambda: without_symbol(
            coverage.list_stored_ranges([symbol], as_of=as_of, count_rows=True)
        ),
        "list_latest_timestamps": lambda: without_symbol(
            coverage.list_latest_timestamps([symbol], as_of=as_of)
        ),
    }


async def intervals(answer: Awaitable[CoverageReport]) -> pd.DataFrame:
    return (await answer).intervals


async def without_symbol(answer: Awaitable[list[Any]]) -> list[Any]:
    return [replace(found, symbol="") for found in await answer]


drawn_markets = st.fixed_dictionaries(dict.fromkeys(("seconds", "minutes", "fives", "events"), places))


# Not shrunk: an example takes a second, and what failed is small already.
@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drawn=drawn_markets, as_of=moments, asked=st.lists(answers_when, min_size=3, max_size=3))
async def test_every_answer_is_that_of_a_truncated_database(
    conn: AsyncConnection, drawn: dict[str, list[int]], as_of: datetime, asked: list[dict[str, Any]]
) -> None:
    candles = {Timeframe.S1: "seconds", Timeframe.M1: "minutes", Timeframe.M5: "fives"}
    market = {
        "candles": {t: candles_of(t, drawn[name], t.value) for t, name in candles.items()},
        "trades": trades_of(drawn["events"]),
        "books": books_of(drawn["events"]),
    }
    async with conn.begin_nested() as savepoint:
        for symbol, visible_at in ((WHOLE, None), (TRUNCATED, as_of)):
            await InstrumentRepository(conn).ensure(symbol, 2, 2)
            await write(conn, symbol, market, visible_at)
            await write_imbalances(conn, symbol, drawn["events"], visible_at)
        for question in asked:
            whole = questions(conn, WHOLE, question, as_of)
            truncated = questions(conn, TRUNCATED, question, as_of)
            for name, answer in whole.items():
                expected = await outcome(truncated[name])
                found = await outcome(answer)
                assert_same(found, expected)
        await savepoint.rollback()
