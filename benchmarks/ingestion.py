"""The whole pipeline under load: per-event calls with validation, cache, outbox and upsert.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.ingestion [--seconds S] [--feeds N] [--runs K] [--quick | --soak]

Feeds are tasks; each calls `ingest_ohlcv_candle` for one 1s candle of one of its ten symbols after the other, as fast as it
can, and makes the candle itself. What counts is the time until the database has all of them. Beside it, over the same rows,
the way that nothing protects: `copy_records_to_table` into a temporary table and one upsert, in batches of 10,000; once with
rows that are ready made, and once from the same candles, which have to become rows of exact counts first. With `--runs 0` that
is all; otherwise the parts of the pipeline are left out in turn.

`--soak` is the pipeline alone for ten minutes; memory is printed every tenth of the run.

Predictions for a native server on 2 cores, written down before the first run: 30,000 candles/s with everything, which is 0.4
of COPY-then-upsert; the outbox costs 15 %, the cache 20 %; a single sequential caller reaches 12,000; stalls of the event loop up to
10 ms, when a batch of 10,000 is turned into columns. Before prices were counted inline and enumerations hashed in C: 15 % less
time in the process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from benchmarks.bulk_write import NAMES, UPSERT
from benchmarks.harness import Stopwatch, benchmark_engine
from datalayer import Candle, DataCacheManager, DataIngestionPipeline, Timeframe
from datalayer.cache import CacheSettings
from datalayer.db.copy_transfer import driver_connection
from datalayer.domain.scales import Scales
from datalayer.ingestion import IngestionSettings
from datalayer.ingestion import outbox as outbox_module
from datalayer.repositories import InstrumentRepository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

TICK_S = 0.001
BATCH = 10_000
SYMBOLS_PER_FEED = 10
MOST_PER_S = 55_000


def candle(symbol: str, ts: datetime, n: int) -> Candle:
    price = 61_000.0 + n % 997
    high, low, close = price + 1.25, price - 0.75, price + 0.5
    return Candle(symbol, Timeframe.S1, ts, price, high, low, close, 1.5 + n % 7, n % 50)


class Stalls:
    """How late the event loop is with a task that sleeps for a millisecond each time, and how long its thread worked meanwhile.

    The rest of the time it had no processor, which other programs used.
    """

    def __init__(self) -> None:
        self.late_s: list[float] = []
        self.work_s: list[float] = []

    async def watch(self) -> None:
        while True:
            begun, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_S)
            self.late_s.append(time.perf_counter() - begun - TICK_S)
            self.work_s.append(time.thread_time() - worked)

    def __str__(self) -> str:
        return f"{_tail(self.late_s)}; of its own work {_tail(self.work_s)}"


def _tail(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p99, p999 = (ordered[int(len(ordered) * part)] * 1e3 for part in (0.99, 0.999))
    return f"p99 {p99:.1f} ms, p99.9 {p999:.1f} ms, worst {ordered[-1] * 1e3:.1f} ms"


@asynccontextmanager
async def watched() -> AsyncIterator[Stalls]:
    stalls = Stalls()
    task = asyncio.create_task(stalls.watch())
    try:
        yield stalls
    finally:
        task.cancel()


@dataclass
class Run:
    """One run of the pipeline."""

    rows: int
    seconds: float
    cpu_s: float
    stalls: Stalls

    def __str__(self) -> str:
        each = f"{1e6 * self.cpu_s / self.rows:.1f} µs of this process each"
        return f"{self.rate:,.0f} candles/s for {self.seconds:.0f} s; {each}; event loop late: {self.stalls}"

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


class Bench:
    """The pipeline and its alternative over the same symbols."""

    def __init__(self, engine: AsyncEngine, instruments: dict[str, int], start: datetime) -> None:
        self.engine, self.start = engine, start
        self.symbols, self.ids = list(instruments), list(instruments.values())

    async def empty(self) -> None:
        async with self.engine.begin() as conn:
            await (await driver_connection(conn)).execute("TRUNCATE candles")

    async def pipeline(
        self,
        seconds: float,
        *,
        feeds: int,
        outbox: bool = True,
        fsync: bool = False,
        inline: bool = True,
        cache: Any = None,
        memory: bool = False,
    ) -> Run:
        await self.empty()
        settings = IngestionSettings(
            when_full="backpressure",
            unknown_instruments="register",
            scales={symbol: Scales(2, 5) for symbol in self.symbols},
            close_timeout_s=600.0,
            outbox_fsync=fsync,
        )
        outbox_module._INLINE_BYTES = 2**20 if inline else -1  # noqa: SLF001 (what was decided against)
        gc.collect()
        gc.freeze()
        with tempfile.TemporaryDirectory() as folder, Stopwatch() as watch:
            path = Path(folder) / "outbox" if outbox else None
            cpu = time.process_time()
            async with (
                watched() as stalls,
                DataIngestionPipeline(self.engine, outbox=path, cache=cache, settings=settings) as pipeline,
            ):
                end = time.perf_counter() + seconds
                watcher = asyncio.create_task(_memory(seconds, memory))
                parts = [self.symbols[n::feeds] for n in range(feeds)]
                counts = await asyncio.gather(*(self._feed(pipeline, part, end) for part in parts))
                watcher.cancel()
                await pipeline.flush()
                watch.__exit__()
                cpu = time.process_time() - cpu
        gc.unfreeze()
        stored = await self.stored()
        assert stored == sum(counts), (stored, sum(counts))
        return Run(stored, watch.seconds, cpu, stalls)

    async def _feed(self, pipeline: DataIngestionPipeline, symbols: list[str], end: float) -> int:
        n, ingest = 0, pipeline.ingest_ohlcv_candle
        while time.perf_counter() < end:
            ts = self.start + timedelta(seconds=n)
            for symbol in symbols:
                await ingest(candle(symbol, ts, n))
            n += 1
        return n * len(symbols)

    async def copy_then_upsert(self, rows: int, *, ready_made: bool) -> float:
        """Write as many rows of the same kind, batch by batch; ready made outside of the clock, or not."""
        await self.empty()
        seconds, made = 0.0, 0
        while made < rows:
            numbers = range(made, min(made + BATCH, rows))
            batch = [self._record(n) for n in numbers] if ready_made else []
            async with self.engine.connect() as conn:
                driver = await driver_connection(conn)
                with Stopwatch() as watch:
                    batch = batch or [self._record(n) for n in numbers]
                    await driver.execute("CREATE TEMPORARY TABLE given (LIKE candles) ON COMMIT DROP")
                    await driver.copy_records_to_table("given", records=batch, columns=NAMES)
                    await driver.execute(UPSERT.format(names=", ".join(NAMES), source="given"))
                    await conn.commit()
            seconds += watch.seconds
            made += len(batch)
        assert await self.stored() == rows
        return rows / seconds

    def _record(self, number: int) -> tuple[Any, ...]:
        n, place = divmod(number, len(self.symbols))
        one = candle(self.symbols[place], self.start + timedelta(seconds=n), n)
        prices = (round(value * 100.0) for value in (one.open, one.high, one.low, one.close))
        volume = round(one.volume * 100_000.0)
        return (one.ts, *prices, volume, int(one.timeframe), one.trade_count, self.ids[place])

    async def stored(self) -> int:
        async with self.engine.connect() as conn:
            return int(await conn.scalar(text("SELECT count(*) FROM candles")) or 0)


async def _memory(seconds: float, wanted: bool) -> None:
    begun = time.perf_counter()
    while wanted:
        await asyncio.sleep(seconds / 10)
        pages = int(Path("/proc/self/statm").read_text().split()[1])  # noqa: ASYNC240
        size = pages * resource.getpagesize() / 2**20
        print(f"  {time.perf_counter() - begun:6.0f} s: {size:,.0f} MiB")


def new_cache() -> DataCacheManager:
    return DataCacheManager(CacheSettings(max_symbols=10_000))


def start_of(seconds: float, symbols: int) -> datetime:
    """Late enough for the cache to keep what comes, early enough for none to be of the future."""
    span = timedelta(seconds=seconds * MOST_PER_S / symbols + 60)
    return (datetime.now(UTC) - span).replace(microsecond=0)


async def sustained(bench: Bench, seconds: float, feeds: int) -> None:
    before = os.getloadavg()[0]
    run = await bench.pipeline(seconds, feeds=feeds, cache=new_cache(), memory=True)
    ready = await bench.copy_then_upsert(run.rows, ready_made=True)
    same = await bench.copy_then_upsert(run.rows, ready_made=False)
    print(
        f"\nsustained for {run.seconds:.0f} s, {feeds} feeds, {len(bench.symbols)} symbols, load before {before:.1f}:"
    )
    print(f"  {run.rate:,.0f} candles/s; {1e6 * run.cpu_s / run.rows:.1f} µs of this process each")
    print(f"  {run.rate / ready:.2f} of COPY-then-upsert of rows that are ready made ({ready:,.0f})")
    print(f"  {run.rate / same:.2f} of COPY-then-upsert from the same candles ({same:,.0f})")
    print(f"  event loop late: {run.stalls}")


async def ways(bench: Bench, seconds: float, feeds: int, runs: int) -> None:
    options: dict[str, tuple[dict[str, Any], bool]] = {
        "all": ({"feeds": feeds}, True),
        "outbox, every commit in its thread": ({"feeds": feeds, "inline": False}, True),
        "outbox with fsync": ({"feeds": feeds, "fsync": True}, True),
        "without outbox": ({"feeds": feeds, "outbox": False}, True),
        "without cache": ({"feeds": feeds}, False),
        "one sequential caller": ({"feeds": 1}, True),
        "one sequential caller, no outbox": ({"feeds": 1, "outbox": False}, True),
    }
    rates: dict[str, list[float]] = {}
    cpu_us: dict[str, list[float]] = {}
    for _ in range(runs):
        for name, (option, cached) in options.items():
            run = await bench.pipeline(seconds, cache=new_cache() if cached else None, **option)
            rates.setdefault(name, []).append(run.rate)
            cpu_us.setdefault(name, []).append(1e6 * run.cpu_s / run.rows)
            rows = run.rows
        for ready_made in (True, False):
            name = f"COPY-then-upsert, {'rows ready made' if ready_made else 'from the same candles'}"
            rates.setdefault(name, []).append(await bench.copy_then_upsert(rows, ready_made=ready_made))
    base = statistics.median(rates["all"])
    print("\n| way | candles/s | all = 1 | µs of this process each |\n|---|---:|---:|---:|")
    for name, found in rates.items():
        median = statistics.median(found)
        cpu = f"{statistics.median(cpu_us[name]):.1f}" if name in cpu_us else ""
        print(f"| {name} | {median:,.0f} | {median / base:.2f} | {cpu} |")


async def main() -> None:
    parser = argparse.ArgumentParser(description="the pipeline under load")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--feeds", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="one second each: shows that it works, says nothing"
    )
    parser.add_argument("--soak", action="store_true", help="ten minutes of everything, and nothing else")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.runs = 1.0, 1
    if chosen.soak:
        chosen.seconds = 600.0
    symbols = [f"C{n:04}/USDT" for n in range(chosen.feeds * SYMBOLS_PER_FEED)]
    start = start_of(chosen.seconds, len(symbols))
    async with benchmark_engine() as engine:
        async with engine.begin() as conn:
            registry = InstrumentRepository(conn)
            instruments = {symbol: (await registry.ensure(symbol, 2, 5)).id for symbol in symbols}
        bench = Bench(engine, instruments, start)
        await bench.copy_then_upsert(BATCH, ready_made=True)  # the first chunk, plans, pages
        if chosen.soak:
            print(await bench.pipeline(chosen.seconds, feeds=chosen.feeds, cache=new_cache(), memory=True))
            return
        await sustained(bench, chosen.seconds, chosen.feeds)
        if chosen.runs:
            await ways(bench, min(chosen.seconds, 10.0), chosen.feeds, chosen.runs)


if __name__ == "__main__":
    asyncio.run(main())
