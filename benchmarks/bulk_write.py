"""Candles into the keyed hypertable: ours beside the alternatives.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.bulk_write [--rows N] [--runs K] [--quick]

Predictions for a native server, 2 cores, 100,000 rows, written down before the first run: add_all 6,000 rows/s,
executemany 16,000, unnest 60,000, records and upsert 87,000, plain binary COPY 290,000, ours 110,000, ours over the
same rows 400,000; a foreign key halves plain binary COPY; counting by xmax costs under 5%.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.harness import SYMBOL, Comparison, Stopwatch, arguments, benchmark_engine, candles
from datalayer.db.copy_columns import Column
from datalayer.db.copy_transfer import copy_in, driver_connection
from datalayer.db.staged_write import ROWS_PER_BATCH
from datalayer.domain.steps import to_steps
from datalayer.models.candles import Candle
from datalayer.repositories import CandleRepository

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

NAMES = ("ts", "open", "high", "low", "close", "volume", "timeframe", "trade_count", "instrument_id")
TYPES = ("timestamptz", *["int8"] * 5, "int4", "int4", "int2")
SQL_TYPES = ("timestamptz", *["bigint"] * 5, "integer", "integer", "smallint")
UPSERT = """
    INSERT INTO candles ({names}) SELECT {names} FROM {source} ORDER BY instrument_id, timeframe, ts
    ON CONFLICT (instrument_id, timeframe, ts) DO UPDATE SET open = excluded.open, high = excluded.high,
        low = excluded.low, close = excluded.close, volume = excluded.volume, trade_count = excluded.trade_count
"""


class Writers:
    """Each way of writing, starting from the same steps; the table is emptied before each, outside the clock."""

    def __init__(self, engine: AsyncEngine, frame: pd.DataFrame, instrument_id: int) -> None:
        self.engine, self.frame, self.id = engine, frame, instrument_id
        times = frame.index.tz_localize(None).as_unit("us").to_numpy()
        steps = [
            to_steps(frame[name].to_numpy(), 6 if name == "volume" else 2, field=name) for name in NAMES[1:6]
        ]
        constants = [np.full(len(frame), value) for value in (60, 0, instrument_id)]
        self.columns = [
            Column(name, pg_type, data)
            for name, pg_type, data in zip(NAMES, TYPES, [times, *steps, *constants], strict=True)
        ]
        moments = frame.index.to_pydatetime().tolist()
        self.lists = [moments, *(column.data.tolist() for column in self.columns[1:])]
        self.records = list(zip(*self.lists, strict=True))

    async def timed(self, write: Callable[[AsyncConnection], Awaitable[Any]], *, empty: bool = True) -> float:
        if empty:
            async with self.engine.begin() as conn:
                await (await driver_connection(conn)).execute("TRUNCATE candles")
        async with self.engine.connect() as conn:
            await conn.exec_driver_sql("SELECT 1")
            with Stopwatch() as watch:
                await write(conn)
                await conn.commit()
            stored = await conn.scalar(text("SELECT count(*) FROM candles"))
        assert stored == len(self.frame)
        return watch.seconds

    async def add_all(self, conn: AsyncConnection) -> None:
        async with AsyncSession(conn) as session:
            session.add_all([Candle(**dict(zip(NAMES, record, strict=True))) for record in self.records])
            await session.flush()

    async def executemany(self, conn: AsyncConnection) -> None:
        await conn.execute(insert(Candle), [dict(zip(NAMES, record, strict=True)) for record in self.records])

    async def unnest(self, conn: AsyncConnection) -> None:
        arrays = ", ".join(f"${number}::{name}[]" for number, name in enumerate(SQL_TYPES, 1))
        source = f"unnest({arrays}) AS given ({', '.join(NAMES)})"
        driver = await driver_connection(conn)
        await driver.execute(UPSERT.format(names=", ".join(NAMES), source=source), *self.lists)

    async def records_and_upsert(self, conn: AsyncConnection) -> None:
        driver = await driver_connection(conn)
        await driver.execute("CREATE TEMPORARY TABLE given (LIKE candles) ON COMMIT DROP")
        await driver.copy_records_to_table("given", records=self.records, columns=NAMES)
        await driver.execute(UPSERT.format(names=", ".join(NAMES), source="given"))

    async def copy_binary(self, conn: AsyncConnection) -> None:
        await copy_in(conn, "candles", self.columns)

    async def ours(self, conn: AsyncConnection) -> None:
        await CandleRepository(conn).upsert_candles(SYMBOL, "1m", self.frame)

    async def staged(self, conn: AsyncConnection, returning: str) -> None:
        driver = await driver_connection(conn)
        await driver.execute("CREATE TEMPORARY TABLE given (LIKE candles) ON COMMIT DROP")
        await copy_in(conn, "given", self.columns, schema="pg_temp")
        upsert = UPSERT.format(names=", ".join(NAMES), source="given")
        await driver.execute(returning.format(upsert=upsert))


async def write_ways(writers: Writers, rows: int, runs: int) -> None:
    compared = Comparison(
        f"{rows:,} candles into an empty hypertable with its primary key",
        rows,
        "ours",
        {
            "SQLAlchemy add_all": lambda: writers.timed(writers.add_all),
            "SQLAlchemy executemany": lambda: writers.timed(writers.executemany),
            "unnest arrays, upsert": lambda: writers.timed(writers.unnest),
            "copy_records_to_table, upsert": lambda: writers.timed(writers.records_and_upsert),
            "binary COPY into the table": lambda: writers.timed(writers.copy_binary),
            "ours": lambda: writers.timed(writers.ours),
            "ours, all rows stored already": lambda: writers.timed(writers.ours, empty=False),
            "unnest, all rows stored already": lambda: writers.timed(writers.unnest, empty=False),
        },
    )
    await compared.run(runs)
    print(compared.table())


async def cost_of_counting(writers: Writers, rows: int, runs: int) -> None:
    counted = "WITH written AS ({upsert} RETURNING xmax = 0 AS is_new) SELECT count(*) FILTER (WHERE is_new) FROM written"
    compared = Comparison(
        "Counting inserted and updated rows by xmax, a batch of ours",
        rows,
        "not counted",
        {
            "not counted": lambda: writers.timed(lambda conn: writers.staged(conn, "{upsert}")),
            "counted": lambda: writers.timed(lambda conn: writers.staged(conn, counted)),
        },
    )
    await compared.run(runs)
    print(compared.table())


async def cost_of_a_foreign_key(engine: AsyncEngine, writers: Writers, rows: int, runs: int) -> None:
    async def with_key() -> float:
        await _execute(engine, "TRUNCATE candles")
        await _execute(
            engine, "ALTER TABLE candles ADD FOREIGN KEY (instrument_id) REFERENCES instruments (id)"
        )
        try:
            return await writers.timed(writers.copy_binary)
        finally:
            await _execute(engine, "ALTER TABLE candles DROP CONSTRAINT candles_instrument_id_fkey")

    compared = Comparison(
        "A foreign key on candles.instrument_id, binary COPY into the table",
        rows,
        "no foreign key",
        {"no foreign key": lambda: writers.timed(writers.copy_binary), "foreign key": with_key},
    )
    await compared.run(runs)
    print(compared.table())


async def _execute(engine: AsyncEngine, statement: str) -> None:
    async with engine.begin() as conn:
        await (await driver_connection(conn)).execute(statement)


async def main() -> None:
    chosen = arguments("bulk writes of candles")
    async with benchmark_engine() as engine:
        async with engine.connect() as conn:
            instrument_id = await conn.scalar(text("SELECT id FROM instruments"))
        writers = Writers(engine, candles(chosen.rows), int(instrument_id or 0))
        await write_ways(writers, chosen.rows, chosen.runs)
        batch = min(chosen.rows, ROWS_PER_BATCH)
        await cost_of_counting(
            Writers(engine, writers.frame.iloc[:batch], writers.id), batch, chosen.runs * 5
        )
        await cost_of_a_foreign_key(engine, writers, chosen.rows, chosen.runs)


if __name__ == "__main__":
    asyncio.run(main())
