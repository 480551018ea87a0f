"""Every write records what the aggregates may not show yet, in its own transaction, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from datalayer.db.dirty_ranges import LATE_AFTER, MERGED_WITHIN
from datalayer.db.staged_write import ROWS_PER_BATCH
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories import CandleRepository
from datalayer.repositories.dirty_ranges import DirtyRangeRepository
from tests.late_rows import BTC, ETH, candles, seconds, write_books, write_candles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.repositories import WriteCounts

    Write = Callable[..., Awaitable[WriteCounts]]

DAY = datetime(2024, 3, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
FAMILIES = pytest.mark.parametrize(
    ("family", "write"), [("candles", write_candles), ("order_books", write_books)], ids=["candles", "books"]
)
WRITES = pytest.mark.parametrize("write", [write_candles, write_books], ids=["candles", "books"])


async def spans(conn: AsyncConnection) -> list[tuple[str, datetime, datetime]]:
    found = await DirtyRangeRepository(conn).list_spans()
    return [(span.family, span.start, span.end) for span in found]


async def server_now(conn: AsyncConnection) -> datetime:
    now: datetime = (await conn.execute(text("SELECT date_trunc('second', clock_timestamp())"))).scalar_one()
    return now


@FAMILIES
async def test_history_is_recorded_from_its_first_row_to_its_last(
    conn: AsyncConnection, family: str, write: Write
) -> None:
    await write(conn, seconds(DAY, 100))
    assert await spans(conn) == [(family, DAY, DAY + timedelta(seconds=99) + INSTANT)]


@WRITES
async def test_the_live_feed_records_nothing(conn: AsyncConnection, write: Write) -> None:
    now = await server_now(conn)
    await write(conn, seconds(now - timedelta(seconds=5), 6))
    await write(conn, seconds(now - timedelta(seconds=5), 7), 200.0)
    assert await spans(conn) == []


@FAMILIES
async def test_of_a_flush_that_hung_only_the_old_rows_are_recorded(
    conn: AsyncConnection, family: str, write: Write
) -> None:
    start = await server_now(conn) - timedelta(seconds=100)
    await write(conn, seconds(start, 101))
    ((recorded, first, end),) = await spans(conn)
    assert (recorded, first) == (family, start)
    newest = await server_now(conn) - LATE_AFTER
    assert start + timedelta(seconds=100) - LATE_AFTER <= end <= newest + timedelta(seconds=1)


async def test_what_a_refresh_by_hand_went_past_is_late_however_young(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        now = await server_now(conn)
        await write_candles(conn, seconds(now + timedelta(minutes=1), 60))
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        await conn.execute(
            text(
                "CALL refresh_continuous_aggregate('candles_1m', now() - INTERVAL '5 minutes', now() + INTERVAL '3 minutes')"
            )
        )
    async with engine.begin() as conn:
        await write_candles(conn, [now])
        assert await spans(conn) == [("candles", now, now + INSTANT)]


async def test_an_equal_row_is_not_late_and_a_changed_one_is(conn: AsyncConnection) -> None:
    await write_candles(conn, seconds(DAY, 100))
    await conn.execute(text("DELETE FROM dirty_ranges"))
    await write_candles(conn, seconds(DAY, 100))
    assert await spans(conn) == []
    frame = candles(seconds(DAY, 100))
    frame.loc[frame.index[40], "high"] += 1
    await CandleRepository(conn).upsert_candles(BTC, "1s", frame)
    changed = DAY + timedelta(seconds=40)
    assert await spans(conn) == [("candles", changed, changed + INSTANT)]


async def test_an_ignored_book_is_not_late(conn: AsyncConnection) -> None:
    await write_books(conn, seconds(DAY, 10))
    await conn.execute(text("DELETE FROM dirty_ranges"))
    await write_books(conn, seconds(DAY, 10), 200.0)
    assert await spans(conn) == []


@pytest.mark.parametrize("timeframe", [t for t in Timeframe if t is not Timeframe.S1])
async def test_candles_that_no_aggregate_reads_are_not_late(
    conn: AsyncConnection, timeframe: Timeframe
) -> None:
    await write_candles(conn, [DAY, DAY + timedelta(days=1)], timeframe=timeframe)
    assert await spans(conn) == []


async def test_rows_that_lie_far_apart_are_recorded_apart(conn: AsyncConnection) -> None:
    times = [DAY, DAY + MERGED_WITHIN, DAY + 2 * MERGED_WITHIN + INSTANT * 10**6]
    await write_candles(conn, times)
    expected = [(DAY, times[1] + INSTANT), (times[2], times[2] + INSTANT)]
    assert await spans(conn) == [("candles", *ends) for ends in expected]


@pytest.mark.parametrize("is_reversed", [False, True], ids=["oldest first", "newest first"])
async def test_a_day_of_backfill_in_batches_is_one_range(engine: AsyncEngine, *, is_reversed: bool) -> None:
    times = seconds(DAY, 86_400)
    starts = range(0, len(times), ROWS_PER_BATCH)
    for start in reversed(starts) if is_reversed else starts:
        async with engine.begin() as conn:
            await write_candles(conn, times[start : start + ROWS_PER_BATCH])
    async with engine.connect() as conn:
        assert await spans(conn) == [("candles", DAY, times[-1].to_pydatetime() + INSTANT)]


async def test_a_merged_range_has_a_new_number_and_the_time_of_the_oldest(engine: AsyncEngine) -> None:
    found = []
    for _ in range(2):
        async with engine.begin() as conn:
            await write_candles(conn, [DAY], 100.0 + len(found))
            found += await DirtyRangeRepository(conn).list_spans()
    before, after = found
    assert (after.start, after.end, after.recorded_at) == (before.start, before.end, before.recorded_at)
    assert after.id > before.id


async def test_what_is_rolled_back_was_never_late(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await write_candles(conn, [DAY])
        await conn.rollback()
        assert await spans(conn) == []


@pytest.mark.native
async def test_writers_do_not_wait_for_each_other(engine: AsyncEngine) -> None:
    """Both would take over the range that is there; one does, and the ranges overlap until the next write there."""
    async with engine.begin() as conn:
        await write_candles(conn, [DAY], symbol=ETH)
        await write_candles(conn, [DAY])
    async with asyncio.timeout(30), engine.connect() as first, engine.connect() as second:
        await write_candles(first, seconds(DAY, 10), 200.0)
        await write_candles(second, seconds(DAY, 20), 200.0, symbol=ETH)
        await second.commit()
        await first.commit()
    async with engine.begin() as conn:
        ends = [DAY + timedelta(seconds=last) + INSTANT for last in (9, 19)]
        assert sorted(await spans(conn)) == [("candles", DAY, end) for end in ends]
        await write_candles(conn, [DAY], 300.0)
        assert await spans(conn) == [("candles", DAY, ends[1])]


async def test_readers_are_told_whole_buckets_apart_from_each_other(conn: AsyncConnection) -> None:
    at = {n: DAY + timedelta(hours=n, seconds=90) for n in (0, 2, 30)}
    await write_candles(conn, list(at.values()))
    repository = DirtyRangeRepository(conn)

    async def dirty(bucket: str, start: datetime, end: datetime) -> list[Any]:
        return await repository.list_dirty_buckets("candles", bucket, start, end)

    minute = timedelta(minutes=1)
    always = DAY - timedelta(days=9), DAY + timedelta(days=9)
    assert await dirty("1m", *always) == [
        (t - timedelta(seconds=30), t + timedelta(seconds=30)) for t in at.values()
    ]
    assert await dirty("1d", *always) == [(DAY, DAY + timedelta(days=2))]
    # The day that the range lies in is dirty because of a moment outside of the range.
    assert await dirty("1d", DAY + timedelta(hours=8), DAY + timedelta(hours=9)) == [
        (DAY, DAY + timedelta(days=1))
    ]
    assert await dirty("1m", DAY, DAY + minute) == []
    assert await repository.list_dirty_buckets("order_books", "1m", *always) == []
    with pytest.raises(InvalidInputError, match="start"):
        await dirty("1m", DAY, DAY)


async def test_a_range_written_past_the_repositories_is_recorded_by_hand(conn: AsyncConnection) -> None:
    repository = DirtyRangeRepository(conn)
    await repository.record("order_books", DAY, DAY + timedelta(seconds=5))
    await repository.record("order_books", DAY + timedelta(seconds=5), DAY + timedelta(seconds=9))
    assert await spans(conn) == [("order_books", DAY, DAY + timedelta(seconds=9))]
    with pytest.raises(InvalidInputError, match="naive"):
        await repository.record("candles", DAY.replace(tzinfo=None), DAY)
