"""Order books in and out of the real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.order_book import UNKNOWN_UPDATE_ID, OrderBook, OrderBookColumns
from datalayer.errors import InvalidInputError, ScaleError
from datalayer.repositories import (
    ImbalanceRepository,
    InstrumentRepository,
    OrderBookRepository,
    WriteCounts,
)
from datalayer.repositories.last_events import read_last_events
from tests.market_files import market_frame

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BTC = "BTC/USDT"
NAN = np.nan
START = datetime(2024, 8, 8, tzinfo=UTC)
FIELDS = OrderBookColumns.__slots__


@pytest.fixture
async def books(conn: AsyncConnection) -> OrderBookRepository:
    await InstrumentRepository(conn).ensure(BTC, 2, 5)
    return OrderBookRepository(conn)


def real_books() -> OrderBookColumns:
    frame = market_frame("orderbook/binance_spot_BTCUSDT_top20_500ms_20240808-09.parquet")
    levels = {name: np.stack(frame[name].to_list()) for name in FIELDS[1:5]}
    times = frame.index.tz_localize(None).to_numpy()  # type: ignore[attr-defined]
    return OrderBookColumns(timestamps=times, **levels, last_update_ids=frame["update_id"].to_numpy())


def ragged_books() -> OrderBookColumns:
    """Four books of different depth: two and one levels, no bids, nothing at all, one and two."""
    return OrderBookColumns(
        timestamps=np.array([START.replace(tzinfo=None)], dtype="datetime64[us]") + np.arange(4),
        bid_prices=np.array([[10.0, 9.0], [NAN, NAN], [NAN, NAN], [8.0, NAN]]),
        bid_sizes=np.array([[1.0, 2.0], [NAN, NAN], [NAN, NAN], [3.0, NAN]]),
        ask_prices=np.array([[11.0, NAN, NAN], [11.0, NAN, NAN], [NAN, NAN, NAN], [9.0, 10.0, 10.5]]),
        ask_sizes=np.array([[4.0, NAN, NAN], [5.0, NAN, NAN], [NAN, NAN, NAN], [6.0, 7.0, 0.00001]]),
        last_update_ids=np.array([5, UNKNOWN_UPDATE_ID, 7, 2**63 - 1]),
    )


def take(books: OrderBookColumns, rows: Any) -> OrderBookColumns:
    return OrderBookColumns(**{field: getattr(books, field)[rows] for field in FIELDS})


def assert_equal(left: OrderBookColumns, right: OrderBookColumns) -> None:
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(left, field), getattr(right, field), strict=True)


async def test_real_books_come_back_equal_and_again_change_nothing(books: OrderBookRepository) -> None:
    real = real_books()
    assert await books.insert_order_books(BTC, take(real, slice(None, None, -1))) == WriteCounts(
        inserted=1301
    )
    assert_equal(await books.query_orderbook_snapshots(BTC), real)
    assert await books.insert_order_books(BTC, real) == WriteCounts(unchanged=1301)
    assert_equal(await books.query_orderbook_snapshots(BTC, limit=7), take(real, slice(-7, None)))


async def test_books_meet_those_in_compressed_chunks(engine: AsyncEngine) -> None:
    real = real_books()
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 5)
        await OrderBookRepository(conn).insert_order_books(BTC, take(real, slice(0, None, 2)))
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        await conn.execute(text("SELECT compress_chunk(show_chunks('order_books'))"))
    async with engine.begin() as conn:
        books = OrderBookRepository(conn)
        assert await books.insert_order_books(BTC, real) == WriteCounts(inserted=650, unchanged=651)
        assert_equal(await books.query_orderbook_snapshots(BTC), real)


async def test_books_of_any_depth_come_back(books: OrderBookRepository, conn: AsyncConnection) -> None:
    ragged = ragged_books()
    await books.insert_order_books(BTC, ragged)
    assert_equal(await books.query_orderbook_snapshots(BTC), ragged)
    statement = (
        "SELECT best_bid, best_ask, bid_volume, ask_volume, last_update_id FROM order_books ORDER BY ts"
    )
    rows = [tuple(row) for row in await conn.execute(text(statement))]
    assert rows == [
        (1000, 1100, 300_000, 400_000, 5),
        (None, 1100, 0, 500_000, None),
        (None, None, 0, 0, 7),
        (800, 900, 300_000, 1_300_001, 2**63 - 1),
    ]


async def test_ranges_visibility_and_nothing(books: OrderBookRepository) -> None:
    ragged, tick = ragged_books(), timedelta(microseconds=1)
    await books.insert_order_books(BTC, ragged)
    one = await books.query_orderbook_snapshots(BTC, START, START + tick)
    assert one.bid_prices.tolist() == [[10.0, 9.0]]
    assert len(await books.query_orderbook_snapshots(BTC, as_of=START + tick)) == 2
    nothing = await books.query_orderbook_snapshots(BTC, end=START)
    assert (len(nothing), nothing.bid_prices.shape, nothing.timestamps.dtype) == (0, (0, 0), "datetime64[us]")
    assert await books.insert_order_books(BTC, nothing) == WriteCounts()


async def test_the_last_book_and_imbalances_come_together_or_each_alone(
    books: OrderBookRepository, conn: AsyncConnection
) -> None:
    async def last(after_us: int) -> tuple[OrderBook | None, OrderBookImbalances | None]:
        as_of = START + timedelta(microseconds=after_us)
        return await read_last_events(conn, InstrumentRepository(conn), BTC, START, as_of)

    assert await last(9) == (None, None)
    written = ragged_books()
    await books.insert_order_books(BTC, written)
    for row in range(4):
        book, none = await last(row)
        assert none is None
        assert book == written.book(row, BTC)
    known = OrderBookImbalances(BTC, START + timedelta(microseconds=2), 0.5, volume_imbalance_60s=-0.25)
    frame = pd.DataFrame([known.values()], index=pd.DatetimeIndex([known.ts]))
    await ImbalanceRepository(conn).upsert_imbalances(BTC, frame)
    assert await last(1) == (written.book(1, BTC), None)
    assert await last(3) == (written.book(3, BTC), known)
    await conn.execute(text("DELETE FROM order_books"))
    assert await last(3) == (None, known)


async def test_books_of_one_time_collapse_if_equal_and_are_refused_if_not(books: OrderBookRepository) -> None:
    ragged = ragged_books()
    assert await books.insert_order_books(BTC, take(ragged, [0, 1, 0])) == WriteCounts(
        inserted=2, unchanged=1
    )
    times = np.repeat(ragged.timestamps[:1], 4)
    clash = OrderBookColumns(times, *(getattr(ragged, field) for field in FIELDS[1:]))
    with pytest.raises(InvalidInputError, match="two rows with the same key ts=2024-08-08"):
        await books.insert_order_books(BTC, clash)


async def test_more_decimals_than_the_scale_are_refused(books: OrderBookRepository) -> None:
    fine = ragged_books().bid_sizes + 0.000001
    with pytest.raises(ScaleError, match=r"bid_sizes=1\.000001: row 0, 0 has more than 5 decimals"):
        await books.insert_order_books(BTC, OrderBookColumns(**columns(bid_sizes=fine)))


async def test_a_volume_beyond_64_bits_is_an_error_and_no_wrap_around(
    books: OrderBookRepository, conn: AsyncConnection
) -> None:
    await InstrumentRepository(conn).ensure("PEPE/USDT", 2, 0)
    levels = np.arange(4097.0, 0, -1)[None]
    empty = np.empty((1, 0))
    deep = OrderBookColumns(
        ragged_books().timestamps[:1], levels, np.full_like(levels, 2.0**52), empty, empty, np.array([1])
    )
    with pytest.raises(InvalidInputError, match=r"bid_sizes=.*: row 0 .* do not add up in 64 bits"):
        await books.insert_order_books("PEPE/USDT", deep)


def columns(**changed: Any) -> dict[str, Any]:
    ragged = ragged_books()
    return {field: changed.get(field, getattr(ragged, field)) for field in FIELDS}
