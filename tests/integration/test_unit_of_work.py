"""The unit of work: everything or nothing, and what a stored key does to a write."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer import UnitOfWork, WriteCounts
from datalayer.db.connection import pool_of
from datalayer.domain.order_book import OrderBook
from datalayer.errors import ConflictError, InvalidInputError, UnitOfWorkError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

SYMBOL = "BTC/USDT"
START = datetime(2024, 8, 8, 10, tzinfo=UTC)


@pytest.fixture
async def registered(engine: AsyncEngine) -> AsyncEngine:
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(SYMBOL, 2, 5)
        await uow.commit()
    return engine


def candles(*closes: float, trade_count: Any = 1) -> pd.DataFrame:
    values = {"open": 10.0, "high": 20.0, "low": 5.0, "close": list(closes), "volume": 1.5}
    index = pd.date_range(START, periods=len(closes), freq="1min")
    return pd.DataFrame(values | {"trade_count": trade_count}, index=index)


def trades(*prices: float) -> pd.DataFrame:
    values = {"trade_id": range(len(prices)), "price": list(prices), "size": 1.0, "side": 1}
    return pd.DataFrame(values, index=pd.DatetimeIndex([START] * len(prices)))


def book(best_bid: float) -> OrderBook:
    one = np.array([1.0])
    return OrderBook(SYMBOL, START, np.array([best_bid]), one, np.array([50.0]), one, 7)


async def closes(engine: AsyncEngine) -> list[float]:
    async with UnitOfWork(engine) as uow:
        return list((await uow.candles.query_ohlcv_data(SYMBOL, "1m"))["close"])


async def test_nothing_is_stored_without_commit_and_all_of_it_with(registered: AsyncEngine) -> None:
    for commit in (False, True):
        async with UnitOfWork(registered) as uow:
            assert await uow.candles.upsert_candles(SYMBOL, "1m", candles(11, 12)) == WriteCounts(inserted=2)
            assert await uow.trades.insert_trades(SYMBOL, trades(9)) == WriteCounts(inserted=1)
            books = book(9).columns()
            assert await uow.order_books.insert_order_books(SYMBOL, books) == WriteCounts(inserted=1)
            if commit:
                await uow.commit()
        async with UnitOfWork(registered) as uow:
            found = [
                len(await uow.candles.query_ohlcv_data(SYMBOL, "1m")),
                len(await uow.trades.query_trades(SYMBOL)),
                len(await uow.order_books.query_orderbook_snapshots(SYMBOL)),
            ]
        assert found == ([2, 1, 1] if commit else [0, 0, 0])


async def test_an_error_and_a_cancellation_undo_everything(registered: AsyncEngine) -> None:
    written = asyncio.Event()

    async def write(then: Any) -> None:
        async with UnitOfWork(registered) as uow:
            await uow.candles.upsert_candles(SYMBOL, "1m", candles(11))
            written.set()
            await then()
            await uow.commit()

    async def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await write(fail)
    written.clear()
    task = asyncio.create_task(write(asyncio.Event().wait))
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await closes(registered) == []


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_after_its_end_it_refuses_everything(registered: AsyncEngine, end: str) -> None:
    async with UnitOfWork(registered) as uow:
        kept = uow.candles
        await kept.upsert_candles(SYMBOL, "1m", candles(11))
        await getattr(uow, end)()
        for use in (lambda: uow.candles, lambda: uow.trades, lambda: uow.order_books, lambda: uow.rejects):
            with pytest.raises(UnitOfWorkError, match="over"):
                use()
        for again in (uow.commit, uow.rollback, uow.__aenter__):
            with pytest.raises(UnitOfWorkError, match="over"):
                await again()
        # A repository that somebody kept must not begin a transaction of its own, which nobody would commit.
        with pytest.raises(Exception, match="closed"):
            await kept.upsert_candles(SYMBOL, "1m", candles(12))
    assert await closes(registered) == ([11] if end == "commit" else [])


def test_before_its_beginning_it_refuses_everything() -> None:
    engine: Any = object()
    with pytest.raises(UnitOfWorkError, match="not begun"):
        _ = UnitOfWork(engine).candles


async def test_stored_candles_are_updated_or_ignored_or_refused(registered: AsyncEngine) -> None:
    new = candles(11, 13, 14)
    expected = {
        "update": (WriteCounts(inserted=1, updated=1, unchanged=1), [11, 13, 14]),
        "ignore": (WriteCounts(inserted=1, unchanged=2), [11, 12, 14]),
    }
    for policy, (counts, stored) in expected.items():
        async with UnitOfWork(registered) as uow:
            await uow.candles.upsert_candles(SYMBOL, "1m", candles(11, 12))
            assert await uow.candles.upsert_candles(SYMBOL, "1m", new, on_conflict=policy) == counts  # type: ignore[arg-type]
            frame = await uow.candles.query_ohlcv_data(SYMBOL, "1m")
            assert list(frame["close"]) == stored
    async with UnitOfWork(registered) as uow:
        await uow.candles.upsert_candles(SYMBOL, "1m", candles(11, 12))
        with pytest.raises(ConflictError, match="on_conflict") as refused:
            await uow.candles.upsert_candles(SYMBOL, "1m", new, on_conflict="error")
        assert refused.value.key["timeframe"] == 60
        assert refused.value.key["ts"] == START + timedelta(minutes=1)


async def test_a_repetition_is_no_conflict(registered: AsyncEngine) -> None:
    unknown = candles(11, 12, trade_count=pd.NA).astype({"trade_count": "Int64"})
    async with UnitOfWork(registered) as uow:
        await uow.candles.upsert_candles(SYMBOL, "1m", candles(11, 12))
        for frame in (candles(11, 12), unknown):
            counts = await uow.candles.upsert_candles(SYMBOL, "1m", frame, on_conflict="error")
            assert counts == WriteCounts(unchanged=2)


async def test_trades_and_books_take_the_same_policies(registered: AsyncEngine) -> None:
    async with UnitOfWork(registered) as uow:
        await uow.trades.insert_trades(SYMBOL, trades(9, 10))
        await uow.order_books.insert_order_books(SYMBOL, book(9).columns())
        same = await uow.trades.insert_trades(SYMBOL, trades(9, 11), on_conflict="ignore")
        assert same == WriteCounts(unchanged=2)
        changed = await uow.trades.insert_trades(SYMBOL, trades(9, 11), on_conflict="update")
        assert changed == WriteCounts(updated=1, unchanged=1)
        books = book(8).columns()
        assert (await uow.order_books.insert_order_books(SYMBOL, books, on_conflict="update")).updated == 1
        with pytest.raises(ConflictError) as refused:
            await uow.order_books.insert_order_books(SYMBOL, book(7).columns(), on_conflict="error")
        assert refused.value.key["ts"] == START
        with pytest.raises(ConflictError) as refused:
            await uow.trades.insert_trades(SYMBOL, trades(9, 12), on_conflict="error")
        assert refused.value.key["trade_id"] == 1
        wrong: Any = "replace"
        with pytest.raises(InvalidInputError, match="on_conflict"):
            await uow.trades.insert_trades(SYMBOL, trades(9), on_conflict=wrong)


@pytest.mark.native
async def test_a_conflict_with_a_writer_of_the_same_moment_names_the_key(registered: AsyncEngine) -> None:
    async with UnitOfWork(registered) as first:
        await first.candles.upsert_candles(SYMBOL, "1m", candles(11))

        async def second() -> None:
            async with UnitOfWork(registered) as uow:
                await uow.candles.upsert_candles(SYMBOL, "1m", candles(12), on_conflict="error")

        waiting = asyncio.create_task(second())
        async with UnitOfWork(registered) as watcher:
            blocked = "cardinality(pg_blocking_pids(pid)) > 0"
            query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {blocked}"
            await watcher.connection.exec_driver_sql("SET LOCAL stats_fetch_consistency = 'none'")
            while not (await watcher.connection.exec_driver_sql(query)).scalar():
                pass
        await first.commit()
        with pytest.raises(ConflictError, match="2024-08-08 10:00"):
            await waiting
    assert await closes(registered) == [11]


@pytest.mark.native
async def test_an_end_on_a_lost_connection_is_an_end(registered: AsyncEngine) -> None:
    async with UnitOfWork(registered) as uow:
        await uow.candles.upsert_candles(SYMBOL, "1m", candles(11))
        async with UnitOfWork(registered) as other:
            pid = (await uow.connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar()
            await other.connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
    assert pool_of(registered).statistics.in_use == 0
    assert await closes(registered) == []
