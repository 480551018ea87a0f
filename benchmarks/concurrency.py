"""Reads by many at once, beside a process that writes.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.concurrency [--seconds S] [--rows N] [--writes-per-s W] [--quick]

Readers are tasks of this process, each with a connection of the pool; one after the other they ask for the last 500 1s candles,
the last 500 1m candles, and a minute of order books of one symbol. The writer is another process, a `DataIngestionPipeline`
with its outbox that takes in `W` candles a second of a hundred other symbols, in the hours after those that are read. By hand: the
same three by asyncpg's `fetch`, which gives rows, not frames. Says something on a native server only: the embedded database
has one session, and its readers take turns.

Prediction for a native server on 2 cores, written down before the first run: one reader p95 5 ms alone, 8 ms beside 5,000
writes/s; eight readers p95 25 ms alone and 40 ms beside them, and in all 350 reads/s, since the cores are busy; the writer loses
nothing of its rate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.harness import SYMBOL, benchmark_engine
from benchmarks.ingestion import candle
from benchmarks.made_market import END, fill
from datalayer import DataIngestionPipeline
from datalayer.db.copy_transfer import driver_connection
from datalayer.domain.scales import Scales
from datalayer.ingestion import IngestionSettings
from datalayer.repositories import CandleRepository, OrderBookRepository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    Read = Callable[[AsyncConnection], Awaitable[Any]]

READERS = (1, 4, 8)
WRITTEN = [f"W{n:02}/USDT" for n in range(100)]
MINUTE = END - timedelta(minutes=1)
BOOKS = 3_600
_CANDLES = """
    SELECT c.ts, c.open, c.high, c.low, c.close, c.volume FROM {table} AS c JOIN instruments AS i ON i.id = c.instrument_id
    WHERE i.symbol = $1 {only} AND c.ts < $2 ORDER BY c.ts DESC LIMIT 500
"""
_BOOKS = """
    SELECT b.* FROM order_books AS b JOIN instruments AS i ON i.id = b.instrument_id
    WHERE i.symbol = $1 AND b.ts >= $2 AND b.ts < $3 ORDER BY b.ts
"""


def ours() -> list[Read]:
    return [
        lambda conn: CandleRepository(conn).query_ohlcv_data(SYMBOL, "1s", limit=500, as_of=END),
        lambda conn: CandleRepository(conn).query_ohlcv_data(SYMBOL, "1m", limit=500, as_of=END),
        lambda conn: OrderBookRepository(conn).query_orderbook_snapshots(SYMBOL, MINUTE, END, as_of=END),
    ]


def by_hand() -> list[Read]:
    async def fetch(conn: AsyncConnection, query: str, *values: object) -> list[Any]:
        return list(await (await driver_connection(conn)).fetch(query, *values))

    seconds = _CANDLES.format(table="candles", only="AND c.timeframe = 1")
    minutes = _CANDLES.format(table="candles_1m", only="")
    return [
        lambda conn: fetch(conn, seconds, SYMBOL, END),
        lambda conn: fetch(conn, minutes, SYMBOL, END),
        lambda conn: fetch(conn, _BOOKS, SYMBOL, MINUTE, END),
    ]


WAYS = {"ours, DataFrames": ours, "asyncpg fetch, rows": by_hand}


@dataclass
class Line:
    """What some readers saw."""

    way: str
    readers: int
    writes_per_s: float
    ms: list[float]
    seconds: float

    def __str__(self) -> str:
        p50, p95, p99 = np.percentile(self.ms, [50, 95, 99])
        rate = len(self.ms) / self.seconds
        return f"| {self.way} | {self.readers} | {self.writes_per_s:,.0f} | {p50:.2f} | {p95:.2f} | {p99:.2f} | {rate:,.0f} |"


async def read(engine: AsyncEngine, reads: list[Read], readers: int, seconds: float) -> list[float]:
    """Milliseconds of each read, taking a connection included."""
    ms: list[float] = []
    end = time.perf_counter() + seconds

    async def reader() -> None:
        while time.perf_counter() < end:
            for one in reads:
                begin = time.perf_counter()
                async with engine.connect() as conn:
                    assert len(await one(conn))
                ms.append((time.perf_counter() - begin) * 1e3)

    await asyncio.gather(*(reader() for _ in range(readers)))
    return ms


@asynccontextmanager
async def writer(url: str, rate: int) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Another process that writes; what is given stops it and returns how many candles a second it has stored."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.concurrency", "--write", str(rate)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{url}\n".encode())
    assert await process.stdout.readline() == b"writing\n"

    async def stop() -> float:
        told, _ = await process.communicate(b"")  # closes its standard input
        found = json.loads(told)
        return float(found["rows"] / found["seconds"])

    try:
        yield stop
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def write(rate: int) -> None:
    """Be that process: the address comes on standard input, and its end is the end."""
    url = (await asyncio.to_thread(sys.stdin.readline)).strip()
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    engine = create_async_engine(url)
    settings = IngestionSettings(
        unknown_instruments="register", scales={symbol: Scales(2, 5) for symbol in WRITTEN}
    )
    start, begun, rows = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1), 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        async with DataIngestionPipeline(
            engine, outbox=Path(folder) / "outbox", settings=settings
        ) as pipeline:
            print("writing", flush=True)
            begun = time.perf_counter()
            while not ended.done():
                for symbol in WRITTEN:
                    second = rows // len(WRITTEN)
                    await pipeline.ingest_ohlcv_candle(
                        candle(symbol, start + timedelta(seconds=second), second)
                    )
                    rows += 1
                await asyncio.sleep(max(0.0, begun + rows / rate - time.perf_counter()))
            await pipeline.flush()
    await engine.dispose()
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - begun}))


async def compare(engine: AsyncEngine, seconds: float, rate: int) -> AsyncIterator[Line]:
    """Each number of readers by each way, alone and beside the writer."""
    url = engine.url.render_as_string(hide_password=False)
    for readers in READERS:
        for name, way in WAYS.items():
            yield Line(name, readers, 0, await read(engine, way(), readers, seconds), seconds)
            async with writer(url, rate) as stop:
                ms = await read(engine, way(), readers, seconds)
                yield Line(name, readers, await stop(), ms, seconds)


async def main() -> None:
    parser = argparse.ArgumentParser(description="reads by many at once, beside a process that writes")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rows", type=int, default=1_000_000, help="1s candles of the symbol that is read")
    parser.add_argument("--writes-per-s", type=int, default=5_000)
    parser.add_argument("--quick", action="store_true", help="few rows, one second each: shows that it works")
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.write:
        await write(chosen.write)
        return
    rows, seconds = (20_000, 1.0) if chosen.quick else (chosen.rows, chosen.seconds)
    async with benchmark_engine() as engine:
        await fill(engine, rows, BOOKS)
        print(
            "\n| way | readers | writes/s | p50, ms | p95, ms | p99, ms | reads/s |\n|---|---:|---:|---:|---:|---:|---:|"
        )
        async for line in compare(engine, seconds, chosen.writes_per_s):
            print(line, flush=True)
            async with engine.begin() as conn:
                await conn.execute(
                    text("DELETE FROM candles WHERE ts >= :end"), {"end": END + timedelta(days=1)}
                )


if __name__ == "__main__":
    asyncio.run(main())
