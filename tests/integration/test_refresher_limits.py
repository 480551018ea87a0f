"""What the refresher leaves alone, and what it finds though nobody recorded it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer.db.aggregates import refresh_aggregates
from datalayer.repositories.dirty_ranges import DirtyRangeRepository
from datalayer.repositories.refresh_step import LeftAlone
from datalayer.repositories.refresher import AggregateRefresher
from datalayer.timescale import PolicyKind, switch_jobs
from tests.aggregate_oracle import rows_of
from tests.late_rows import seconds, write_books, write_candles
from tests.refreshing import LEVELS, assert_right_and_clean, dirty, refresh, run_job, seen, server_now
from tests.sample_rows import add_instrument

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.aggregate_oracle import Row

DAY = datetime(2024, 2, 29, tzinfo=UTC)
DAYS = timedelta(days=1)
HOUR = timedelta(hours=1)
PAST_THE_REPOSITORIES = text("""
    INSERT INTO candles (ts, open, high, low, close, volume, timeframe, trade_count, instrument_id)
    SELECT ts, 2, 2, 2, 2, 1, :timeframe, 1, :id FROM generate_series(:start, :last, INTERVAL '1 minute') AS ts
""")


async def written_past(
    engine: AsyncEngine, start: datetime, last: datetime, instrument_id: int, timeframe: int = 1
) -> None:
    async with engine.begin() as conn:
        values = {"start": start, "last": last, "id": instrument_id, "timeframe": timeframe}
        await conn.execute(PAST_THE_REPOSITORIES, values)


async def drop_chunks(engine: AsyncEngine, relation: str, older_than: datetime) -> None:
    async with engine.begin() as conn:
        await conn.execute(
            text(f"SELECT drop_chunks('{relation}', older_than => CAST(:moment AS timestamptz))"),
            {"moment": older_than},
        )


@pytest.fixture
async def old_books(engine: AsyncEngine) -> AsyncEngine:
    """Two days of books in all aggregates; of the first day the books themselves are dropped."""
    async with engine.begin() as conn:
        await write_books(conn, seconds(DAY, 2 * 24 * 60, step=60))
    await refresh(engine)
    await drop_chunks(engine, "order_books", DAY + DAYS)
    return engine


async def aggregates(engine: AsyncEngine) -> list[list[Row]]:
    async with engine.connect() as conn:
        return [await rows_of(conn, level) for level in LEVELS]


async def test_what_was_dropped_from_the_source_stays_in_the_aggregates(old_books: AsyncEngine) -> None:
    before = await aggregates(old_books)
    async with old_books.begin() as conn:
        await DirtyRangeRepository(conn).record("order_books", DAY - DAYS, DAY + 3 * DAYS)
    report = await refresh(old_books)
    assert await aggregates(old_books) == before
    assert await dirty(old_books) == []
    assert {(left.aggregate, left.reason) for left in report.left_alone} == {("order_book_1s", "fewer rows")}
    assert min(left.start for left in report.left_alone) == DAY
    assert max(left.end for left in report.left_alone) == DAY + DAYS - timedelta(seconds=59)


async def test_a_late_book_makes_a_dropped_chunk_anew_and_does_not_replace_what_was_there(
    old_books: AsyncEngine,
) -> None:
    """The aggregate of a second that had a book is kept; a second that had none gains one."""
    before = await seen(old_books, "order_book_1m")
    async with old_books.begin() as conn:
        late = [DAY + HOUR, DAY + 2 * HOUR + timedelta(seconds=7)]
        await write_books(conn, [late[0] + timedelta(milliseconds=3), late[1]], 900.0)
        await conn.execute(text("DELETE FROM order_books WHERE ts = :ts"), {"ts": DAY + 30 * HOUR})
        await DirtyRangeRepository(conn).record("order_books", DAY + 30 * HOUR, DAY + 31 * HOUR)
    report = await refresh(old_books)
    assert {left for left in report.left_alone if left.start in {late[0], DAY + 30 * HOUR}} == {
        LeftAlone("order_book_1s", start, start + timedelta(seconds=1), "fewer rows")
        for start in (late[0], DAY + 30 * HOUR)
    }
    assert await seen(old_books, "order_book_1s") == before + 1
    assert await seen(old_books, "order_book_1m") == before + 1


async def test_what_retention_is_about_to_drop_is_left_alone(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        now = await server_now(conn)
        await write_books(conn, seconds(now - 32 * DAYS, 1000, step=600))
    await refresh(engine)
    before = await aggregates(engine)
    late = [now - 31 * DAYS + HOUR, now - 28 * DAYS]
    async with engine.begin() as conn:
        await conn.run_sync(switch_jobs, PolicyKind.RETENTION, scheduled=True)
    for moment in late:
        async with engine.begin() as conn:
            await write_books(conn, [moment + timedelta(milliseconds=5)])
    try:
        report = await refresh(engine, audit=True)
        assert [(left.aggregate, left.start, left.reason) for left in report.left_alone] == [
            ("order_book_1s", late[0], "retention")
        ]
        await run_job(engine, "order_books", "retention")
        assert (await refresh(engine, audit=True)).missed == ()
    finally:
        async with engine.begin() as conn:
            await conn.run_sync(switch_jobs, PolicyKind.RETENTION, scheduled=False)
    assert await dirty(engine) == []
    assert await seen(engine, "order_book_1m") == 1001
    after = await aggregates(engine)
    for level in (LEVELS.index(name) for name in LEVELS[6:]):
        assert [row for row in after[level] if row["ts"] < late[0]] == [
            row for row in before[level] if row["ts"] < late[0]
        ]


async def test_rows_written_past_the_repositories_are_found(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        instrument_id = await add_instrument(conn)
        now = await server_now(conn)
    await written_past(engine, now - 2 * DAYS, now - DAYS, instrument_id)
    for level in LEVELS[:6]:
        await run_job(engine, level)
    history = DAY, DAY + 2 * HOUR
    await written_past(engine, *history, instrument_id)
    assert await seen(engine, "candles_1d") == 1441
    assert (await refresh(engine)).steps == 0
    report = await refresh(engine, audit=True)
    assert [family for family, *_ in report.missed] == ["candles"]
    assert report.missed[0][1] <= history[0] < history[1] < report.missed[0][2]
    await assert_right_and_clean(engine)
    assert (await refresh(engine, audit=True)).missed == ()


async def test_what_was_written_while_the_jobs_stood_still_is_found(engine: AsyncEngine) -> None:
    """Longer than their window: it was ahead of the watermark, which then jumped over it."""
    async with engine.begin() as conn:
        now = await server_now(conn)
        await write_candles(conn, seconds(now - 60 * DAYS, 60, step=60))
    await refresh(engine)
    async with engine.begin() as conn:
        await write_candles(conn, seconds(now - 40 * DAYS, 60, step=60))
        # As if it had been written live, 40 days ago.
        await conn.execute(text("DELETE FROM dirty_ranges"))
        await write_candles(conn, seconds(now - 2 * DAYS, 60, step=60))
    assert await seen(engine, "candles_1m") == 180
    for level in LEVELS[:6]:
        await run_job(engine, level)
    assert await seen(engine, "candles_1m") == 120
    report = await refresh(engine, audit=True)
    assert len(report.missed) > 0
    assert await seen(engine, "candles_1d") == 180
    await assert_right_and_clean(engine)


async def test_an_import_of_other_timeframes_is_not_missed_by_the_aggregates(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        instrument_id = await add_instrument(conn)
        now = await server_now(conn)
        await write_candles(conn, seconds(now - DAYS, 10, step=60))
    await run_job(engine, "candles_1m")
    await written_past(engine, DAY, DAY + DAYS, instrument_id, timeframe=60)
    await run_job(engine, "candles_1m")
    assert (await refresh(engine, audit=True)).missed == ()


async def test_what_is_left_alone_is_not_found_again_each_time(old_books: AsyncEngine) -> None:
    async with old_books.begin() as conn:
        now = await server_now(conn)
        await write_books(conn, seconds(now - timedelta(seconds=300), 10))
        await write_books(conn, [DAY + HOUR + timedelta(milliseconds=3)])
        await conn.execute(text("DELETE FROM dirty_ranges"))
    for level in LEVELS[6:]:
        await run_job(old_books, level)
    refresher = AggregateRefresher(old_books)
    first = await refresher.run()
    assert (len(first.missed) > 0, len(first.left_alone) > 0) == (True, True)
    again = await refresher.run()
    second = DAY + HOUR
    assert not any(start <= second < end for _, start, end in again.missed)


async def test_a_refresh_by_hand_that_is_open_at_its_start_is_no_riddle_to_an_audit(
    engine: AsyncEngine,
) -> None:
    """What is left in TimescaleDB's log begins before the first moment that a timestamptz can be."""
    async with engine.begin() as conn:
        await write_candles(conn, seconds(DAY, 100))
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        await conn.execute(text("CALL refresh_continuous_aggregate('candles_1m', NULL, '2024-03-01Z')"))
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE candles SET volume = 1"))
    await refresh(engine, audit=True)
    await assert_right_and_clean(engine)


@pytest.mark.native
async def test_a_watermark_that_passes_an_open_transaction_hides_nothing_for_good(
    engine: AsyncEngine,
) -> None:
    times = seconds(DAY, 7200)
    async with engine.begin() as conn:
        await write_candles(conn, times[3600:])
    async with engine.connect() as writer:
        await write_candles(writer, times[:3600])
        await refresh_aggregates(engine, "candles", DAY, DAY + DAYS)
        await writer.commit()
    assert await seen(engine, "candles_1m") == 3600
    assert min(span.start for span in await dirty(engine)) == DAY
    await refresh(engine)
    await assert_right_and_clean(engine)


async def test_a_refresh_that_was_interrupted_and_forgotten_is_made_up_for(engine: AsyncEngine) -> None:
    """TimescaleDB took what changed out of its log, and was killed before it computed it (timescaledb #8591)."""
    times = seconds(DAY, 600)
    async with engine.begin() as conn:
        await write_candles(conn, times)
    await refresh(engine)
    async with engine.begin() as conn:
        await write_candles(conn, times[120:240], 500.0)
    async with engine.begin() as conn:
        await conn.execute(text("SET LOCAL allow_system_table_mods = on"))
        taken_out = text("""
            WITH gone AS (
                DELETE FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log AS i
                USING _timescaledb_catalog.continuous_agg AS a
                WHERE a.raw_hypertable_id = i.hypertable_id AND a.user_view_schema = current_schema()
                  AND a.user_view_name = 'candles_1m'
                RETURNING a.mat_hypertable_id, lowest_modified_value, greatest_modified_value + 1000000
            )
            INSERT INTO _timescaledb_catalog.continuous_aggs_materialization_ranges SELECT * FROM gone
        """)
        assert (await conn.execute(taken_out)).rowcount == 1
    await refresh(engine)
    await assert_right_and_clean(engine)
    async with engine.begin() as conn:  # this version never does, and the next test is none of it
        await conn.execute(text("SET LOCAL allow_system_table_mods = on"))
        await conn.execute(text("DELETE FROM _timescaledb_catalog.continuous_aggs_materialization_ranges"))
