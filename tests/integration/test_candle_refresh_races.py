"""Candles that are read while a refresh commits are right: what it moves behind a watermark falls into no crack."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.db.aggregates import AGGREGATES, refresh_level
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories import CandleRepository
from tests.late_rows import BTC, seconds, write_candles
from tests.refreshing import take_off_the_list

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

START = datetime(2024, 8, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
STORAGE = text("""
    SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema() AND view_name = :name
""")


async def read(conn: AsyncConnection, timeframe: str) -> pd.DataFrame:
    frame = await CandleRepository(conn).query_ohlcv_data(BTC, timeframe, as_of=START + 4 * HOUR)
    return frame.drop(columns="source")


async def refresh_what_is_over(
    engine: AsyncEngine, moment: datetime, *, below: Timeframe | None = None
) -> None:
    """Do what policies have done by a moment: each level ends with its last bucket that is over."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        for level in AGGREGATES["candles"]:
            if (end := level.bucket.floor(moment)) > START and (below is None or level.bucket < below):
                await refresh_level(conn, level, START, end)


@pytest.fixture
async def half_refreshed(engine: AsyncEngine) -> AsyncEngine:
    """Four hours of which the minutes of the first 96 are materialised, and one hour."""
    async with engine.begin() as conn:
        await write_candles(conn, seconds(START, 4 * 3600, step=7))
        await take_off_the_list(conn)
    await refresh_what_is_over(engine, START + 1.6 * HOUR)
    return engine


@pytest.mark.native
@pytest.mark.parametrize("timeframe", ["5m", "1h", "4h"])
async def test_a_refresh_between_the_snapshot_of_a_query_and_its_plan(
    half_refreshed: AsyncEngine, timeframe: str
) -> None:
    """TimescaleDB puts the watermarks into a plan, which comes after the snapshot: a view's hour then lacks minutes."""
    async with half_refreshed.connect() as conn:
        expected = await read(conn, timeframe)
    async with half_refreshed.connect() as holder:
        storage = await holder.scalar(STORAGE, {"name": f"candles_{timeframe}"})
        await holder.execute(text(f"LOCK TABLE {storage} IN ACCESS EXCLUSIVE MODE"))
        reading = asyncio.create_task(read_by_itself(half_refreshed, timeframe))
        waiting = text(
            f"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{storage}'::regclass"
        )
        while not await holder.scalar(waiting):  # noqa: ASYNC110 (the event is another session's)
            await asyncio.sleep(0.01)
        await refresh_what_is_over(half_refreshed, START + 3.9 * HOUR, below=Timeframe.parse(timeframe))
        await holder.rollback()
        found = await reading
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


async def read_by_itself(engine: AsyncEngine, timeframe: str) -> pd.DataFrame:
    async with engine.connect() as conn:
        return await read(conn, timeframe)


@pytest.mark.native
@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h", "4h"])
async def test_a_refresh_before_each_query_of_a_read(
    half_refreshed: AsyncEngine, timeframe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with half_refreshed.connect() as conn:
        expected = await read(conn, timeframe)
    really, hours = asyncpg.Connection.copy_from_query, [2.3, 3.1, 3.9]

    async def copy_from_query(self: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        if hours:
            await refresh_what_is_over(half_refreshed, START + hours.pop(0) * HOUR)
        return await really(self, query, *args, **kwargs)

    monkeypatch.setattr(asyncpg.Connection, "copy_from_query", copy_from_query)
    pd.testing.assert_frame_equal(await read_by_itself(half_refreshed, timeframe), expected, check_exact=True)
