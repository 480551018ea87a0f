"""Resting sizes by time and price, and the arrays made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.order_book_heat_map import OrderBookHeatMap
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories import InstrumentRepository, OrderBookRepository
from datalayer.timescale import compress_chunks
from tests.market_books import capture_books
from tests.order_book_oracle import as_floats, books_of, by_price

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.domain.order_book import OrderBook

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NAN = np.nan
COLUMNS = ["side", "price", "size_mean", "size_last", "book_count"]


def small_books() -> OrderBookColumns:
    """Five books in three seconds: two, then two of which one has no bids, then one with nothing at all."""
    offsets = np.array([0, 500, 1_250, 1_750, 2_000], "timedelta64[ms]")
    return OrderBookColumns(
        (np.datetime64(START.replace(tzinfo=None), "us") + offsets).astype("datetime64[us]"),
        np.array([[99.99, 99.5], [100.0, 99.99], [100.0, NAN], [NAN, NAN], [NAN, NAN]]),
        np.array([[1.0, 2.0], [4.0, 8.0], [0.00001, NAN], [NAN, NAN], [NAN, NAN]]),
        np.array([[100.5, 100.51], [100.5, 101.0], [100.99, 101.5], [100.5, NAN], [NAN, NAN]]),
        np.array([[1.0, 1.5], [2.5, 0.25], [3.0, 5.0], [7.0, NAN], [NAN, NAN]]),
        np.arange(5),
    )


def around_midnight(books: OrderBookColumns) -> OrderBookColumns:
    """300 of the real books, which lie in two chunks."""
    first = int(np.searchsorted(books.timestamps, np.datetime64("2024-08-09"))) - 150
    return OrderBookColumns(
        *(getattr(books, name)[first : first + 300] for name in OrderBookColumns.__slots__)
    )


async def store(conn: AsyncConnection, books: OrderBookColumns) -> list[OrderBook]:
    await InstrumentRepository(conn).ensure(BTC, 2, 5)
    await OrderBookRepository(conn).insert_order_books(BTC, books)
    return books_of(books)


def assert_rows(frame: pd.DataFrame, wanted: list[tuple[Any, ...]]) -> None:
    assert frame.columns.tolist() == COLUMNS
    assert frame.index.tolist() == [row[0] for row in wanted]
    assert frame["side"].tolist() == [row[1] for row in wanted]
    for place, name in enumerate(COLUMNS[1:], 2):
        np.testing.assert_array_equal(frame[name], as_floats([row[place] for row in wanted]))


@pytest.mark.parametrize(
    ("length", "width"), [("1s", "0.01"), ("1s", 2.5), ("1m", Decimal("0.07")), ("5m", 10.0), ("1d", 1_000)]
)
async def test_the_real_books_compressed_or_not(engine: AsyncEngine, length: str, width: Any) -> None:
    async with engine.begin() as conn:
        stored = await store(conn, around_midnight(capture_books("BTCUSDT")))
    timeframe = Timeframe.parse(length)
    wanted = by_price(stored, timeframe, Fraction(str(width)))
    start = timeframe.floor(stored[0].ts)
    async with engine.connect() as conn:
        frame = await OrderBookRepository(conn).query_orderbook_by_price(BTC, length, width, start)
    assert_rows(frame, wanted)
    await compress_chunks(engine, "order_books")
    async with engine.connect() as conn:
        again = await OrderBookRepository(conn).query_orderbook_by_price(BTC, length, width, start)
    pd.testing.assert_frame_equal(again, frame, check_exact=True)
    heat = OrderBookHeatMap.from_frame(frame)
    volume = sum(row[3] for row in wanted if row[1] == "bid")
    assert np.nansum(heat.bids) == pytest.approx(float(volume))
    assert np.diff(heat.timestamps).tolist() == [timeframe.length] * (len(heat.timestamps) - 1)


async def test_values_in_every_form(conn: AsyncConnection) -> None:
    stored = await store(conn, small_books())
    wanted = by_price(stored, Timeframe.S1, Fraction(1, 2))
    books = OrderBookRepository(conn)
    floats = await books.query_orderbook_by_price(BTC, "1s", 0.5, START)
    assert_rows(floats, wanted)
    assert floats.reset_index().to_numpy().tolist()[:4] == [
        [pd.Timestamp(START), "bid", 99.5, 5.5, 8.0, 2],
        [pd.Timestamp(START), "bid", 100.0, 2.0, 4.0, 2],
        [pd.Timestamp(START), "ask", 100.5, 2.5, 2.5, 2],
        [pd.Timestamp(START), "ask", 101.0, 0.125, 0.25, 2],
    ]
    assert floats.attrs == {"symbol": BTC, "timeframe": "1s", "price_width": Decimal("0.50")}
    decimals = await books.query_orderbook_by_price(BTC, "1s", "0.5", START, price_type="decimal")
    assert decimals["price"].map(str).iloc[0] == "99.50"
    assert decimals["size_mean"].tolist() == [
        Decimal(row[3].numerator) / row[3].denominator for row in wanted
    ]
    fixed = await books.query_orderbook_by_price(BTC, "1s", "0.5", START, price_type="fixed")
    assert fixed["price"].tolist() == [row[2] * 100 for row in wanted]
    assert fixed["size_last"].tolist() == [row[4] * 10**5 for row in wanted]
    assert (str(fixed["price"].dtype), str(fixed["size_mean"].dtype)) == ("int64", "float64")
    assert fixed.attrs["price_width"] == 50


async def test_whole_buckets_that_were_over(conn: AsyncConnection) -> None:
    stored = await store(conn, small_books())
    books = OrderBookRepository(conn)
    for millis in (0, 999, 1_000, 1_999, 2_000, 2_999, 3_000):
        as_of = START + timedelta(milliseconds=millis)
        over = [book for book in stored if Timeframe.S1.floor(book.ts) + SECOND <= as_of]
        frame = await books.query_orderbook_by_price(BTC, "1s", 0.01, START, as_of=as_of)
        assert_rows(frame, by_price(over, Timeframe.S1, Fraction(1, 100)))
    inside = await books.query_orderbook_by_price(BTC, "1s", 0.01, START + 0.5 * SECOND, START + 1.5 * SECOND)
    assert set(inside.index) == {START + SECOND}
    for nothing in (
        await books.query_orderbook_by_price(BTC, "1s", 0.01, START, START),
        await books.query_orderbook_by_price(BTC, "1m", 0.01, START, as_of=START + SECOND),
    ):
        pd.testing.assert_frame_equal(nothing, inside[:0])


async def test_prices_below_zero_have_buckets_too(conn: AsyncConnection) -> None:
    one = np.array([[1.0]])
    spread = OrderBookColumns(
        np.array([START.replace(tzinfo=None)], "datetime64[us]"), -7 * one, one, -0.5 * one, one, np.arange(1)
    )
    await store(conn, spread)
    frame = await OrderBookRepository(conn).query_orderbook_by_price(BTC, "1s", 5, START)
    assert frame["price"].tolist() == [-10.0, -5.0]


async def test_arrays(conn: AsyncConnection) -> None:
    await store(conn, small_books())
    books = OrderBookRepository(conn)
    frame = await books.query_orderbook_by_price(BTC, "1s", 0.5, START)
    heat = OrderBookHeatMap.from_frame(frame)
    assert heat.timestamps.tolist() == [(START + n * SECOND).replace(tzinfo=None) for n in range(2)]
    assert heat.prices.tolist() == [99.5, 100.0, 100.5, 101.0, 101.5]
    assert heat.bids.tolist() == [[5.5, 2.0, 0, 0, 0], [0, 0.000005, 0, 0, 0]]
    assert heat.asks.tolist() == [[0, 0, 2.5, 0.125, 0], [0, 0, 5.0, 0, 2.5]]
    assert OrderBookHeatMap.from_frame(frame, "size_last").asks[1].tolist() == [0, 0, 7.0, 0, 0]
    fixed = await books.query_orderbook_by_price(BTC, "1s", 0.5, START, price_type="fixed")
    in_steps = OrderBookHeatMap.from_frame(fixed)
    assert in_steps.prices.tolist() == [9950.0, 10000.0, 10050.0, 10100.0, 10150.0]
    np.testing.assert_array_equal(in_steps.asks, heat.asks * 10**5)
    gap = frame[frame.index == START]
    later = gap.set_axis(gap.index + 2 * SECOND)
    both = pd.concat([gap, later])
    both.attrs = frame.attrs
    with_gap = OrderBookHeatMap.from_frame(both)
    assert np.isnan(with_gap.bids[1]).all()
    assert np.isnan(with_gap.asks[1]).all()
    assert with_gap.bids[2].tolist() == with_gap.bids[0].tolist() == [5.5, 2.0, 0, 0]
    nothing = OrderBookHeatMap.from_frame(frame[:0])
    assert (nothing.bids.shape, nothing.timestamps.dtype) == ((0, 0), np.dtype("datetime64[us]"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"price_width": 0.005},
            r"price_width=0\.005: give a multiple of the price step of BTC/USDT, which is 0\.01",
        ),
        ({"price_width": 0}, "price_width=0: give a multiple"),
        ({"price_width": "-0.5"}, "price_width='-0.5': give a multiple"),
        ({"price_width": NAN}, "price_width=nan: give a multiple"),
        ({"price_width": "wide"}, "price_width='wide'"),
        ({"aggregation": "2m"}, "timeframe='2m'"),
        ({"start": START.replace(tzinfo=None)}, "start=.*naive"),
        ({"end": START - SECOND}, "end=.*before start"),
        ({"price_type": "text"}, "price_type='text'"),
        ({"symbol": "BTC/USDC"}, "not registered"),
    ],
)
async def test_what_cannot_be_asked_is_refused(conn: AsyncConnection, change: Any, message: str) -> None:
    await store(conn, small_books())
    asked = {"symbol": BTC, "aggregation": "1s", "price_width": 0.5, "start": START, **change}
    with pytest.raises(InvalidInputError, match=message):
        await OrderBookRepository(conn).query_orderbook_by_price(**asked)


async def test_a_frame_that_is_no_heat_map_is_refused(conn: AsyncConnection) -> None:
    await store(conn, small_books())
    frame = await OrderBookRepository(conn).query_orderbook_by_price(BTC, "1s", 0.5, START)
    with pytest.raises(InvalidInputError, match="statistic='price'"):
        OrderBookHeatMap.from_frame(frame, "price")  # type: ignore[arg-type]
    stub = frame.assign(price=[*frame["price"][:-1], 1e9])
    with pytest.raises(InvalidInputError, match=r"frame='2 times by 1\d+ prices'.*wider buckets"):
        OrderBookHeatMap.from_frame(stub)
    frame.attrs = {}
    with pytest.raises(InvalidInputError, match=r"frame.attrs=\{\}"):
        OrderBookHeatMap.from_frame(frame)
