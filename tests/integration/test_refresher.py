"""Late data of every kind ends in right aggregates at every level; compared with a recomputation from the rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer.db.aggregates import refresh_aggregates
from datalayer.repositories import CandleRepository
from datalayer.repositories.dirty_ranges import DirtyRangeRepository
from datalayer.repositories.refresher import AggregateRefresher
from datalayer.timescale import compress_chunks
from tests.aggregate_oracle import assert_aggregates_agree, rows_of
from tests.late_rows import BTC, ETH, candles, seconds, write_books, write_candles
from tests.refreshing import LEVELS, assert_right_and_clean, dirty, refresh, run_job, seen, server_now

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.repositories.refresh_report import RefreshProgress

DAY = datetime(2024, 2, 29, tzinfo=UTC)  # a chunk of candles begins there
HOUR = timedelta(hours=1)


async def test_an_import_is_materialised_day_by_day(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await write_candles(conn, seconds(DAY + 23 * HOUR, 600, step=30))
    midnight = DAY + 24 * HOUR
    steps: list[RefreshProgress] = []
    report = await AggregateRefresher(engine, on_progress=steps.append).run()
    ranges = [step for step in steps if step.aggregate is None]
    assert [step.start for step in ranges] == [DAY + 23 * HOUR, midnight]
    assert ranges[0].end == midnight
    assert [step.remaining for step in steps] == sorted((s.remaining for s in steps), reverse=True)
    caught_up = [step.aggregate for step in steps if step.aggregate is not None]
    assert list(dict.fromkeys(caught_up)) == LEVELS[:6]
    assert all(step.end - step.start <= 24 * HOUR for step in steps)
    assert (report.cleared, report.steps, report.unfinished, report.left_alone) == (1, 2, (), ())
    await assert_right_and_clean(engine)
    async with engine.connect() as conn:
        materialised = text("""
            SELECT count(*) FROM _timescaledb_catalog.continuous_aggs_watermark AS w
            JOIN _timescaledb_catalog.continuous_agg AS a USING (mat_hypertable_id)
            WHERE a.user_view_schema = current_schema() AND user_view_name LIKE 'candles%'
              AND _timescaledb_functions.to_timestamp(watermark) >= :end
        """)
        assert await conn.scalar(materialised, {"end": midnight + 4 * HOUR}) == 6


async def test_a_backfill_that_arrives_newest_first(engine: AsyncEngine) -> None:
    """A reconnect: the feed goes on at once, what was missed comes in pages, the newest first."""
    times = seconds(DAY, 4000)
    async with engine.begin() as conn:
        await write_candles(conn, times[:1000])
        await write_candles(conn, times[3000:])
    await refresh(engine)
    for start in range(2750, 999, -250):
        async with engine.begin() as conn:
            await write_candles(conn, times[start : start + 250], 200.0)
        if start % 1000 == 0:
            await refresh(engine)
            await assert_right_and_clean(engine)
    await refresh(engine)
    assert await seen(engine, "candles_1d") == 4000
    await assert_right_and_clean(engine)


async def test_an_official_candle_after_our_own(engine: AsyncEngine) -> None:
    times = seconds(DAY, 3700)
    async with engine.begin() as conn:
        await write_candles(conn, times)
        await write_candles(conn, times[::60], 300.0, symbol=ETH)
    await refresh(engine)
    official = candles(times)
    official.iloc[61:64] = candles(times[61:64], 500.0)
    async with engine.begin() as conn:
        assert (await CandleRepository(conn).upsert_candles(BTC, "1s", official)).updated == 3
    async with engine.connect() as conn:
        before = {level: await rows_of(conn, level) for level in LEVELS}
    (span,) = await dirty(engine)
    assert (span.start, span.end) == (times[61], times[63] + timedelta(microseconds=1))
    await refresh(engine)
    await assert_right_and_clean(engine)
    async with engine.connect() as conn:
        assert all(
            [await rows_of(conn, level) != before[level] for level in LEVELS if level.startswith("candles")]
        )


@pytest.mark.parametrize("compressed", [(), ("candles",), ("candles", *LEVELS[:6])], ids=len)
async def test_a_correction_a_day_later(engine: AsyncEngine, compressed: tuple[str, ...]) -> None:
    times = seconds(DAY, 3 * 24 * 60, step=60)
    async with engine.begin() as conn:
        await write_candles(conn, times)
        await write_candles(conn, times, symbol=ETH)
    await refresh(engine)
    for relation in compressed:
        assert (await compress_chunks(engine, relation)).chunks > 0
    async with engine.begin() as conn:
        counts = await write_candles(conn, times[1439:1442], 700.0)
        assert counts.updated == 3
    report = await refresh(engine)
    assert report.steps == 2
    assert await seen(engine, "candles_4h") == 2 * len(times)
    await assert_right_and_clean(engine)


@pytest.mark.parametrize("compressed", [(), ("order_books", *LEVELS[6:])], ids=len)
async def test_books_out_of_order(engine: AsyncEngine, compressed: tuple[str, ...]) -> None:
    times = seconds(DAY, 600)
    async with engine.begin() as conn:
        await write_books(conn, times[::2])
        await write_books(conn, times[:100], symbol=ETH)
    await refresh(engine)
    for relation in compressed:
        await compress_chunks(engine, relation)
    for late in (times[301::2], times[101:301:2], times[1:101:2] + timedelta(milliseconds=250)):
        async with engine.begin() as conn:
            assert (await write_books(conn, late, 50.0)).inserted == len(late)
        await refresh(engine)
        await assert_right_and_clean(engine)
    assert await seen(engine, "order_book_1m") == 700


async def test_history_behind_the_window_of_the_first_policy_run(engine: AsyncEngine) -> None:
    """The policy moves the watermark over all that is older than its window, which is then in no aggregate."""
    async with engine.begin() as conn:
        now = (await conn.execute(text("SELECT date_trunc('hour', now())"))).scalar_one()
        await write_candles(conn, seconds(now - timedelta(days=20), 100, step=600))
        await write_candles(conn, seconds(now - timedelta(days=2), 100, step=600))
    for level in LEVELS[:6]:
        await run_job(engine, level)
    assert await seen(engine, "candles_1m") == 100
    await refresh(engine)
    assert await seen(engine, "candles_1m") == 200
    await assert_right_and_clean(engine)


async def test_the_bucket_that_is_not_over_stays_alive(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        now = await server_now(conn)
        await write_candles(conn, seconds(now - timedelta(hours=30), 30 * 60, step=60))
    await refresh(engine)
    async with engine.begin() as conn:
        now = await server_now(conn)
        await write_candles(conn, seconds(now - timedelta(seconds=50), 50))
        await assert_aggregates_agree(conn)


async def test_a_range_that_is_written_to_meanwhile_stays_on_the_list(engine: AsyncEngine) -> None:
    times = seconds(DAY, 100)
    async with engine.begin() as conn:
        await write_candles(conn, times)
        (span,) = await DirtyRangeRepository(conn).list_spans()
    async with engine.begin() as conn:
        await write_candles(conn, times[50:51], 900.0)
    async with engine.begin() as conn:
        assert not await DirtyRangeRepository(conn).clear(span, span.end)
    (again,) = await dirty(engine)
    assert (again.start, again.end) == (span.start, span.end)
    await refresh(engine)
    await assert_right_and_clean(engine)


@pytest.mark.native
async def test_a_range_that_somebody_is_writing_to_is_not_waited_for(engine: AsyncEngine) -> None:
    times = seconds(DAY, 100)
    async with engine.begin() as conn:
        await write_candles(conn, times)
    async with engine.connect() as writer:
        await write_candles(writer, times[50:51], 900.0)
        report = await refresh(engine)
        assert [(span.start, report.cleared) for span in report.unfinished] == [(DAY, 0)]
        await writer.commit()
    assert len(await dirty(engine)) == 1
    await refresh(engine)
    await assert_right_and_clean(engine)


async def test_nothing_dirty_is_nothing_to_do(engine: AsyncEngine) -> None:
    report = await refresh(engine, audit=True)
    assert (report.steps, report.cleared, report.missed, report.is_busy) == (0, 0, (), False)


async def test_a_refresh_by_hand_does_not_hide_what_is_still_dirty(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await write_candles(conn, seconds(DAY, 7200))
    await refresh_aggregates(engine, "candles", DAY + HOUR, DAY + 2 * HOUR)
    await refresh(engine)
    await assert_right_and_clean(engine)
