"""Every target beside what is measured now, and the table and pictures of docs/performance.md from it.

    [DATALAYER_TEST_URL=postgresql+asyncpg://…] python -m benchmarks.targets [--only PART] [--quick]

Measures on the server of DATALAYER_TEST_URL, else on the embedded database, keeps what it found in `benchmarks/results/` and
draws the page from what is kept of both. Each part is a short form of the benchmark that the table names, which says more.
The aims of the specification are met on any machine; our own are meant for a native server on two quiet cores.
`--quick` shows that it works, and keeps nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import (
    backtesting,
    cache_reads,
    concurrency,
    ingestion,
    migration,
    provider,
    provider_history,
    read_latency,
    storage,
)
from benchmarks.harness import Stopwatch, benchmark_engine
from benchmarks.made_market import compress, fill
from benchmarks.targets_page import Kept, Result, write_page
from datalayer.repositories import InstrumentRepository
from datalayer.timescale import compress_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

IS_NATIVE = "DATALAYER_TEST_URL" in os.environ
READ_ALIKE = {
    "seven timeframes aligned, 100 rows": "seven timeframes by asyncpg fetch and merge_asof",
    "a minute of order books": "a minute of order books by ORM, entities",
}


def rows_of(*, quick: bool) -> int:
    return 20_000 if quick else 1_000_000 if IS_NATIVE else 200_000


async def cache(*, quick: bool) -> AsyncIterator[Result]:
    reads = 200 if quick else 3_000
    p99 = {
        name: float(np.percentile(cache_reads.read_us(cache_reads.WAYS[name], reads, 0.001), 99)) / 1e3
        for name in ("ours, arrays, 1s", "ours, DataFrame, 1s", "deque of objects, DataFrame")
    }
    beside = ("deque of objects", p99["deque of objects, DataFrame"])
    yield Result(
        "cache: last 300 candles, arrays, p99", "ms", 10, p99["ours, arrays, 1s"], "cache_reads", *beside
    )
    yield Result(
        "cache: last 300 candles, DataFrame, p99",
        "ms",
        10,
        p99["ours, DataFrame, 1s"],
        "cache_reads",
        *beside,
    )


async def queries(*, quick: bool) -> AsyncIterator[Result]:
    async with benchmark_engine() as engine:
        await fill(engine, rows_of(quick=quick), 3_600)
        await compress(engine)
        found = await read_latency.latencies(engine, 5 if quick else 100)
        for name, (_, p95) in found.items():
            if " by " not in name:
                other = READ_ALIKE.get(name)
                beside = (other.partition(" by ")[2], found[other][1]) if other else ()
                yield Result(f"query: {name}, p95", "ms", 100, p95, "read_latency", *beside)


async def together(*, quick: bool) -> AsyncIterator[Result]:
    async with benchmark_engine() as engine:
        await fill(engine, rows_of(quick=quick), 3_600)
        lines = [line async for line in concurrency.compare(engine, 1 if quick else 6, 5_000)]
    hand = {line.readers: line for line in lines if line.way != "ours, DataFrames" and line.writes_per_s}
    for line in lines:
        if line.way == "ours, DataFrames":
            beside = "beside 5,000 writes/s" if line.writes_per_s else "alone"
            p95 = float(np.percentile(line.ms, 95))
            other = ("asyncpg fetch, rows", float(np.percentile(hand[line.readers].ms, 95)))
            yield Result(
                f"query: {line.readers} at once, {beside}, p95",
                "ms",
                100,
                p95,
                "concurrency",
                *(other if line.writes_per_s else ()),
            )


async def answers(*, quick: bool) -> AsyncIterator[Result]:
    async with benchmark_engine() as engine:
        await provider.store(engine, max(rows_of(quick=quick), 100_000))
        way = provider_history.Way(engine)
        await provider_history.answered([way], 3 if quick else 100)
        found = await provider.live(engine, 3 if quick else 60, provider.Feed())
    live = np.array(found["after a 1s candle"])[:, 0]
    for part, aim, ms in (
        ("live, after a 1s candle, p50", 2, np.percentile(live, 50)),
        ("live, after a 1s candle, p99", 5, np.percentile(live, 99)),
    ):
        yield Result(f"inference data: {part}", "ms", aim, float(ms), "provider")
    yield Result("inference data: historical, p95", "ms", 40, way.p95_ms, "provider_history")


async def writing(*, quick: bool) -> AsyncIterator[Result]:
    seconds, symbols = 1 if quick else 15, [f"C{n:04}/USDT" for n in range(1_000)]
    async with benchmark_engine() as engine:
        async with engine.begin() as conn:
            registry = InstrumentRepository(conn)
            ids = {symbol: (await registry.ensure(symbol, 2, 5)).id for symbol in symbols}
        bench = ingestion.Bench(engine, ids, ingestion.start_of(seconds, len(symbols)))
        await bench.copy_then_upsert(ingestion.BATCH, ready_made=True)
        many = await bench.pipeline(seconds, feeds=100, cache=ingestion.new_cache())
        one = await bench.pipeline(seconds, feeds=1, cache=ingestion.new_cache())
        same = await bench.copy_then_upsert(many.rows, ready_made=False)
    beside = ("COPY, then upsert", same)
    late = np.percentile(many.stalls.late_s, 99) * 1e3
    yield Result("ingestion: one caller, a call each candle", "1/s", 1_000, one.rate, "ingestion", *beside)
    yield Result("ingestion: 100 feeds, a call each candle", "1/s", 25_000, many.rate, "ingestion", *beside)
    yield Result("ingestion: event loop late by, p99", "ms", 20, float(late), "ingestion")


async def moving(*, quick: bool) -> AsyncIterator[Result]:
    rows = 2_000 if quick else 200_000
    with tempfile.TemporaryDirectory() as folder:
        async with benchmark_engine() as engine:
            ways = migration.Ways(engine, Path(folder), rows)
            seconds = [(await ways.migrate(), await ways.to_sql()) for _ in range(1 if quick else 3)]
    ours, to_sql = (rows / float(np.median(column)) for column in zip(*seconds, strict=True))
    yield Result("Parquet to verified rows", "1/s", 120_000, ours, "migration", "DataFrame.to_sql", to_sql)


async def looping(*, quick: bool) -> AsyncIterator[Result]:
    async with backtesting.loops_over(2_000 if quick else 200_000) as loops:
        ways = (loops.clock, loops.window_blocks, loops.parquet_and_itertuples)
        runs = [[await timed(way) for way in ways] for _ in range(1 if quick else 5)]
        rows = len(loops.frame)
    clock, blocks, tuples = (rows / float(np.median(column)) for column in zip(*runs, strict=True))
    beside = ("Parquet file, itertuples", tuples)
    yield Result(
        "backtest: candles to the loop, by the clock", "1/s", 1_000_000, clock, "backtesting", *beside
    )
    yield Result("backtest: candles to the loop, blocks", "1/s", 1_000_000, blocks, "backtesting", *beside)


async def timed(way: Callable[[], float]) -> float:
    with Stopwatch() as watch:
        await asyncio.to_thread(way)
    return watch.seconds


async def saving(*, quick: bool) -> AsyncIterator[Result]:
    copies, rows = (1, 43_200) if quick else (20, 527_040)
    async with storage.stored_tables(copies, rows) as (engine, columns):
        for table, (steps, floats) in columns.items():
            found = await compress_chunks(engine, table)
            yield Result(f"compression: saved of {table}", "%", 80, 100 * found.saved, "storage")
            parquet = storage.parquet(floats, 3) / len(steps["ts"])
            each = found.bytes_after / len(steps["ts"])
            beside = ("Parquet, zstd 3", parquet)
            yield Result(
                f"compression: {table}, a row, beside Parquet", "bytes", parquet, each, "storage", *beside
            )


PARTS: dict[str, Callable[..., AsyncIterator[Result]]] = {
    part.__name__: part for part in (cache, queries, together, answers, writing, moving, looping, saving)
}


async def main() -> None:
    parser = argparse.ArgumentParser(description="every target beside what is measured now")
    parser.add_argument("--only", choices=PARTS, help="measure this part, keep the others")
    parser.add_argument("--quick", action="store_true", help="tiny: shows that it works, keeps nothing")
    chosen = parser.parse_args()
    kept = Kept.load("native" if IS_NATIVE else "embedded")
    kept.load_before = os.getloadavg()[0]
    for name, part in PARTS.items():
        if chosen.only in {None, name}:
            async for result in part(quick=chosen.quick):
                print(result, flush=True)
                kept.add(result)
    if not chosen.quick:
        kept.save()
        write_page()


if __name__ == "__main__":
    asyncio.run(main())
