"""History at once: `load_candles` beside a prepared COPY, `\\copy` and COPY-then-upsert of the same rows.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.bulk_load [--rows N] [--runs K] [--quick]

*Prepared* is the stream of a binary COPY that is ready in memory before the clock runs; ours begins with floats in a frame or
in a Parquet file, checks them, turns them into exact counts and says how many rows were new. `\\copy` is psql reading a CSV file
of exact counts.

Predictions for a native server on 2 cores, written down before the first run: a frame into an empty range 0.75 of the prepared
COPY, a Parquet file the same, 1.3 of `\\copy`; into a range that is stored with other values 1.0 of COPY-then-upsert, with
the same values 4.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import text

from benchmarks.bulk_write import NAMES, UPSERT, Writers
from benchmarks.harness import SYMBOL, Comparison, Stopwatch, arguments, benchmark_engine, candles
from datalayer.db.copy_encode import encode_copy
from datalayer.db.copy_transfer import driver_connection
from datalayer.domain.write_counts import WriteCounts
from datalayer.ingestion import load_candles

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class Loads:
    """The ways of loading; the table is empty, or holds the same candles with another close, outside of the clock."""

    def __init__(self, engine: AsyncEngine, writers: Writers, folder: Path) -> None:
        self.engine, self.writers = engine, writers
        self.frame = writers.frame
        self.parquet, self.csv = folder / "candles.parquet", folder / "candles.csv"
        self.frame.to_parquet(self.parquet)
        self.prepared = b"".join(encode_copy(writers.columns))
        pd.DataFrame(dict(zip(NAMES, writers.lists, strict=True))).to_csv(self.csv, index=False, header=False)

    async def empty(self) -> None:
        async with self.engine.begin() as conn:
            await (await driver_connection(conn)).execute("TRUNCATE candles")

    async def other_values(self) -> None:
        await self.empty()
        other = self.frame.assign(close=self.frame["low"].to_numpy())
        await load_candles(self.engine, SYMBOL, "1m", other)

    async def ours(self, source: pd.DataFrame | Path, expected: WriteCounts) -> float:
        with Stopwatch() as watch:
            counts = await load_candles(self.engine, SYMBOL, "1m", source)
        assert (counts.inserted, counts.updated) == (expected.inserted, expected.updated), counts
        return watch.seconds

    async def binary_copy(self) -> float:
        await self.empty()
        async with self.engine.connect() as conn:
            driver = await driver_connection(conn)
            with Stopwatch() as watch:
                await driver.copy_to_table(
                    "candles", columns=list(NAMES), source=_once(self.prepared), format="binary"
                )
                await conn.commit()
        return watch.seconds

    async def backslash_copy(self) -> float:
        await self.empty()
        url = self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        command = f"\\copy candles ({', '.join(NAMES)}) FROM '{self.csv}' CSV"
        with Stopwatch() as watch:
            process = await asyncio.create_subprocess_exec(
                "psql", "--no-psqlrc", "--quiet", url, "--command", command
            )
            assert await process.wait() == 0
        return watch.seconds

    async def copy_then_upsert(self) -> float:
        async with self.engine.connect() as conn:
            await conn.exec_driver_sql("SELECT 1")
            with Stopwatch() as watch:
                await self._copy_then_upsert(conn)
                await conn.commit()
        return watch.seconds

    async def _copy_then_upsert(self, conn: AsyncConnection) -> None:
        driver = await driver_connection(conn)
        await driver.execute("CREATE TEMPORARY TABLE given (LIKE candles) ON COMMIT DROP")
        await driver.copy_to_table("given", columns=list(NAMES), source=_once(self.prepared), format="binary")
        await driver.execute(UPSERT.format(names=", ".join(NAMES), source="given"))


async def _once(data: bytes) -> Any:
    yield data


async def into_an_empty_range(loads: Loads, rows: int, runs: int) -> None:
    async def emptied(source: pd.DataFrame | Path) -> float:
        await loads.empty()
        return await loads.ours(source, WriteCounts(inserted=rows))

    async def upserted() -> float:
        await loads.empty()
        return await loads.copy_then_upsert()

    ways = {
        "prepared binary COPY": loads.binary_copy,
        "ours, a DataFrame": lambda: emptied(loads.frame),
        "ours, a Parquet file": lambda: emptied(loads.parquet),
        "prepared binary COPY, then upsert": upserted,
    }
    if shutil.which("psql"):
        ways["\\copy of a CSV file"] = loads.backslash_copy
    title = f"{rows:,} candles into an empty range of the keyed hypertable"
    compared = Comparison(title, rows, "prepared binary COPY", ways)
    await compared.run(runs)
    print(compared.table())


async def into_a_stored_range(loads: Loads, rows: int, runs: int) -> None:
    async def ours(source: pd.DataFrame | Path) -> float:
        await loads.other_values()
        changed = int((loads.frame["close"] != loads.frame["low"]).sum())
        return await loads.ours(source, WriteCounts(updated=changed))

    async def upserted() -> float:
        await loads.other_values()
        return await loads.copy_then_upsert()

    async def again() -> float:
        return await loads.ours(loads.frame, WriteCounts())

    ways = {
        "prepared binary COPY, then upsert": upserted,
        "the same, once more": loads.copy_then_upsert,
        "ours, a DataFrame": lambda: ours(loads.frame),
        "ours, once more": again,
        "ours, a Parquet file": lambda: ours(loads.parquet),
    }
    title = f"{rows:,} candles into a range that is stored with other closes"
    compared = Comparison(title, rows, "prepared binary COPY, then upsert", ways)
    await compared.run(runs)
    print(compared.table())


async def main() -> None:
    chosen = arguments("loading history")
    print(f"load before: {os.getloadavg()[0]:.1f}")
    async with benchmark_engine() as engine:
        async with engine.connect() as conn:
            instrument_id = await conn.scalar(text("SELECT id FROM instruments"))
        with tempfile.TemporaryDirectory() as folder:
            writers = Writers(engine, candles(chosen.rows), int(instrument_id or 0))
            loads = Loads(engine, writers, Path(folder))
            await into_an_empty_range(loads, chosen.rows, chosen.runs)
            await into_a_stored_range(loads, chosen.rows, chosen.runs)


if __name__ == "__main__":
    asyncio.run(main())
