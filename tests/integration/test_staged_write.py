"""The staging table: private to a transaction, whoever shares the session and whatever failed before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.db.copy_columns import Column
from datalayer.db.staged_write import ROWS_PER_BATCH, WriteTarget, write_staged
from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import DatabaseError
from datalayer.repositories import InstrumentRepository, TradeRepository

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.config import Settings

TARGET = WriteTarget(table="trades", time="ts", key=("instrument_id", "ts", "trade_id"), equal_key="update")


def trades(count: int, *, size: int = 1) -> list[Column]:
    step = np.arange(count)
    return [
        Column("ts", "timestamptz", np.datetime64("2024-08-08", "us") + step * 1000),
        Column("trade_id", "int8", step),
        Column("price", "int8", step + 100),
        Column("size", "int8", np.full(count, size)),
        Column("side", "int2", np.ones(count, np.int16)),
    ]


async def write(conn: AsyncConnection, columns: list[Column], symbol: str = "BTC/USDT") -> WriteCounts:
    instrument = await InstrumentRepository(conn).ensure(symbol, 0, 0)
    return await write_staged(conn, TARGET, columns, {"instrument_id": ("int2", instrument.id)})


async def test_more_rows_than_a_batch_are_counted_over_all_batches(conn: AsyncConnection) -> None:
    rows = 2 * ROWS_PER_BATCH + 1
    assert await write(conn, trades(rows)) == WriteCounts(inserted=rows)
    changed = trades(rows + 5)
    changed[3].data[ROWS_PER_BATCH - 1 : ROWS_PER_BATCH + 1] = 2
    assert await write(conn, changed) == WriteCounts(inserted=5, updated=2, unchanged=rows - 2)


async def test_rows_of_a_write_that_failed_do_not_come_with_the_next(conn: AsyncConnection) -> None:
    with pytest.raises(DatabaseError, match="size") as refused:
        async with conn.begin_nested():
            await write(conn, trades(10, size=0))
    assert refused.value.sqlstate == "23514"
    assert await write(conn, trades(3)) == WriteCounts(inserted=3)


async def test_writers_at_once_keep_their_rows_apart(engine: AsyncEngine) -> None:
    """On the embedded server they share one session, and with it every temporary table."""
    symbols = [f"COIN{number}/USDT" for number in range(4)]

    async def fill(number: int) -> WriteCounts:
        async with engine.begin() as conn:
            return await write(conn, trades(1000 + number), symbols[number])

    counts = await asyncio.gather(*map(fill, range(4)))
    assert counts == [WriteCounts(inserted=1000 + number) for number in range(4)]
    async with engine.connect() as conn:
        stored = [len(await TradeRepository(conn).query_trades(symbol)) for symbol in symbols]
    assert stored == [1000, 1001, 1002, 1003]


async def test_a_staging_table_of_another_shape_is_not_taken(engine: AsyncEngine) -> None:
    """As an older version of the library leaves on a connection that a pooler keeps."""
    other = [*trades(5)[:4], Column("side", "int4", np.ones(5, np.int32))]
    async with engine.begin() as conn:
        assert await write(conn, trades(3)) == WriteCounts(inserted=3)
        assert await write(conn, other) == WriteCounts(inserted=2, unchanged=3)


@pytest.mark.parametrize("schema_name", ["own", 'My "Data'])
async def test_tables_are_found_in_a_schema_of_any_name(empty_schema: Settings) -> None:
    await migrations.upgrade(empty_schema)
    engine = create_engine(make_url(empty_schema.database_url.get_secret_value()), empty_schema)  # type: ignore[union-attr]
    try:
        async with engine.begin() as conn:
            assert await write(conn, trades(3)) == WriteCounts(inserted=3)
            assert len(await TradeRepository(conn).query_trades("BTC/USDT")) == 3
            assert await conn.scalar(text("SELECT current_schema()")) == empty_schema.database_schema
    finally:
        await engine.dispose()
        await migrations.downgrade(empty_schema, "base")
