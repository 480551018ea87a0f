"""Streams that are stopped, cancelled, cut off or refused; and how much of them is held."""

from __future__ import annotations

import asyncio
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.db.retry import RetryableDBOperation
from datalayer.errors import DatabaseError, InvalidInputError
from datalayer.repositories import MarketHistory
from tests.stored_history import BTC, END, START, collect, many_trades, rename, write_trades

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


async def test_a_caller_may_stop_early(history: MarketHistory, engine: AsyncEngine) -> None:
    """The fixture looks whether a task or connection is left."""
    await write_trades(engine)
    async with history.stream_trades(BTC, start=START, batch_rows=100) as batches:
        async for _ in batches:
            break
    assert [batch async for batch in batches] == []
    stream = history.stream_trades(BTC, start=START, batch_rows=100)
    await anext(stream)
    await asyncio.sleep(0.01)
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(ZeroDivisionError):
        async with history.stream_trades(BTC, start=START, batch_rows=100) as batches:
            len(await anext(batches)) / 0

    forgotten = history.stream_trades(BTC, start=START, batch_rows=100)
    await anext(forgotten)
    reading = forgotten._reading
    assert reading is not None
    del forgotten
    await reading  # ends by itself, and nothing follows


async def test_the_next_batch_is_read_while_the_caller_works(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    await write_trades(engine)
    async with history.stream_trades(BTC, start=START, batch_rows=1_000) as batches:
        await anext(batches)
        reading = batches._reading
        assert reading is not None
        await asyncio.wait([reading])
        following = batches._position
        assert following is not None
        expected, _ = reading.result()
        assert await anext(batches) is expected


async def test_a_cancelled_caller_and_two_callers_lose_nothing(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    expected = await write_trades(engine)
    stream = history.stream_trades(BTC, start=START, end=END, batch_rows=1_000)
    found = [await anext(stream)]
    for _ in range(5):
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    first, second = await asyncio.gather(anext(stream), anext(stream), return_exceptions=True)
    assert isinstance(first, pd.DataFrame)
    assert isinstance(second, RuntimeError)
    found += [first, *[batch async for batch in stream]]
    pd.testing.assert_frame_equal(pd.concat(found), expected.loc[: END - timedelta(microseconds=1)])


async def test_closing_ends_a_caller_that_waits(history: MarketHistory, engine: AsyncEngine) -> None:
    await write_trades(engine)
    stream = history.stream_trades(BTC, start=START, batch_rows=100)
    waiting = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    await stream.aclose()
    assert await waiting is None


@pytest.mark.usefixtures("history")
async def test_errors_reach_the_caller_and_the_stream_goes_on_after_them(engine: AsyncEngine) -> None:
    expected = await write_trades(engine)
    history = MarketHistory(engine, retry=RetryableDBOperation(max_attempts=1))
    stream = history.stream_trades(BTC, start=START, end=END, batch_rows=1_000)
    found = [await anext(stream)]
    await rename(engine, "trades", "elsewhere")
    try:
        with pytest.raises(DatabaseError, match="does not exist"):
            await collect(stream, found)
        with pytest.raises(DatabaseError, match="does not exist"):
            await anext(stream)
    finally:
        await rename(engine, "elsewhere", "trades")
    found += [batch async for batch in stream]
    pd.testing.assert_frame_equal(pd.concat(found), expected.loc[expected.index < END])
    with pytest.raises(InvalidInputError, match="not registered"):
        await anext(history.stream_trades("XLM/EUR", start=START))


@pytest.mark.native
async def test_closing_does_not_wait_for_a_database_that_is_held_up(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    await write_trades(engine)
    stream = history.stream_trades(BTC, start=START, batch_rows=100)
    async with engine.begin() as conn:
        await conn.execute(text("LOCK TABLE trades IN ACCESS EXCLUSIVE MODE"))
        waiting = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await stream.aclose()
        assert await waiting is None


@pytest.mark.native
async def test_a_stream_outlives_its_connections(history: MarketHistory, engine: AsyncEngine) -> None:
    expected = await write_trades(engine)
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    found = []
    async with history.stream_trades(BTC, start=START, end=END, batch_rows=500) as batches:
        async for batch in batches:
            found.append(batch)
            if len(found) % 5 == 0:
                async with engine.connect() as conn:
                    await conn.execute(kill)
    pd.testing.assert_frame_equal(pd.concat(found), expected.loc[expected.index < END])


async def test_memory_is_bounded_by_the_batch(history: MarketHistory, engine: AsyncEngine) -> None:
    """Of 200,000 trades in batches of 2,000, what is held at any time is far less than all of them."""
    rows, batch_rows = 200_000, 2_000
    await many_trades(engine, rows)

    async def peak_bytes(rows_at_a_time: int) -> int:
        seen = 0
        tracemalloc.start()
        try:
            async for batch in history.stream_trades(BTC, start=START, batch_rows=rows_at_a_time):
                seen += len(batch)
            assert seen == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak_bytes(batch_rows)  # what is loaded once
    in_batches, at_once = await peak_bytes(batch_rows), await peak_bytes(rows)
    assert in_batches < at_once / 20
    assert in_batches < 2 * batch_rows * 500
