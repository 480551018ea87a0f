"""Stored candles into a DataFrame of floats: ours beside the alternatives.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.bulk_read [--rows N] [--runs K] [--quick]

Predictions for a native server, 2 cores, 100,000 rows, written down before the first run: ours 80 ms, asyncpg fetch
250, Core rows 1,250, ORM entities 3,000; the last 500 candles in 4 ms, the time going into planning.
"""

from __future__ import annotations

import asyncio
import importlib.util
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.harness import SYMBOL, Comparison, Stopwatch, arguments, benchmark_engine, candles
from datalayer.db.copy_transfer import driver_connection
from datalayer.domain.timeframe import Timeframe
from datalayer.models.candles import Candle
from datalayer.repositories import CandleRepository

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

NAMES = ("ts", "open", "high", "low", "close", "volume", "trade_count")
QUERY = f"SELECT {', '.join(NAMES)} FROM candles WHERE instrument_id = {{id}} AND timeframe = 60 ORDER BY ts"


def decoded(frame: pd.DataFrame) -> pd.DataFrame:
    frame[["open", "high", "low", "close"]] /= 10.0**2
    frame["volume"] /= 10.0**6
    return frame.set_index("ts")


class Readers:
    """Each way of reading, all the way to a frame of floats indexed by time."""

    def __init__(self, engine: AsyncEngine, rows: int, instrument_id: int) -> None:
        self.engine, self.rows, self.id = engine, rows, instrument_id

    async def timed(
        self, read: Callable[[AsyncConnection], Awaitable[pd.DataFrame]], rows: int | None = None
    ) -> float:
        async with self.engine.connect() as conn:
            await conn.exec_driver_sql("SELECT 1")
            with Stopwatch() as watch:
                frame = await read(conn)
        assert len(frame) == (rows or self.rows)
        assert frame["close"].dtype == "float64"
        return watch.seconds

    async def ours(self, conn: AsyncConnection) -> pd.DataFrame:
        return await CandleRepository(conn).query_ohlcv_data(SYMBOL, "1m")

    async def ours_last(self, conn: AsyncConnection) -> pd.DataFrame:
        return await CandleRepository(conn).query_ohlcv_data(SYMBOL, "1m", limit=500)

    async def orm(self, conn: AsyncConnection) -> pd.DataFrame:
        async with AsyncSession(conn) as session:
            chosen = (
                select(Candle)
                .where(Candle.instrument_id == self.id, Candle.timeframe == Timeframe.M1)
                .order_by(Candle.ts)
            )
            entities = (await session.scalars(chosen)).all()
            return decoded(
                pd.DataFrame([{name: getattr(entity, name) for name in NAMES} for entity in entities])
            )

    async def core(self, conn: AsyncConnection) -> pd.DataFrame:
        rows = (await conn.execute(text(QUERY.format(id=self.id)))).all()
        return decoded(pd.DataFrame(rows, columns=list(NAMES)))

    async def core_last(self, conn: AsyncConnection) -> pd.DataFrame:
        last = text(QUERY.format(id=self.id) + " DESC LIMIT 500")
        return decoded(pd.DataFrame((await conn.execute(last)).all(), columns=list(NAMES)).iloc[::-1])

    async def fetch(self, conn: AsyncConnection) -> pd.DataFrame:
        records = await (await driver_connection(conn)).fetch(QUERY.format(id=self.id))
        return decoded(pd.DataFrame(records, columns=list(NAMES)))

    async def adbc(self, conn: AsyncConnection) -> pd.DataFrame:
        url = conn.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

        def read() -> pd.DataFrame:
            import adbc_driver_postgresql.dbapi as adbc  # noqa: PLC0415

            with adbc.connect(url) as connection, connection.cursor() as cursor:
                cursor.execute(QUERY.format(id=self.id))
                return decoded(cursor.fetch_arrow_table().to_pandas())

        return await asyncio.to_thread(read)


def ways(readers: Readers) -> dict[str, Any]:
    chosen = {
        "SQLAlchemy ORM entities": lambda: readers.timed(readers.orm),
        "SQLAlchemy Core rows": lambda: readers.timed(readers.core),
        "asyncpg fetch": lambda: readers.timed(readers.fetch),
        "ours": lambda: readers.timed(readers.ours),
    }
    if importlib.util.find_spec("adbc_driver_postgresql"):
        chosen["ADBC, connecting included"] = lambda: readers.timed(readers.adbc)
    return chosen


async def main() -> None:
    chosen = arguments("bulk reads of candles")
    async with benchmark_engine() as engine:
        async with engine.begin() as conn:
            await CandleRepository(conn).upsert_candles(SYMBOL, "1m", candles(chosen.rows))
            instrument_id = await conn.scalar(text("SELECT id FROM instruments"))
        readers = Readers(engine, chosen.rows, int(instrument_id or 0))
        everything = Comparison(
            f"{chosen.rows:,} candles into a DataFrame", chosen.rows, "ours", ways(readers)
        )
        await everything.run(chosen.runs)
        print(everything.table())
        last = Comparison(
            f"The last 500 of {chosen.rows:,} candles",
            500,
            "ours",
            {
                "ours": lambda: readers.timed(readers.ours_last, 500),
                "SQLAlchemy Core rows": lambda: readers.timed(readers.core_last, 500),
            },
        )
        await last.run(chosen.runs * 10)
        print(last.table())


if __name__ == "__main__":
    asyncio.run(main())
