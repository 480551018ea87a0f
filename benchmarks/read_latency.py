"""Latencies of the reads that a live system repeats, at few and at many stored rows, compressed and not.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.read_latency [--rows 1000000,50000000] [--runs 200] [--quick]

Says something on a native server only. Rows are 1s candles of four instruments, made by the server itself, with all
aggregates refreshed; one day of order books, two a second and twenty levels deep, for one of them.

Predictions for a native server, 2 cores, written down before the first run: the last 500 candles p95 3 ms, seven timeframes
side by side 18 ms (half of it planning six nested aggregates), a minute of books 4 ms; 1.1 times as much at 50 million rows.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.harness import SYMBOL, benchmark_engine
from benchmarks.made_market import END, compress, fill
from datalayer.db.copy_transfer import driver_connection
from datalayer.domain.timeframe import Timeframe
from datalayer.models.order_books import OrderBook
from datalayer.repositories import CandleRepository, InstrumentRepository, OrderBookRepository

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

OTHERS = ("ETH/USDT", "SOL/USDT", "XRP/USDT")
MINUTE = END - timedelta(minutes=1)
BOOKS = 172_800


async def aligned_by_hand(conn: AsyncConnection, instrument_id: int) -> pd.DataFrame:
    """Seven timeframes side by side as one would do it without this library: a query each, joined by `merge_asof`."""
    joined = None
    for timeframe in Timeframe:
        table = "candles" if timeframe is Timeframe.S1 else f"candles_{timeframe.label}"
        only = " AND timeframe = 1" if timeframe is Timeframe.S1 else ""
        records = await (await driver_connection(conn)).fetch(
            f"SELECT ts, open, high, low, close, volume FROM {table} WHERE instrument_id = $1{only}"
            " AND ts <= $2 ORDER BY ts DESC LIMIT 100",
            instrument_id,
            END - timeframe.length,
        )
        frame = pd.DataFrame(records[::-1], columns=["ts", "open", "high", "low", "close", "volume"])
        frame["closed"] = frame["ts"] + timeframe.length
        joined = (
            frame
            if joined is None
            else pd.merge_asof(joined, frame, on="closed", suffixes=("", timeframe.label))
        )
    assert joined is not None
    return joined


async def books_by(conn: AsyncConnection, way: str, instrument_id: int) -> list[Any]:
    if way == "ORM":
        async with AsyncSession(conn) as session:
            chosen = select(OrderBook).where(OrderBook.instrument_id == instrument_id)
            return list(
                await session.scalars(
                    chosen.where(OrderBook.ts >= MINUTE, OrderBook.ts < END).order_by(OrderBook.ts)
                )
            )
    return list(
        await (await driver_connection(conn)).fetch(
            "SELECT * FROM order_books WHERE instrument_id = $1 AND ts >= $2 AND ts < $3 ORDER BY ts",
            instrument_id,
            MINUTE,
            END,
        )
    )


def reads(conn: AsyncConnection, instrument_id: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    candles, books = CandleRepository(conn), OrderBookRepository(conn)
    return {
        "last 500 candles, 1s": lambda: candles.query_ohlcv_data(SYMBOL, "1s", limit=500, as_of=END),
        "last 500 candles, 1m (aggregate)": lambda: candles.query_ohlcv_data(
            SYMBOL, "1m", limit=500, as_of=END
        ),
        "seven timeframes aligned, 100 rows": lambda: candles.query_multi_timeframe_ohlcv(
            SYMBOL, list(Timeframe), limit=100, as_of=END
        ),
        "a minute of order books": lambda: books.query_orderbook_snapshots(SYMBOL, MINUTE, END, as_of=END),
        "seven timeframes by asyncpg fetch and merge_asof": lambda: aligned_by_hand(conn, instrument_id),
        "a minute of order books by asyncpg fetch, rows": lambda: books_by(conn, "fetch", instrument_id),
        "a minute of order books by ORM, entities": lambda: books_by(conn, "ORM", instrument_id),
    }


async def latencies(engine: AsyncEngine, runs: int) -> dict[str, tuple[float, float]]:
    """Median and 95th percentile in ms, each read in a transaction of its own on a pooled connection."""
    found: dict[str, list[float]] = {}
    async with engine.connect() as conn:
        instrument_id = (await InstrumentRepository(conn).get(SYMBOL)).id
    for _ in range(runs):
        async with engine.connect() as conn:
            await conn.exec_driver_sql("SELECT 1")
            for name, read in reads(conn, instrument_id).items():
                begin = time.perf_counter()
                answer = await read()
                found.setdefault(name, []).append((time.perf_counter() - begin) * 1e3)
                assert len(answer)
    return {name: (statistics.median(ms), statistics.quantiles(ms, n=20)[-1]) for name, ms in found.items()}


async def main() -> None:
    parser = argparse.ArgumentParser(description="latencies of repeated reads")
    parser.add_argument("--rows", default="1000000,50000000")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument(
        "--quick", action="store_true", help="20,000 rows, 5 runs: shows that it works, says nothing"
    )
    chosen = parser.parse_args()
    sizes = [20_000] if chosen.quick else [int(size) for size in chosen.rows.split(",")]
    print("| stored 1s candles | read | median ms | p95 ms |\n|---|---|---:|---:|")
    for rows in sizes:
        async with benchmark_engine() as engine:
            async with engine.begin() as conn:
                for symbol in OTHERS:
                    await InstrumentRepository(conn).ensure(symbol, 2, 6)
            await fill(engine, rows // (1 + len(OTHERS)), BOOKS)
            for state in ("as written", "compressed"):
                if state == "compressed":
                    await compress(engine)
                for name, (median, p95) in (
                    await latencies(engine, 5 if chosen.quick else chosen.runs)
                ).items():
                    print(f"| {rows:,}, {state} | {name} | {median:.2f} | {p95:.2f} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
