"""What recording late rows costs their writer, and what refreshing them takes: the evidence of ADR 0012."""

from __future__ import annotations

import argparse
import asyncio
import statistics
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import text

from benchmarks.harness import SYMBOL, Stopwatch, benchmark_engine
from datalayer.db.aggregates import refresh_aggregates
from datalayer.db.copy_columns import Column
from datalayer.db.staged_write import WriteTarget, write_staged
from datalayer.repositories import InstrumentRepository
from datalayer.repositories.dirty_ranges import DirtyRangeRepository
from datalayer.repositories.refresher import AggregateRefresher
from datalayer.timescale import compress_chunks

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.copy_columns import PgType

HISTORY = datetime(2024, 2, 29, tzinfo=UTC)
DAY = timedelta(days=1)
PLAIN = WriteTarget(
    "candles", "ts", ("instrument_id", "timeframe", "ts"), "update", kept_if_null=frozenset({"trade_count"})
)
TARGETS = {"recorded": replace(PLAIN, rolled_up="candles"), "not recorded": PLAIN}
SIZES = {1: 1, 100: 1, 10_000: 5}  # rows of a write: its share of the runs


async def write(
    engine: AsyncEngine,
    start: datetime,
    rows: int,
    price: int = 100,
    target: WriteTarget = TARGETS["recorded"],
) -> float:
    """Write consecutive candles; returns seconds."""
    times = np.datetime64(start.replace(tzinfo=None), "us") + np.arange(rows) * 1_000_000
    values = np.full(rows, price)
    columns = [Column("ts", "timestamptz", times)]
    columns += [Column(name, "int8", values) for name in ("open", "high", "low", "close", "volume")]
    watch = Stopwatch()
    with watch:
        async with engine.begin() as conn:
            instrument = await InstrumentRepository(conn).get_for_write(SYMBOL)
            constants: dict[str, tuple[PgType, int]] = {
                "instrument_id": ("int2", instrument.id),
                "timeframe": ("int4", 1),
            }
            await write_staged(conn, target, columns, constants)
    return watch.seconds


async def recording(engine: AsyncEngine, runs: int) -> None:
    print("\nms of one write, with and without recording (medians)\n")
    print("| rows | when | recorded | not recorded | ratio |\n|---:|---|---:|---:|---:|")
    for is_late in (False, True):
        start = HISTORY if is_late else datetime.now(UTC).replace(microsecond=0) + DAY
        for rows, share in SIZES.items():
            seconds: dict[str, list[float]] = {name: [] for name in TARGETS}
            for run in range(max(runs // share, 1)):
                for name in sorted(TARGETS, reverse=bool(run % 2)):
                    seconds[name].append(await write(engine, start, rows, target=TARGETS[name]))
                    start += timedelta(seconds=rows)
            ms = {name: statistics.median(found) * 1e3 for name, found in seconds.items()}
            when, ratio = "late" if is_late else "live", ms["recorded"] / ms["not recorded"]
            print(f"| {rows:,} | {when} | {ms['recorded']:.2f} | {ms['not recorded']:.2f} | {ratio:.2f} |")


async def stop_policies(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execute(text("SELECT _timescaledb_functions.stop_background_workers()"))


async def list_is_short(engine: AsyncEngine, days: int) -> None:
    async with engine.connect() as conn:
        spans, watch = await DirtyRangeRepository(conn).list_spans(), Stopwatch()
        with watch:
            for _ in range(100):
                await DirtyRangeRepository(conn).list_dirty_buckets(
                    "candles", "1h", HISTORY, HISTORY + days * DAY
                )
    print(
        f"\n{len(spans)} ranges listed; asking for the dirty buckets of a read: {watch.seconds * 10:.2f} ms"
    )


async def refreshing(days: int) -> None:
    print(f"\n{days} days of 1s candles\n\n| what | s |\n|---|---:|")
    watch = Stopwatch()
    async with benchmark_engine() as engine:
        await stop_policies(engine)
        for day in range(days):
            await write(engine, HISTORY + day * DAY, 86_400)
        await list_is_short(engine, days)
        with watch:
            await AggregateRefresher(engine).run()
        print(f"| imported, refreshed in steps | {watch.seconds:.2f} |")
        with watch:
            await AggregateRefresher(engine).run()
        print(f"| again, nothing dirty | {watch.seconds:.2f} |")
        for stored in ("as rows", "compressed"):
            if stored == "compressed":
                for relation in ("candles", "candles_1m", "candles_1h", "candles_1d"):
                    await compress_chunks(engine, relation)
            await write(engine, HISTORY + DAY / 2, 1, 300 if stored == "as rows" else 400)
            with watch:
                await AggregateRefresher(engine).run(audit=False)
            print(f"| one candle corrected, {stored} | {watch.seconds:.2f} |")
        await write(engine, HISTORY + DAY, 86_400, 500)
        with watch:
            await AggregateRefresher(engine).run(audit=False)
        print(f"| a day corrected, compressed | {watch.seconds:.2f} |")
    async with benchmark_engine() as engine:
        await stop_policies(engine)
        for day in range(days):
            await write(engine, HISTORY + day * DAY, 86_400)
        with watch:
            await refresh_aggregates(engine, "candles", HISTORY, HISTORY + days * DAY)
        print(f"| imported, `refresh_aggregates` over all of it at once | {watch.seconds:.2f} |")
        async with engine.begin() as conn:
            for level in ("1m", "5m", "15m", "1h", "4h", "1d"):
                await conn.execute(text(f"TRUNCATE candles_{level}"))
        with watch:
            for day in range(days):
                await refresh_aggregates(engine, "candles", HISTORY + day * DAY, HISTORY + (day + 1) * DAY)
        print(f"| the same day by day, all levels of a day before the next | {watch.seconds:.2f} |")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--days", type=int, default=3)
    chosen = parser.parse_args()
    async with benchmark_engine() as engine:
        await recording(engine, chosen.runs)
    await refreshing(chosen.days)


if __name__ == "__main__":
    asyncio.run(main())
