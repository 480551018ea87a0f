"""The continuous aggregates hold what a recomputation from the rows gives, materialised or not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, text

from datalayer.db.aggregates import refresh_aggregates
from datalayer.domain.imbalances import IMBALANCE_PARTS
from datalayer.errors import InvalidInputError
from datalayer.models import OrderBook
from datalayer.timescale import compress_chunks, compression_statistics, relation_size
from tests.aggregate_oracle import BOOKS, CANDLES, assert_aggregates_agree, book_of, recomputed, rows_of
from tests.factories import MOMENT, order_book
from tests.sample_rows import END, START, add_instrument, fill_every_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from tests.aggregate_oracle import Row


async def test_nothing_refreshed_is_computed_at_query_time(conn: AsyncConnection) -> None:
    await fill_every_table(conn)
    await assert_aggregates_agree(conn)


async def test_part_refreshed_and_part_not(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await fill_every_table(conn)
    await refresh_aggregates(engine, "candles", START, START + timedelta(minutes=61))
    await refresh_aggregates(engine, "order_books", START, START + timedelta(minutes=2))
    async with engine.begin() as conn:
        later = text("""
            INSERT INTO candles (ts, open, high, low, close, volume, timeframe, trade_count, instrument_id)
            SELECT ts + INTERVAL '1 day', open, high + 1, low, close, volume, timeframe, trade_count, instrument_id FROM candles
        """)
        await conn.execute(later)
        await assert_aggregates_agree(conn)


async def test_refreshed_bottom_up_everything_is_materialised(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await fill_every_table(conn)
    for _ in range(2):
        await refresh_aggregates(engine, "candles", START + timedelta(minutes=1), END - timedelta(seconds=1))
        await refresh_aggregates(engine, "order_books", START, END)
    async with engine.connect() as conn:
        await assert_aggregates_agree(conn)
        watermarks = text("""
            SELECT a.user_view_name, _timescaledb_functions.to_timestamp(w.watermark)
            FROM _timescaledb_catalog.continuous_aggs_watermark AS w
            JOIN _timescaledb_catalog.continuous_agg AS a USING (mat_hypertable_id)
            WHERE a.user_view_schema = current_schema() AND a.user_view_name = ANY(:names)
        """)
        found = await conn.execute(watermarks, {"names": [name for name, _ in CANDLES]})
        reached = {row[0]: row[1] for row in found}
    assert reached == {
        name: bucket.floor(END - timedelta(seconds=1)) + bucket.length for name, bucket in CANDLES
    }


async def test_history_written_behind_the_watermark_appears_after_a_refresh(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await fill_every_table(conn)
    await refresh_aggregates(engine, "candles", START, END)
    async with engine.begin() as conn:
        await conn.execute(
            text("UPDATE candles SET high = 500 WHERE ts = :ts"), {"ts": START + timedelta(seconds=90)}
        )
        assert (await rows_of(conn, "candles_1d"))[0]["high"] < 500
    await refresh_aggregates(engine, "candles", START + timedelta(seconds=90), START + timedelta(seconds=91))
    async with engine.connect() as conn:
        await assert_aggregates_agree(conn)
        assert (await rows_of(conn, "candles_1d"))[0]["high"] == 500


async def test_rows_between_the_watermark_and_a_refreshed_range_stay_visible(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await fill_every_table(conn)
    await refresh_aggregates(engine, "candles", START, START + timedelta(minutes=5))
    await refresh_aggregates(engine, "candles", START + timedelta(minutes=90), START + timedelta(minutes=95))
    async with engine.connect() as conn:
        await assert_aggregates_agree(conn)


async def test_a_refresh_up_to_now_leaves_the_forming_buckets_alive(engine: AsyncEngine) -> None:
    insert_at = text("""
        INSERT INTO candles (ts, open, high, low, close, volume, timeframe, trade_count, instrument_id)
        SELECT ts, 2, 2, 2, 2, 1, 1, 1, :id FROM unnest(CAST(:moments AS timestamptz[])) AS ts
    """)
    async with engine.begin() as conn:
        instrument_id = await add_instrument(conn)
        now = (await conn.execute(text("SELECT date_trunc('second', now())"))).scalar_one()
        moments = [now - n * timedelta(minutes=7) for n in range(1, 400)]
        await conn.execute(insert_at, {"id": instrument_id, "moments": moments})
    await refresh_aggregates(engine, "candles", moments[-1], now)
    async with engine.begin() as conn:
        await conn.execute(insert_at, {"id": instrument_id, "moments": [now, now + timedelta(seconds=1)]})
        await assert_aggregates_agree(conn)


@pytest.mark.parametrize("name", [name for name, _ in CANDLES])
async def test_after_a_night_without_jobs_nothing_vanishes(engine: AsyncEngine, name: str) -> None:
    """A policy that runs again moves the watermark to now; rows behind its window would be out of sight."""
    async with engine.begin() as conn:
        instrument_id = await add_instrument(conn)
        statement = text("""
            INSERT INTO candles (ts, open, high, low, close, volume, timeframe, trade_count, instrument_id)
            SELECT ts, 2, 2, 2, 2, 1, 1, 1, :id
            FROM generate_series(date_trunc('minute', now()) - INTERVAL '9 days', now(), INTERVAL '7 minutes') AS ts
        """)
        await conn.execute(statement, {"id": instrument_id})
        before = await rows_of(conn, name)
    job = text(
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name LIKE '%refresh%' AND hypertable_name = :name"
    )
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as conn:
        await conn.execute(text(f"CALL run_job({await conn.scalar(job, {'name': name})})"))
        assert await rows_of(conn, name) == before


async def test_a_trade_count_is_unknown_where_one_part_lacks_it(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await fill_every_table(conn)
        await conn.execute(
            text("UPDATE candles SET trade_count = NULL WHERE ts = :ts"),
            {"ts": START + timedelta(minutes=90)},
        )
        await assert_aggregates_agree(conn)
        assert [row["trade_count"] is None for row in await rows_of(conn, "candles_1h")] == [False, True]
    await refresh_aggregates(engine, "candles", START, END)
    async with engine.connect() as conn:
        await assert_aggregates_agree(conn)


async def test_candles_of_other_timeframes_do_not_enter(conn: AsyncConnection) -> None:
    await fill_every_table(conn)
    await conn.execute(text("UPDATE candles SET timeframe = 60"))
    assert all([await rows_of(conn, name) == [] for name, _ in CANDLES])


def books_with_empty_sides(instrument_id: int) -> list[Row]:
    no_bids: Row = {"bid_prices": [], "bid_sizes": [], "best_bid": None, "bid_volume": 0}
    no_asks: Row = {"ask_prices": [], "ask_sizes": [], "best_ask": None, "ask_volume": 0}
    seconds: Sequence[Sequence[Row]] = ([no_bids, {}, no_asks], [no_bids | no_asks], [{}, no_bids])
    return [
        order_book(
            instrument_id=instrument_id, ts=MOMENT + timedelta(seconds=second, milliseconds=10 * n), **change
        )
        for second, changes in enumerate(seconds)
        for n, change in enumerate(changes)
    ]


async def test_books_with_an_empty_side_have_no_mid(conn: AsyncConnection) -> None:
    instrument_id = await add_instrument(conn)
    await conn.execute(insert(OrderBook), books_with_empty_sides(instrument_id))
    books = await rows_of(conn, "order_books")
    for name, bucket in BOOKS:
        assert await rows_of(conn, name) == recomputed(books, bucket, book_of)
    first, second, third = await rows_of(conn, "order_book_1s")
    assert (first["quoted_count"], second["quoted_count"], third["quoted_count"]) == (1, 0, 1)
    assert first["mid2_open"] == first["mid2_close"] == 203
    assert second["mid2_open"] is second["spread_sum"] is None
    assert second["imbalance_sum"] == 0
    assert third["imbalance_sum"] == round(-0.4 * IMBALANCE_PARTS) - IMBALANCE_PARTS


@pytest.mark.parametrize("relation", ["candles", "order_books", "candles_1m", "order_book_1s"])
async def test_compression_changes_no_value(engine: AsyncEngine, relation: str) -> None:
    async with engine.begin() as conn:
        await fill_every_table(conn)
    await refresh_aggregates(engine, "candles", START, END)
    await refresh_aggregates(engine, "order_books", START, END)
    async with engine.connect() as conn:
        assert await conn.run_sync(compression_statistics, relation) == await conn.run_sync(
            compression_statistics, "trades"
        )
        before, size = await rows_of(conn, relation), await conn.run_sync(relation_size, relation)
    result = await compress_chunks(engine, relation)
    assert result.chunks == 1
    assert result.bytes_before > result.bytes_after > 0
    assert await compress_chunks(engine, relation) == result
    async with engine.connect() as conn:
        assert await rows_of(conn, relation) == before
        assert 0 < await conn.run_sync(relation_size, relation) < size
        await assert_aggregates_agree(conn)


@pytest.mark.parametrize(("start", "end"), [(END, START), (START, START), (START.replace(tzinfo=None), END)])
async def test_a_range_is_checked_before_anything_is_refreshed(
    engine: AsyncEngine, start: datetime, end: datetime
) -> None:
    with pytest.raises(InvalidInputError, match="start"):
        await refresh_aggregates(engine, "candles", start, end)
