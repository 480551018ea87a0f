"""Ranges of stored candles into a DataFrame of floats: ours beside the alternatives.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.bulk_read [--rows 500,10000,100000,2600000] [--runs K] [--quick]

All read the same range of one table or file with all the rows, over a connection that is open and in a transaction; what reads
rows as objects is left out above 100,000. Parquet, DuckDB and ArcticDB are local files that hold floats already.

Predictions for a native server, 2 cores, 100,000 rows, written down before the first run: ours 80 ms, asyncpg fetch
250, Core rows 1,250, ORM entities 3,000; ADBC 75, since both read binary COPY; at 500 rows 4 ms each, the time going
into planning.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.harness import SYMBOL, Comparison, Stopwatch, benchmark_engine, candles
from datalayer.db.copy_transfer import driver_connection
from datalayer.domain.timeframe import Timeframe
from datalayer.models.candles import Candle
from datalayer.repositories import CandleRepository

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

NAMES = ("ts", "open", "high", "low", "close", "volume", "trade_count")
MOST_OBJECTS = 100_000


class Range:
    """One range of the stored candles, and every way to read it, each to a frame of floats indexed by time."""

    def __init__(self, stored: pd.DataFrame, rows: int, instrument_id: int) -> None:
        times = stored.index[(len(stored) - rows) // 2 :][:rows]
        self.rows, self.id, self.start = rows, instrument_id, times[0]
        self.end = times[-1] + pd.Timedelta(minutes=1)
        self.query = (
            f"SELECT {', '.join(NAMES)} FROM candles WHERE instrument_id = {instrument_id} AND timeframe = 60"
            f" AND ts >= '{self.start}' AND ts < '{self.end}' ORDER BY ts"
        )

    async def ours(self, conn: AsyncConnection) -> pd.DataFrame:
        return await CandleRepository(conn).query_ohlcv_data(
            SYMBOL, "1m", start=self.start.to_pydatetime(), end=self.end.to_pydatetime()
        )

    async def orm(self, conn: AsyncConnection) -> pd.DataFrame:
        async with AsyncSession(conn) as session:
            chosen = (
                select(Candle)
                .where(Candle.instrument_id == self.id, Candle.timeframe == Timeframe.M1)
                .where(Candle.ts >= self.start, Candle.ts < self.end)
                .order_by(Candle.ts)
            )
            entities = (await session.scalars(chosen)).all()
            return decoded(of_entities(entities))

    async def core(self, conn: AsyncConnection) -> pd.DataFrame:
        return decoded(pd.DataFrame((await conn.execute(text(self.query))).all(), columns=list(NAMES)))

    async def fetch(self, conn: AsyncConnection) -> pd.DataFrame:
        records = await (await driver_connection(conn)).fetch(self.query)
        return decoded(pd.DataFrame(records, columns=list(NAMES)))

    def adbc(self, cursor: Any) -> pd.DataFrame:
        cursor.execute(self.query)
        return decoded(cursor.fetch_arrow_table().to_pandas())

    def parquet(self, path: Path) -> pd.DataFrame:
        bounds = [("timestamp", ">=", self.start), ("timestamp", "<", self.end)]
        return pd.read_parquet(path, filters=bounds)

    def duckdb(self, connection: Any) -> pd.DataFrame:
        chosen = (
            f"FROM candles WHERE timestamp >= '{self.start}' AND timestamp < '{self.end}' ORDER BY timestamp"
        )
        found: pd.DataFrame = connection.execute(chosen).df().set_index("timestamp")
        return found

    def arcticdb(self, library: Any) -> pd.DataFrame:
        found: pd.DataFrame = library.read(
            "candles", date_range=(self.start, self.end - pd.Timedelta("1us"))
        ).data
        return found


class Last(Range):
    """The last of the stored candles at the moment when the last one closed."""

    def __init__(self, stored: pd.DataFrame, rows: int, instrument_id: int) -> None:
        super().__init__(stored, rows, instrument_id)
        self.closed = (stored.index[-1] + pd.Timedelta(minutes=1)).to_pydatetime()
        self.query = (
            f"SELECT * FROM (SELECT {', '.join(NAMES)} FROM candles WHERE instrument_id = {instrument_id}"
            f" AND timeframe = 60 ORDER BY ts DESC LIMIT {rows}) AS last ORDER BY ts"
        )

    async def ours(self, conn: AsyncConnection) -> pd.DataFrame:
        return await CandleRepository(conn).query_ohlcv_data(SYMBOL, "1m", limit=self.rows, as_of=self.closed)

    async def orm(self, conn: AsyncConnection) -> pd.DataFrame:
        async with AsyncSession(conn) as session:
            chosen = select(Candle).where(Candle.instrument_id == self.id, Candle.timeframe == Timeframe.M1)
            entities = (await session.scalars(chosen.order_by(Candle.ts.desc()).limit(self.rows))).all()
            return decoded(of_entities(entities)).iloc[::-1]

    def parquet(self, path: Path) -> pd.DataFrame:
        return pd.read_parquet(path).iloc[-self.rows :]

    def duckdb(self, connection: Any) -> pd.DataFrame:
        last = f"FROM (FROM candles ORDER BY timestamp DESC LIMIT {self.rows}) ORDER BY timestamp"
        found: pd.DataFrame = connection.execute(last).df().set_index("timestamp")
        return found

    def arcticdb(self, library: Any) -> pd.DataFrame:
        found: pd.DataFrame = library.tail("candles", n=self.rows).data
        return found


def of_entities(entities: Sequence[Candle]) -> pd.DataFrame:
    return pd.DataFrame([{name: getattr(entity, name) for name in NAMES} for entity in entities])


def decoded(frame: pd.DataFrame) -> pd.DataFrame:
    frame[["open", "high", "low", "close"]] /= 10.0**2
    frame["volume"] /= 10.0**6
    return frame.set_index("ts")


async def of_database(
    engine: AsyncEngine, read: Callable[[AsyncConnection], Awaitable[pd.DataFrame]], rows: int
) -> float:
    async with engine.connect() as conn:
        await conn.exec_driver_sql("SELECT 1")
        with Stopwatch() as watch:
            frame = await read(conn)
    check(frame, rows)
    return watch.seconds


async def of_library(read: Callable[[Any], pd.DataFrame], source: Any, rows: int) -> float:
    with Stopwatch() as watch:
        frame = read(source)
    check(frame, rows)
    return watch.seconds


def check(frame: pd.DataFrame, rows: int) -> None:
    assert len(frame) == rows
    assert frame["close"].dtype == "float64"


class Alternatives:
    """What the others read from, where it is installed: `make bench` installs it."""

    def __init__(self, engine: AsyncEngine, stored: pd.DataFrame, folder: Path) -> None:
        self.parquet = folder / "candles.parquet"
        stored.to_parquet(self.parquet, compression="zstd")
        self.sources: dict[str, Any] = {}
        if "DATALAYER_TEST_URL" in os.environ and importlib.util.find_spec("adbc_driver_postgresql"):
            self.sources["ADBC"] = self._adbc(engine)
        if importlib.util.find_spec("duckdb"):
            self.sources["DuckDB"] = self._duckdb(folder)
        if importlib.util.find_spec("arcticdb"):
            self.sources["ArcticDB"] = self._arcticdb(folder, stored)

    def ways(self, of: Range) -> dict[str, Callable[[], Awaitable[float]]]:
        reads: dict[str, Any] = {"ADBC": of.adbc, "DuckDB": of.duckdb, "ArcticDB": of.arcticdb}
        chosen = {name: _way(reads[name], source, of.rows) for name, source in self.sources.items()}
        return {**chosen, "pandas, Parquet": _way(of.parquet, self.parquet, of.rows)}

    def _adbc(self, engine: AsyncEngine) -> Any:
        import adbc_driver_postgresql.dbapi as adbc  # noqa: PLC0415

        url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        cursor = adbc.connect(url).cursor()
        cursor.execute("SELECT 1")
        return cursor

    def _duckdb(self, folder: Path) -> Any:
        import duckdb  # noqa: PLC0415

        connection = duckdb.connect(folder / "candles.duckdb")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE candles AS FROM '{self.parquet}'")
        return connection

    def _arcticdb(self, folder: Path, stored: pd.DataFrame) -> Any:
        import arcticdb  # noqa: PLC0415

        library = arcticdb.Arctic(f"lmdb://{folder / 'arctic'}").get_library("bench", create_if_missing=True)
        library.write("candles", stored.tz_convert("UTC"))
        return library


def _way(read: Callable[[Any], pd.DataFrame], source: Any, rows: int) -> Callable[[], Awaitable[float]]:
    return lambda: of_library(read, source, rows)


def ways(engine: AsyncEngine, of: Range, alternatives: Alternatives) -> dict[str, Any]:
    reads = {"ours": of.ours, "asyncpg fetch": of.fetch}
    if of.rows <= MOST_OBJECTS:
        reads |= {"SQLAlchemy Core rows": of.core, "SQLAlchemy ORM entities": of.orm}
    return {
        name: lambda read=read: of_database(engine, read, of.rows) for name, read in reads.items()
    } | alternatives.ways(of)


async def main() -> None:
    parser = argparse.ArgumentParser(description="ranges of candles into a DataFrame")
    parser.add_argument("--rows", default="500,10000,100000,2600000")
    parser.add_argument("--runs", type=int, default=7, help="of the largest range; shorter ones have more")
    parser.add_argument(
        "--quick", action="store_true", help="2,000 rows and one run: shows that it works, says nothing"
    )
    chosen = parser.parse_args()
    sizes = [500, 2_000] if chosen.quick else [int(size) for size in chosen.rows.split(",")]
    stored = candles(max(sizes))
    with tempfile.TemporaryDirectory() as folder:
        async with benchmark_engine() as engine:
            async with engine.begin() as conn:
                await CandleRepository(conn).upsert_candles(SYMBOL, "1m", stored)
                instrument_id = await conn.scalar(text("SELECT id FROM instruments"))
                await conn.execute(text("ANALYZE candles"))
            alternatives = Alternatives(engine, stored, Path(folder))
            for kind, rows in [(Last, sizes[0]), *((Range, rows) for rows in sizes)]:
                of = kind(stored, rows, int(instrument_id or 0))
                title = f"{'The last ' if kind is Last else ''}{rows:,} of {len(stored):,} candles into a DataFrame"
                compared = Comparison(title, rows, "ours", ways(engine, of, alternatives))
                await compared.run(1 if chosen.quick else chosen.runs * (1 if rows > MOST_OBJECTS else 3))
                print(compared.table(), flush=True)
                if "ADBC" in compared.seconds:
                    # Pairs of neighbours in time, so that a slow moment of the machine is no difference.
                    pairs = zip(compared.seconds["ours"], compared.seconds["ADBC"], strict=True)
                    print(
                        f"\nours / ADBC, median of the runs: {statistics.median(a / b for a, b in pairs):.2f}"
                    )


if __name__ == "__main__":
    asyncio.run(main())
