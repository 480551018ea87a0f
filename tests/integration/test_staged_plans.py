"""A batch of several instruments looks for what is stored by their keys, however large the chunk has become."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datalayer.db import staged_write
from datalayer.db.copy_columns import Column
from datalayer.db.copy_transfer import copy_in, driver_connection
from datalayer.repositories.candles import SECONDS_TARGET
from datalayer.repositories.step_writes import write_candle_steps

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

INSTRUMENTS = 50
START_US = 1_722_816_000_000_000  # a Monday


def candles(first_s: int, seconds: int) -> list[Column]:
    rows = INSTRUMENTS * seconds
    times = START_US + 1_000_000 * (first_s + np.tile(np.arange(seconds), INSTRUMENTS))
    return [
        Column("instrument_id", "int2", np.repeat(np.arange(1, INSTRUMENTS + 1), seconds)),
        Column("timeframe", "int4", np.ones(rows, np.int64)),
        Column("ts", "timestamptz", times.view("datetime64[us]")),
        *(
            Column(name, "int8", np.ones(rows, np.int64))
            for name in ("open", "high", "low", "close", "volume")
        ),
    ]


async def test_the_chunk_is_not_read_through(conn: AsyncConnection) -> None:
    await write_candle_steps(conn, candles(0, 1_000))
    batch = candles(1_000, 2)
    groups, names = batch[:2], [column.name for column in batch]
    definition = ", ".join(f"{column.name} {staged_write.SQL_TYPES[column.pg_type]}" for column in batch)
    driver = await driver_connection(conn)
    await driver.execute(f"CREATE TEMPORARY TABLE staging_plan ({definition}) ON COMMIT DROP")
    await copy_in(conn, "staging_plan", batch, schema="pg_temp")
    same_key = staged_write._same_key(SECONDS_TARGET, {}, groups)
    upsert = staged_write._upsert_sql(SECONDS_TARGET, "staging_plan", names, {}, same_key)
    arguments = [*staged_write.time_bounds("ts", batch), *staged_write._distinct(batch, groups)]
    plan = "\n".join(row[0] for row in await driver.fetch(f"EXPLAIN {upsert}", *arguments))
    assert "Seq Scan on _hyper" not in plan, plan
    assert "instrument_id = ANY" in plan, plan
