"""From Parquet files to verified rows: `DataMigrationManager` beside `load_candles` and pandas' `to_sql` of the same file.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.migration [--rows N] [--runs K] [--quick]

Ours hashes and scans the file, checks every row, writes it with what it takes to undo it, reads the file again and compares every
row with the database; `load_candles` writes only, and `to_sql` neither checks nor turns anything into exact counts.

Prediction for a native server on 2 quiet cores, written down before the first run: 130,000 rows/s from file to verified rows, 0.65
of `load_candles`; taking the run out again 300,000 rows/s.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.harness import SYMBOL, Comparison, Stopwatch, arguments, benchmark_engine, candles
from datalayer.db.copy_transfer import driver_connection
from datalayer.ingestion import load_candles
from datalayer.rollout.manager import DataMigrationManager

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_EMPTY = "TRUNCATE candles; TRUNCATE migration_pieces, migration_files, migration_runs"
TO_SQL_ROWS = 20_000


class Ways:
    """Ways of moving the file; the database is empty before each, outside of the clock."""

    def __init__(self, engine: AsyncEngine, folder: Path, rows: int) -> None:
        self.engine, self.folder, self.rows = engine, folder, rows
        self.path = folder / "BTCUSDT_1m.parquet"
        candles(rows).to_parquet(self.path)
        self.manager = DataMigrationManager(engine, folder)
        self.pieces: list[str] = []

    async def empty(self) -> None:
        async with self.engine.begin() as conn:
            await (await driver_connection(conn)).execute(_EMPTY)

    async def migrate(self) -> float:
        await self.empty()
        with Stopwatch() as watch:
            report = await self.manager.migrate()
        assert report.is_right
        assert report.files[0].counts["inserted"] == self.rows
        return watch.seconds

    async def again(self) -> float:
        await self.migrate()
        with Stopwatch() as watch:
            assert (await self.manager.migrate()).run is None
        return watch.seconds

    async def roll_back(self) -> float:
        await self.migrate()
        async with self.engine.connect() as conn:
            run = await conn.scalar(text("SELECT id FROM migration_runs"))
        with Stopwatch() as watch:
            (undone,) = (await self.manager.rollback(run or 0)).values()
        assert undone.removed == self.rows
        return watch.seconds

    async def load(self) -> float:
        await self.empty()
        with Stopwatch() as watch:
            counts = await load_candles(self.engine, SYMBOL, "1m", self.path)
        assert counts.inserted == self.rows
        return watch.seconds

    async def to_sql(self) -> float:
        """Floats into a table of its own, by multi-row VALUES; measured on fewer rows, told for all."""
        frame = pd.read_parquet(self.path).iloc[:TO_SQL_ROWS]
        frame.index = frame.index.tz_convert(None)
        engine = create_async_engine(self.engine.url)
        with Stopwatch() as watch:
            async with engine.begin() as conn:
                await conn.run_sync(
                    lambda sync: frame.to_sql(
                        "to_sql", sync, if_exists="replace", method="multi", chunksize=2_000
                    )
                )
        await engine.dispose()
        return watch.seconds * self.rows / len(frame)

    async def sizes(self) -> str:
        await self.migrate()
        async with self.engine.connect() as conn:
            table = await conn.scalar(text("SELECT hypertable_size('candles')"))
            ledger = await conn.scalar(text("SELECT pg_total_relation_size('migration_pieces')"))
        return f"bytes a row: {(table or 0) / self.rows:.1f} in candles, {(ledger or 0) / self.rows:.1f} to undo it"


async def main() -> None:
    chosen = arguments("migration from Parquet")
    print(f"load before: {os.getloadavg()[0]:.1f}")
    async with benchmark_engine() as engine:
        with tempfile.TemporaryDirectory() as folder:
            ways = Ways(engine, Path(folder), chosen.rows)
            compared = Comparison(
                f"{chosen.rows:,} candles from a Parquet file",
                chosen.rows,
                "migrated and verified",
                {
                    "migrated and verified": ways.migrate,
                    "migrated again, nothing to do": ways.again,
                    "taken out again": ways.roll_back,
                    "load_candles": ways.load,
                    "DataFrame.to_sql": ways.to_sql,
                },
            )
            await compared.run(chosen.runs)
            print(compared.table())
            print(await ways.sizes())


if __name__ == "__main__":
    asyncio.run(main())
