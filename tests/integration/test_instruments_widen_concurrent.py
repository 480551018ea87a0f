"""A widening beside writers, readers and refreshes of other sessions; needs a native server."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.db.aggregates import refresh_aggregates
from datalayer.db.connection import create_engine
from datalayer.errors import DatabaseError
from datalayer.repositories import CandleRepository, InstrumentRepository, TradeRepository
from datalayer.repositories.rescale import widen_scales
from datalayer.repositories.scale_guard import copy_out_scaled, instrument_condition
from tests.sample_rows import END, START, fill_every_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.config import Settings
    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.rescale_relation import WideningProgress

pytestmark = pytest.mark.native


@pytest.fixture
async def filled(engine: AsyncEngine) -> AsyncEngine:
    async with engine.begin() as conn:
        await fill_every_table(conn)
        await InstrumentRepository(conn).ensure("ETH/USDT", 2, 5)
    return engine


def frame(price: object, at_s: int = 0) -> pd.DataFrame:
    index = pd.DatetimeIndex([END + timedelta(seconds=at_s)])
    return pd.DataFrame({"trade_id": [at_s], "price": [price], "size": [1], "side": [1]}, index=index)


async def write(engine: AsyncEngine, symbol: str, price: object, at_s: int = 0) -> None:
    async with engine.begin() as conn:
        await TradeRepository(conn).insert_trades(symbol, frame(price, at_s))


async def prices(engine: AsyncEngine, symbol: str = "BTC/USDT") -> list[Decimal]:
    async with engine.connect() as conn:
        found = await TradeRepository(conn).query_trades(symbol, price_type="decimal")
    return found["price"].tolist()


async def backend(conn: AsyncConnection) -> int:
    return int(await conn.scalar(text("SELECT pg_backend_pid()")) or 0)


async def until_it_holds_somebody(engine: AsyncEngine, pid: int, count: int = 1) -> None:
    """Return once so many sessions wait for the session `pid`."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY (pg_blocking_pids(pid))")
    async with engine.connect() as conn:
        while (await conn.scalar(waiting, {"pid": pid}) or 0) < count:
            await conn.rollback()
            await asyncio.sleep(0.01)


def in_another_thread(settings: Settings, work: Callable[[AsyncConnection], Awaitable[Any]]) -> None:
    """Run and commit `work` on a connection of its own, and return when it is done."""

    async def run() -> None:
        own = create_engine(settings.require_url(), settings)
        async with own.begin() as conn:
            await work(conn)
        await own.dispose()

    thread = Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()


async def test_writers_of_the_instrument_wait_and_others_do_not(filled: AsyncEngine) -> None:
    before = await prices(filled)
    async with filled.connect() as conn, conn.begin():
        await widen_scales(conn, "BTC/USDT", price_scale=4)
        waiting = [asyncio.create_task(write(filled, "BTC/USDT", Decimal("7.25"), n)) for n in range(2)]
        waiting.append(asyncio.create_task(write(filled, "BTC/USDT", Decimal("7.1234"), 2)))
        await until_it_holds_somebody(filled, await backend(conn), 3)
        await write(filled, "ETH/USDT", Decimal("3.5"))
        assert await prices(filled) == before
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)
    assert await prices(filled) == [*before, Decimal("7.25"), Decimal("7.25"), Decimal("7.1234")]
    assert await prices(filled, "ETH/USDT") == [Decimal("3.5")]


async def test_what_an_earlier_writer_commits_is_rewritten_too(filled: AsyncEngine) -> None:
    before = await prices(filled)
    async with filled.connect() as writer:
        async with writer.begin():
            await TradeRepository(writer).insert_trades("BTC/USDT", frame(Decimal("7.25")))

            async def widen() -> None:
                async with filled.begin() as conn:
                    await widen_scales(conn, "BTC/USDT", price_scale=3)

            widening = asyncio.create_task(widen())
            await until_it_holds_somebody(filled, await backend(writer))
            # Whoever comes now queues behind the widening; a row lock alone would let him pass, and the next, for ever.
            late = asyncio.create_task(write(filled, "BTC/USDT", Decimal("8.125"), 1))
            await until_two_wait(filled)
            assert not late.done()
        await widening
        await late
    assert await prices(filled) == [*before, Decimal("7.25"), Decimal("8.125")]


async def until_two_wait(engine: AsyncEngine) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with engine.connect() as conn:
        while (await conn.scalar(waiting) or 0) < 2:
            await conn.rollback()
            await asyncio.sleep(0.01)


async def test_a_backend_that_is_killed_changed_nothing(filled: AsyncEngine, settings: Settings) -> None:
    before = await prices(filled)

    async def widen(*, kill: bool) -> None:
        async with filled.begin() as conn:
            pid = await backend(conn)

            def maybe_kill(progress: WideningProgress) -> None:
                if kill and progress.relation == "order_books":
                    in_another_thread(
                        settings,
                        lambda other: other.execute(text(f"SELECT pg_terminate_backend({pid}, 30000)")),
                    )

            await widen_scales(conn, "BTC/USDT", price_scale=3, on_progress=maybe_kill)

    with pytest.raises(DatabaseError):
        await widen(kill=True)
    async with filled.connect() as conn:
        assert (await InstrumentRepository(conn).get("BTC/USDT")).price_scale == 2
    assert await prices(filled) == before
    await write(filled, "BTC/USDT", Decimal("7.25"))
    await widen(kill=False)
    async with filled.connect() as conn:
        assert (await InstrumentRepository(conn).get("BTC/USDT")).price_scale == 3
    assert await prices(filled) == [*before, Decimal("7.25")]


async def test_a_writer_that_does_not_end_is_waited_for_no_longer_than_asked(filled: AsyncEngine) -> None:
    async with filled.connect() as writer, writer.begin(), filled.connect() as conn:
        await TradeRepository(writer).insert_trades("BTC/USDT", frame(1))
        with pytest.raises(DatabaseError, match="lock timeout") as refused:
            await widen_scales(conn, "BTC/USDT", price_scale=3, lock_timeout_s=0.05)
        assert refused.value.sqlstate == "55P03"
        await conn.rollback()
    await write(filled, "BTC/USDT", Decimal("7.25"))


async def test_a_reader_between_whose_statements_it_commits_reads_again(
    filled: AsyncEngine, settings: Settings
) -> None:
    asked: list[Instrument] = []

    def query(found: Instrument) -> str:
        asked.append(found)
        if len(asked) == 1:
            in_another_thread(settings, lambda conn: widen_scales(conn, "BTC/USDT", price_scale=3))
        return f"SELECT price FROM trades WHERE {instrument_condition(found)} ORDER BY ts"

    async with filled.connect() as conn:
        instrument, columns = await copy_out_scaled(
            conn, InstrumentRepository(conn), "BTC/USDT", query, {"price": "int8"}
        )
    assert [found.price_scale for found in asked] == [2, 3]
    assert instrument.price_scale == 3
    assert columns["price"].data[:2].tolist() == [1000, 1010]


async def test_readers_meanwhile_see_every_value_as_it_was(filled: AsyncEngine) -> None:
    async def read(conn: AsyncConnection) -> pd.DataFrame:
        return await CandleRepository(conn).query_ohlcv_data("BTC/USDT", "1m", source="aggregate")

    await refresh_aggregates(filled, "candles", START, START + timedelta(hours=1))
    async with filled.connect() as conn:
        expected = await read(conn)
    widening = True

    async def keep_reading() -> int:
        reads = 0
        while widening or not reads:
            async with filled.connect() as conn:
                pd.testing.assert_frame_equal(await read(conn), expected, check_exact=True)
            reads += 1
        return reads

    readers = [asyncio.create_task(keep_reading()) for _ in range(2)]
    for scale in range(3, 7):
        async with filled.begin() as conn:
            await widen_scales(conn, "BTC/USDT", price_scale=scale)
    widening = False
    assert all(np.array(await asyncio.gather(*readers)) > 0)


async def test_a_refresh_waits_and_computes_in_the_new_steps(filled: AsyncEngine) -> None:
    async with filled.connect() as conn, conn.begin():
        await widen_scales(conn, "BTC/USDT", price_scale=4)
        refreshing = asyncio.create_task(refresh_aggregates(filled, "candles", START, END))
        await until_it_holds_somebody(filled, await backend(conn))
        assert not refreshing.done()
    await refreshing
    async with filled.connect() as conn:
        await conn.execute(text("DELETE FROM dirty_ranges"))
        candles = CandleRepository(conn)
        materialised = await candles.query_ohlcv_data("BTC/USDT", "1h", source="aggregate")
        generated = await candles.query_ohlcv_data("BTC/USDT", "1h", source="generated")
    assert len(materialised) == 2
    columns = [name for name in materialised if name != "source"]
    pd.testing.assert_frame_equal(materialised[columns], generated[columns], check_exact=True)
