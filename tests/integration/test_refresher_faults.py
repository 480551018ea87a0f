"""The refresher is killed, doubled, and surrounded by writers and policies: nothing is lost, nothing stays wrong."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from datalayer.config import Settings
from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.repositories.refresher import AggregateRefresher
from tests.conftest import new_database
from tests.late_rows import BTC, ETH, seconds, write_books, write_candles
from tests.refreshing import LEVELS, assert_right_and_clean, dirty, refresh, run_job, server_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

DAY = datetime(2024, 2, 29, tzinfo=UTC)
COMMAND = Path(sys.executable).with_name("datalayer")


async def refreshed_to_the_end(engine: AsyncEngine) -> None:
    """The server may still be at what a killed refresher has asked for."""
    for _ in range(600):
        report = await refresh(engine)
        if not (report.is_busy or report.unfinished or await dirty(engine)):
            return
        await asyncio.sleep(0.2)
    pytest.fail(f"never done: {report}")


async def killed_refresher(settings: Settings, after_s: float) -> None:
    url = settings.require_url().render_as_string(hide_password=False)
    environment = {
        **os.environ,
        "DATALAYER_DATABASE_URL": url,
        "DATALAYER_DATABASE_SCHEMA": settings.database_schema,
        "PYTHONUNBUFFERED": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "aggregates", "refresh", "--every", "0.1"), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert await process.stdout.readline(), "it was to tell of its first step"
    await asyncio.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    await process.communicate()


@pytest.mark.parametrize("seed", range(3))
async def test_killed_at_any_moment_the_next_goes_on(
    engine: AsyncEngine, settings: Settings, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 (a seed, no secret)
    times = seconds(DAY, 4 * 17_280 // 2, step=10)
    async with engine.begin() as conn:
        await write_candles(conn, times)
        await write_candles(conn, times[::7], symbol=ETH)
    if seed:  # history that the aggregates have already, else one that they are to get
        await refresh(engine)
    for price in (200.0, 300.0, 400.0, 500.0):
        part = sorted(chance.sample(range(len(times)), 2))
        async with engine.begin() as conn:
            await write_candles(conn, times[slice(*part)], price)
            await write_books(conn, times[slice(*part)][:200], price)
        await killed_refresher(settings, chance.uniform(0, 0.5))
    await refreshed_to_the_end(engine)
    await assert_right_and_clean(engine)


@asynccontextmanager
async def database_with_jobs() -> AsyncIterator[AsyncEngine]:
    """A database of its own whose refresh policies run each second, all levels at once."""
    async with new_database() as url:
        settings = Settings.load(database_url=url)
        await migrations.upgrade(settings)
        engine = create_engine(make_url(url), settings)
        try:
            async with engine.begin() as conn:
                often = text("""
                    SELECT alter_job(job_id, schedule_interval => INTERVAL '1 second', next_start => now())
                    FROM timescaledb_information.jobs WHERE proc_name = 'policy_refresh_continuous_aggregate'
                """)
                await conn.execute(often)
            async with engine.begin() as conn:
                await conn.execute(text("SELECT _timescaledb_functions.start_background_workers()"))
            yield engine
        finally:
            await engine.dispose()


async def late_writer(engine: AsyncEngine, seed: int, symbol: str) -> int:
    """Write late candles and books for a while: far history, the windows of the policies, and just now."""
    chance = random.Random(seed)  # noqa: S311 (a seed, no secret)
    rows = 0
    for _ in range(40):
        async with engine.begin() as conn:
            now = await server_now(conn)
            age = timedelta(hours=chance.choice([0.02, 0.5, 20, 300, 900]), seconds=chance.randrange(3600))
            write = chance.choice([write_candles, write_books])
            times = seconds(now - age, chance.randrange(1, 60), step=chance.choice([1, 61]))
            counts = await write(conn, times, chance.randrange(50, 900), symbol=symbol)
            rows += counts.inserted + counts.updated
            await asyncio.sleep(chance.uniform(0, 0.2))  # a transaction that stays open for a while
    return rows


@pytest.mark.native
async def test_beside_writers_policies_and_another_refresher() -> None:
    async with database_with_jobs() as engine:
        refreshers = [
            asyncio.create_task(AggregateRefresher(engine).serve(interval_s=0.1, audit_interval_s=2))
            for _ in range(2)
        ]
        rows = await asyncio.gather(
            *(late_writer(engine, seed, symbol) for seed, symbol in enumerate([BTC, ETH, "SOL/USDT"]))
        )
        assert sum(rows) > 1000
        assert not [task for task in refreshers if task.done()], "a refresher ended by an error"
        for task in refreshers:
            task.cancel()
        await asyncio.gather(*refreshers, return_exceptions=True)
        async with engine.begin() as conn:
            await conn.execute(text("SELECT _timescaledb_functions.stop_background_workers()"))
            ran = text(
                "SELECT min(total_successes) FROM timescaledb_information.job_stats JOIN timescaledb_information.jobs"
                " USING (job_id) WHERE proc_name = 'policy_refresh_continuous_aggregate'"
            )
            assert await conn.scalar(ran) > 0, "the policies were to run beside it"
        # All levels at once: one may have to wait for its next run (ADR 0006).
        for level in LEVELS:
            await run_job(engine, level)
        await refreshed_to_the_end(engine)
        await assert_right_and_clean(engine)


@pytest.mark.native
async def test_of_two_refreshers_one_works(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await write_candles(conn, seconds(DAY, 20_000, step=10))
    reports = await asyncio.gather(*(AggregateRefresher(engine).run() for _ in range(3)))
    assert sorted(report.is_busy for report in reports) == [False, True, True]
    await assert_right_and_clean(engine)
    assert not (await refresh(engine)).is_busy
