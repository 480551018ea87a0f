"""What reads of the aggregates miss while the refresh policies of all levels start at once: the evidence of ADR 0006.

Needs a native server (DATALAYER_TEST_URL), since the embedded one runs one job at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING

from sqlalchemy import text

from benchmarks.harness import benchmark_engine

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

SECONDS = 5_401
WATCHED_S = 70
LEVELS = ("1m", "5m", "15m", "1h", "4h", "1d")
WRITE = text(f"""
    INSERT INTO candles (ts, open, high, low, close, volume, timeframe, trade_count, instrument_id)
    SELECT date_trunc('day', now()) - interval '1 day' + i * interval '1 s', 100, 110, 90, 100, 7, 1, 1, id
    FROM instruments, generate_series(0, {SECONDS - 1}) AS i
""")
JOBS = "FROM timescaledb_information.jobs WHERE proc_name = 'policy_refresh_continuous_aggregate'"
DEFAULT_BATCHES = (
    f"SELECT alter_job(job_id, config => config - 'buckets_per_batch' - 'refresh_newest_first') {JOBS}"
)
START_AT_ONCE = f"SELECT alter_job(job_id, next_start => now()) {JOBS}"
START_APART = f"SELECT alter_job(job_id, next_start => now() + extract(second FROM initial_start) * interval '1 s') {JOBS}"
WAYS = {
    "default batches, at once": (DEFAULT_BATCHES, START_AT_ONCE),
    "one transaction, at once": (START_AT_ONCE,),
    "default batches, apart": (DEFAULT_BATCHES, START_APART),
    "ours: one transaction, apart": (START_APART,),
}
SEEN = text(
    " UNION ALL ".join(f"SELECT '{level}', sum(candle_count) FROM candles_{level}" for level in LEVELS)
)


async def seen(conn: AsyncConnection) -> dict[str, int]:
    found = {row[0]: int(row[1] or 0) for row in await conn.execute(SEEN)}
    await conn.rollback()
    return found


async def watch(engine: AsyncEngine, preparation: tuple[str, ...]) -> tuple[dict[str, int], dict[str, int]]:
    async with engine.connect() as conn:
        await conn.execute(WRITE)
        for statement in preparation:
            await conn.execute(text(statement))
        await conn.commit()
        least = last = await seen(conn)
        for _ in range(WATCHED_S * 20):
            await asyncio.sleep(0.05)
            last = await seen(conn)
            least = {level: min(least[level], last[level]) for level in LEVELS}
    return least, last


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    if "DATALAYER_TEST_URL" not in os.environ:
        sys.exit("DATALAYER_TEST_URL names no native server; the embedded one runs one job at a time")
    url, rows = os.environ["DATALAYER_TEST_URL"], []
    for name in [*WAYS] * runs:
        os.environ["DATALAYER_TEST_URL"] = url
        async with benchmark_engine() as engine:
            least, last = await watch(engine, WAYS[name])
        rows.append(
            f"| {name} | " + " | ".join(f"{least[level]:,} / {last[level]:,}" for level in LEVELS) + " |"
        )
    print(f"\nof {SECONDS:,} 1s candles, seen at each level: the least within {WATCHED_S} s / at their end\n")
    print("| policies | " + " | ".join(LEVELS) + " |")
    print("|---|" + "---:|" * len(LEVELS))
    print("\n".join(rows))


if __name__ == "__main__":
    asyncio.run(main())
