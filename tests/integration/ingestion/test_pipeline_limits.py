"""The pipeline at its ends: full, closed under those who wait, and with a cache and hooks that fail."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from datalayer import DataIngestionPipeline
from datalayer.errors import IngestionClosedError
from datalayer.ingestion import EventKind, Ingested, IngestionHooks
from datalayer.ingestion.outbox import CHECKPOINT_BYTES
from tests.integration.ingestion.market import (
    BTC,
    QUICK,
    book,
    candle,
    pipeline,
    scalar,
    stored_trades,
    trade,
)
from tests.no_server import engine_on_nothing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine


@pytest.fixture
async def away() -> AsyncIterator[AsyncEngine]:
    async with engine_on_nothing() as engine:
        yield engine


async def test_a_full_outbox_keeps_callers_waiting_until_the_database_is_back(
    engine: AsyncEngine, away: AsyncEngine, tmp_path: Path
) -> None:
    alarms: list[tuple[str, bool]] = []
    both = asyncio.Event()

    def alarm(message: str, *, active: bool) -> None:
        alarms.append((message, active))
        if len(alarms) > 1:  # of the outbox, and of the database that is away
            both.set()

    small = replace(QUICK, outbox_max_bytes=2**18, attempt_s=0.5, lookup_s=0.1, retry_wait_max_s=0.1)
    outage = await DataIngestionPipeline(
        away, outbox=tmp_path / "o", settings=small, hooks=IngestionHooks(on_alarm=alarm)
    ).open()
    accepted = 0

    async def feed() -> None:
        nonlocal accepted
        while await outage.ingest_trade(trade(accepted)) is Ingested.ACCEPTED:
            accepted += 1

    feeding = asyncio.create_task(feed())
    await both.wait()
    feeding.cancel()
    with suppress(asyncio.CancelledError):
        await feeding
    assert outage.statistics.outbox_is_full
    assert outage.statistics.outbox_bytes < small.outbox_max_bytes + 2 * CHECKPOINT_BYTES
    assert [active for message, active in alarms if "outbox" in message] == [True]
    assert [active for message, active in alarms if "cannot be written" in message] == [True]
    left = await outage.close(timeout_s=0)
    assert left == {EventKind.TRADE: accepted}
    async with pipeline(engine, tmp_path / "o", small) as back:
        await back.ingest_trades(trade(accepted + n) for n in range(5_000))  # there is room again
        await back.flush()
    assert await stored_trades(engine) == list(range(accepted + 5_000))


async def test_nobody_waits_for_a_pipeline_that_is_closed(away: AsyncEngine, tmp_path: Path) -> None:
    one = replace(QUICK, buffer_events=1, flush_rows=1, when_full="backpressure", lookup_s=0.1, attempt_s=0.2)
    ingestion = await DataIngestionPipeline(away, outbox=tmp_path / "o", settings=one).open()
    strict = replace(one, unknown_instruments="reject")
    unsure = await DataIngestionPipeline(away, outbox=tmp_path / "p", settings=strict).open()
    waiting = [
        asyncio.create_task(ingestion.ingest_trades(trade(n) for n in range(10))),
        asyncio.create_task(unsure.ingest_trade(trade(1))),
    ]
    await asyncio.sleep(0.5)
    waiting.append(asyncio.create_task(ingestion.flush()))
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in waiting)
    assert sum((await ingestion.close(timeout_s=0)).values()) > 0
    assert await unsure.close(timeout_s=0) == {}
    async with asyncio.timeout(10):
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in found] == [IngestionClosedError] * 3
    for call in (ingestion.flush, ingestion.drain):
        with pytest.raises(IngestionClosedError):
            await call()
    assert ingestion.statistics.lanes[EventKind.TRADE].accepted > 0
    with pytest.raises(IngestionClosedError):
        _ = DataIngestionPipeline(away, outbox=tmp_path / "q").statistics


class BrokenCache:
    def broken(self, item: Any) -> None:
        msg = f"no room for {item}"
        raise MemoryError(msg)

    put_candle = put_trade = put_orderbook = put_imbalances = discard = broken


async def test_a_cache_and_hooks_that_fail_cost_no_record(
    engine: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        msg = "hook"
        raise RuntimeError(msg)

    hooks = IngestionHooks(on_rejected=broken, on_stored=broken, on_retry=broken, on_alarm=broken)
    with caplog.at_level(logging.ERROR):
        async with pipeline(engine, tmp_path / "o", cache=BrokenCache(), hooks=hooks) as ingestion:
            for n in range(5):
                assert await ingestion.ingest_ohlcv_candle(candle(n)) is Ingested.ACCEPTED
                assert await ingestion.ingest_trade(trade(n)) is Ingested.ACCEPTED
                assert await ingestion.ingest_orderbook_snapshot(book(n)) is Ingested.ACCEPTED
            assert await ingestion.ingest_trade(trade(price=-1.0)) is Ingested.REJECTED
            await ingestion.flush()
            assert all(lane.retries == 0 for lane in ingestion.statistics.lanes.values())
    assert "no room for" in caplog.text
    assert await stored_trades(engine, BTC) == list(range(5))
    for table in ("candles", "order_books", "order_book_imbalances"):
        assert await scalar(engine, f"SELECT count(*) FROM {table}") == 5
    assert await scalar(engine, "SELECT count(*) FROM rejected_records") == 1


async def test_a_call_that_is_cancelled_while_it_waits_leaves_the_others_alone(
    away: AsyncEngine, engine: AsyncEngine, tmp_path: Path
) -> None:
    one = replace(QUICK, buffer_events=3, flush_rows=3, when_full="backpressure", lookup_s=0.1, attempt_s=0.2)
    outage = await DataIngestionPipeline(away, outbox=tmp_path / "o", settings=one).open()
    calls = [asyncio.create_task(outage.ingest_trade(trade(n))) for n in range(20)]
    await asyncio.sleep(0.5)
    for call in calls[::2]:
        call.cancel()
    await asyncio.wait(calls[::2])
    accepted = {n for n, call in enumerate(calls) if call.done() and not call.cancelled()}
    assert 0 < len(accepted) < 20
    await outage.close(timeout_s=0)
    await asyncio.wait(calls)
    async with pipeline(engine, tmp_path / "o") as back:
        await back.flush()
    assert accepted <= set(await stored_trades(engine))
