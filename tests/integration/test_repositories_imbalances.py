"""Imbalances in and out of the real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.domain.imbalances_by_columns import imbalances_at_books
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.errors import ConflictError, InvalidInputError
from datalayer.repositories import (
    ImbalanceRepository,
    InstrumentRepository,
    OrderBookRepository,
    TradeRepository,
    WriteCounts,
)
from datalayer.timescale import compress_chunks
from tests.market_books import capture_books, capture_trades

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.fixture
async def imbalances(conn: AsyncConnection) -> ImbalanceRepository:
    await InstrumentRepository(conn).ensure(BTC, 2, 5)
    return ImbalanceRepository(conn)


def rows(*values: float, start: datetime = START, **change: Any) -> pd.DataFrame:
    """Rows a microsecond apart, the same value in all columns."""
    index = pd.DatetimeIndex([start + n * TICK for n in range(len(values))], name="timestamp").as_unit("us")
    return pd.DataFrame(dict.fromkeys(IMBALANCES, np.array(values)), index=index).assign(**change)


async def test_those_of_the_real_capture_come_back_and_again_change_nothing(conn: AsyncConnection) -> None:
    await InstrumentRepository(conn).ensure(BTC, 2, 5)
    books, trades = capture_books("BTCUSDT"), capture_trades("BTCUSDT")
    await OrderBookRepository(conn).insert_order_books(BTC, books)
    await TradeRepository(conn).insert_trades(BTC, trades)
    since = books.timestamps[0].item().replace(tzinfo=UTC)
    real = imbalances_at_books(books, trades, size_scale=5, since=since)
    imbalances = ImbalanceRepository(conn)
    assert await imbalances.upsert_imbalances("btcusdt", real[::-1]) == WriteCounts(inserted=1301)
    pd.testing.assert_frame_equal(await imbalances.query_orderbook_imbalances(BTC), real, check_exact=True)
    assert await imbalances.upsert_imbalances(BTC, real) == WriteCounts(unchanged=1301)
    stored = await OrderBookRepository(conn).query_orderbook_snapshots(BTC)
    from_stored = imbalances_at_books(
        stored, await TradeRepository(conn).query_trades(BTC), size_scale=5, since=since
    )
    pd.testing.assert_frame_equal(from_stored, real, check_exact=True)
    pd.testing.assert_frame_equal(
        await imbalances.query_orderbook_imbalances(BTC, limit=7), real[-7:], check_exact=True
    )


async def test_not_known_is_null_both_ways_and_replaces_nothing(
    imbalances: ImbalanceRepository, conn: AsyncConnection
) -> None:
    half = rows(0.5, 0.25, volume_imbalance_60s=np.nan)
    assert await imbalances.upsert_imbalances(BTC, half) == WriteCounts(inserted=2)
    count = text(
        "SELECT count(*), count(volume_imbalance_60s), count(book_imbalance_1s) FROM order_book_imbalances"
    )
    assert tuple((await conn.execute(count)).one()) == (2, 0, 2)
    pd.testing.assert_frame_equal(await imbalances.query_orderbook_imbalances(BTC), half, check_exact=True)
    nothing = rows(np.nan, np.nan, volume_imbalance_60s=[np.nan, -1.0])
    assert await imbalances.upsert_imbalances(BTC, nothing) == WriteCounts(updated=1, unchanged=1)
    pd.testing.assert_frame_equal(
        await imbalances.query_orderbook_imbalances(BTC),
        half.assign(volume_imbalance_60s=[np.nan, -1.0]),
        check_exact=True,
    )
    ignored = await imbalances.upsert_imbalances(BTC, rows(0.75), on_conflict="ignore")
    assert ignored == WriteCounts(unchanged=1)
    assert await imbalances.upsert_imbalances(BTC, rows(0.75)) == WriteCounts(updated=1)
    with pytest.raises(ConflictError, match="2024-08-08"):
        await imbalances.upsert_imbalances(BTC, rows(0.5), on_conflict="error")


async def test_ranges_visibility_and_nothing(imbalances: ImbalanceRepository) -> None:
    frame = rows(0.1, 0.2, 0.3, 0.4)
    await imbalances.upsert_imbalances(BTC, frame)
    found = await imbalances.query_orderbook_imbalances(BTC, START + TICK, START + 3 * TICK)
    pd.testing.assert_frame_equal(found, frame[1:3])
    pd.testing.assert_frame_equal(
        await imbalances.query_orderbook_imbalances(BTC, as_of=START + TICK, limit=1), frame[1:2]
    )
    for nothing in (
        await imbalances.query_orderbook_imbalances(BTC, end=START),
        await imbalances.query_orderbook_imbalances(BTC, limit=0),
    ):
        pd.testing.assert_frame_equal(nothing, frame[:0])
    assert await imbalances.upsert_imbalances(BTC, frame[:0]) == WriteCounts()


async def test_they_meet_those_in_compressed_chunks(engine: AsyncEngine) -> None:
    frame = rows(*np.linspace(-1, 1, 2_000))
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 5)
        await ImbalanceRepository(conn).upsert_imbalances(BTC, frame[::2])
    await compress_chunks(engine, "order_book_imbalances")
    async with engine.begin() as conn:
        imbalances = ImbalanceRepository(conn)
        again = await imbalances.upsert_imbalances(BTC, frame)
        assert again == WriteCounts(inserted=1_000, unchanged=1_000)
        found = await imbalances.query_orderbook_imbalances(BTC)
        pd.testing.assert_frame_equal(found, frame, check_exact=True)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (rows(1.5), r"book_imbalance_1s=1\.5: row 0 is no imbalance"),
        (rows(0.5, -np.inf), r"book_imbalance_1s=-inf: row 1 is no imbalance"),
        (rows(0.5).drop(columns="book_imbalance_5s"), "missing: book_imbalance_5s"),
        (rows(0.5).assign(book_imbalance_5s="much"), "book_imbalance_5s=.*give floats"),
        (rows(0.5).tz_localize(None), "timestamp=.*naive"),
        (pd.concat([rows(0.5), rows(0.25)]), "two rows with the same key ts=2024-08-08"),
        (pd.concat([rows(0.5), rows(np.nan)]), "two rows with the same key ts=2024-08-08"),
    ],
)
async def test_what_is_no_imbalance_is_refused(
    imbalances: ImbalanceRepository, frame: pd.DataFrame, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        await imbalances.upsert_imbalances(BTC, frame)
    assert not len(await imbalances.query_orderbook_imbalances(BTC))


async def test_rows_that_repeat_another_collapse(imbalances: ImbalanceRepository) -> None:
    twice = pd.concat([rows(np.nan, 0.5), rows(np.nan, 0.5)])
    assert await imbalances.upsert_imbalances(BTC, twice) == WriteCounts(inserted=2, unchanged=2)


async def test_an_unknown_symbol_is_refused(imbalances: ImbalanceRepository) -> None:
    with pytest.raises(InvalidInputError, match=r"BTC/USDC.*did you mean BTC/USDT"):
        await imbalances.upsert_imbalances("BTC/USDC", rows(0.5))
    with pytest.raises(InvalidInputError, match="not registered"):
        await imbalances.query_orderbook_imbalances("BTC/USDC")
