"""The refresher is killed, doubled, and surrounded by writers and policies: nothing is lost, nothing stays wrong."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from datalayer.db.connection import create_engine
from datalayer.repositories.refresher import AggregateRefresher
from tests.late_rows import BTC, ETH, seconds, write_books, write_candles
from tests.refreshing import LEVELS, assert_right_and_clean, dirty, refresh, run_job, server_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.config import Settings

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


@pytest.mark.native
@pytest.mark.parametrize("seed", range(3))
async def test_a_backend_that_is_killed_at_any_moment_leaves_nothing_wrong(
    engine: AsyncEngine, seed: int
) -> None:
    """The server crashes, or an operator ends what seems to hang."""
    chance = random.Random(seed)  # noqa: S311 (a seed, no secret)
    times = seconds(DAY, 17_280, step=10)
    async with engine.begin() as conn:
        await write_candles(conn, times)
    await refresh(engine)
    kill = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE query LIKE 'CALL%refresh_continuous_aggregate%' AND datname = current_database()"
    )
    killed = 0
    for price in range(200, 800, 100):
        async with engine.begin() as conn:
            await write_candles(conn, times[:: chance.randrange(1, 5)], float(price))
        running = asyncio.create_task(refresh(engine))
        await asyncio.sleep(chance.uniform(0, 0.4))
        async with engine.connect() as conn:
            killed += await conn.scalar(kill) or 0
        await asyncio.gather(running, return_exceptions=True)
    assert killed > 0
    await refreshed_to_the_end(engine)
    await assert_right_and_clean(engine)


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
            counts = await write(conn, times, float(chance.randrange(50, 900)), symbol=symbol)
            rows += counts.inserted + counts.updated
            await asyncio.sleep(chance.uniform(0, 0.2))  # a transaction that stays open for a while
    return rows


async def policy(engine: AsyncEngine, level: str) -> NoReturn:
    """Run the policy of a level again and again, as a background worker would."""
    while True:
        with suppress(DBAPIError):  # refused, since somebody refreshes the same: the next run makes up for it
            await run_job(engine, level)
        await asyncio.sleep(0.3)


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, NoReturn]) -> AsyncIterator[None]:
    """Let this go on; none of it ends by itself."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.native
async def test_beside_writers_policies_and_another_refresher(settings: Settings) -> None:
    engine = create_engine(settings.require_url(), settings.model_copy(update={"pool_max_size": 20}))
    policies = [policy(engine, level) for level in LEVELS]
    refreshers = [AggregateRefresher(engine).serve(interval_s=0.1, audit_interval_s=2) for _ in range(2)]
    try:
        async with beside(*policies, *refreshers):
            symbols = enumerate([BTC, ETH, "SOL/USDT"])
            rows = await asyncio.gather(*(late_writer(engine, seed, symbol) for seed, symbol in symbols))
        assert sum(rows) > 1000
        # All levels ran at once: one may have to wait for its next run (ADR 0006).
        for level in LEVELS:
            await run_job(engine, level)
        await refreshed_to_the_end(engine)
        await assert_right_and_clean(engine)
    finally:
        await engine.dispose()


@pytest.mark.native
async def test_of_two_refreshers_one_works(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await write_candles(conn, seconds(DAY, 20_000, step=10))
    reports = await asyncio.gather(*(AggregateRefresher(engine).run() for _ in range(3)))
    assert sorted(report.is_busy for report in reports) == [False, True, True]
    await assert_right_and_clean(engine)
    assert not (await refresh(engine)).is_busy
