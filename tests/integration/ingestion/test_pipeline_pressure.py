"""A database that is slow: buffers fill, callers wait or the disk takes it, and ends have their limits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from datalayer import DataIngestionPipeline
from datalayer.errors import EventsLostError, IngestionClosedError
from datalayer.ingestion import EventKind, Ingested
from tests.integration.ingestion.market import QUICK, execute, pipeline, stored_trades, trade

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

pytestmark = pytest.mark.native


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "o"


@pytest.fixture
async def locked(engine: AsyncEngine) -> Any:
    """A function that keeps writers of trades waiting until what it returns is called."""
    await execute(engine, "SELECT 1")

    async def lock() -> Any:
        conn = await engine.connect()
        transaction = await conn.begin()
        await conn.exec_driver_sql("LOCK TABLE trades IN SHARE MODE")

        async def release() -> None:
            await transaction.rollback()
            await conn.close()

        return release

    return lock


@pytest.mark.parametrize("when_full", ["spill", "backpressure"])
async def test_a_slow_database_fills_the_buffer_and_then_the_disk_or_the_callers(
    engine: AsyncEngine, path: Path, locked: Any, when_full: Any
) -> None:
    small = replace(QUICK, buffer_events=50, flush_rows=20, when_full=when_full)
    async with pipeline(engine, path, small) as ingestion:
        release = await locked()
        feeding = asyncio.create_task(ingestion.ingest_trades(trade(n) for n in range(500)))
        lane = EventKind.TRADE
        if when_full == "spill":
            assert await feeding == {Ingested.ACCEPTED: 500}
            statistics = ingestion.statistics.lanes[lane]
            assert statistics.buffered <= 70
            assert statistics.spilled == 500 - statistics.buffered
        else:
            await asyncio.sleep(0.3)
            statistics = ingestion.statistics.lanes[lane]
            assert not feeding.done()
            assert statistics.accepted <= 70
            assert statistics.spilled == 0
        await release()
        assert await feeding == {Ingested.ACCEPTED: 500}
        await ingestion.flush()
        assert await stored_trades(engine) == list(range(500))


async def test_close_leaves_the_rest_in_the_outbox_or_says_that_it_is_lost(
    engine: AsyncEngine, path: Path, locked: Any
) -> None:
    release = await locked()
    ingestion = await DataIngestionPipeline(engine, outbox=path, settings=QUICK).open()
    await ingestion.ingest_trades(trade(n) for n in range(10))
    assert await ingestion.close(timeout_s=0.2) == {EventKind.TRADE: 10}
    unsafe = await DataIngestionPipeline(engine, outbox=None, settings=QUICK).open()
    await unsafe.ingest_trade(trade(99))
    with pytest.raises(EventsLostError) as lost:
        await unsafe.close(timeout_s=0.2)
    assert lost.value.counts == {"trade": 1}
    await release()
    async with pipeline(engine, path) as again:
        await again.flush()
    assert await stored_trades(engine) == list(range(10))


async def test_cancelling_flush_drain_and_close_loses_nothing(
    engine: AsyncEngine, path: Path, locked: Any
) -> None:
    release = await locked()
    ingestion = await DataIngestionPipeline(engine, outbox=path, settings=QUICK).open()
    await ingestion.ingest_trades(trade(n) for n in range(10))
    for call in (ingestion.flush, ingestion.drain):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await call()
    with pytest.raises(IngestionClosedError):
        await ingestion.ingest_trade(trade(10))
    closing = asyncio.create_task(ingestion.close())
    await asyncio.sleep(0.1)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await release()
    async with pipeline(engine, path) as again:
        await again.flush()
    assert await stored_trades(engine) == list(range(10))
