"""What widening a scale costs, and how long it waits for writers: the evidence of ADR 0008.

Needs a native server (DATALAYER_TEST_URL): the embedded one has one session, so nobody waits there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING

from sqlalchemy import text

from benchmarks.harness import SYMBOL, Stopwatch, benchmark_engine
from datalayer.repositories import InstrumentRepository
from datalayer.repositories.rescale import widen_scales
from datalayer.timescale import compress_chunks

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BEGIN = "timestamptz '2024-01-01 00:00:00+00'"
LEVELS = 20
FILL = {
    "candles": f"""
        INSERT INTO candles (ts, open, high, low, close, volume, timeframe, trade_count, instrument_id)
        SELECT {BEGIN} + n * interval '1 s', 6000000 + n % 1000, 6001000 + n % 1000, 5990000, 6000005 + n % 500,
               (CAST(n AS bigint) * 7919) % 100000, 1, n % 50, id
        FROM instruments, generate_series(0, :last) AS n
    """,
    "trades": f"""
        INSERT INTO trades (ts, trade_id, price, size, side, instrument_id)
        SELECT {BEGIN} + n * interval '100 ms', n, 6000000 + n % 1000, 1 + (CAST(n AS bigint) * 7919) % 100000, 1, id
        FROM instruments, generate_series(0, :last) AS n
    """,
    "order_books": f"""
        INSERT INTO order_books (ts, bid_prices, bid_sizes, ask_prices, ask_sizes, best_bid, best_ask, bid_volume,
                                 ask_volume, last_update_id, instrument_id)
        SELECT {BEGIN} + n * interval '500 ms', bids, sizes, asks, sizes, bids[1], asks[1], total, total, n, id
        FROM instruments, generate_series(0, :last) AS n, LATERAL (
            SELECT array_agg(6000000 + n % 1000 - level) AS bids, array_agg(6000001 + n % 1000 + level) AS asks,
                   array_agg(level * (1 + n % 7)) AS sizes, sum(level * (1 + n % 7)) AS total
            FROM generate_series(1, {LEVELS}) AS level
        ) AS book
    """,
}
WRITERS, HOLD_S, PATIENCE_S = 6, 0.02, 30.0


async def widening(engine: AsyncEngine, relation: str, rows: int, *, compressed: bool) -> tuple[float, float]:
    """Return seconds and megabytes of WAL of widening both scales."""
    async with engine.begin() as conn:
        await conn.execute(text(FILL[relation]), {"last": rows - 1})
    if compressed:
        await compress_chunks(engine, relation)
    async with engine.connect() as conn:
        before, watch = await wal(conn), Stopwatch()
        with watch:
            await widen_scales(conn, SYMBOL, price_scale=3, size_scale=7)
            await conn.commit()
        return watch.seconds, (await wal(conn) - before) / 2**20


async def wal(conn: AsyncConnection) -> int:
    return int(await conn.scalar(text("SELECT pg_current_wal_lsn() - '0/0'")) or 0)


async def waiting(engine: AsyncEngine, *, gate: bool) -> float:
    """Return how long it takes to hold writers back while their transactions overlap; infinite: longer than we waited."""
    writing = True

    async def write(number: int) -> None:
        while writing:
            async with engine.begin() as conn:
                instruments = InstrumentRepository(conn)
                if gate:
                    await instruments.get_for_write(SYMBOL)
                else:
                    await conn.execute(text("SELECT FROM instruments FOR SHARE"))
                await asyncio.sleep(HOLD_S * (1 + number / 2))

    async def hold_back() -> None:
        async with engine.begin() as conn:
            if gate:
                await InstrumentRepository(conn).get_for_change(SYMBOL)
            else:
                await conn.execute(text("SELECT FROM instruments FOR NO KEY UPDATE"))

    writers = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    await asyncio.sleep(0.3)
    with Stopwatch() as watch:
        try:
            await asyncio.wait_for(hold_back(), PATIENCE_S)
        except TimeoutError:
            return float("inf")
        finally:
            writing = False
            await asyncio.gather(*writers)
    return watch.seconds


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    if "DATALAYER_TEST_URL" not in os.environ:
        sys.exit("DATALAYER_TEST_URL names no native server")
    url = os.environ["DATALAYER_TEST_URL"]
    print(
        f"\nwidening both scales, {chosen.rows:,} rows ({chosen.rows // 5:,} order books of {LEVELS} levels a side)\n"
    )
    print("| rows of | stored | s | MB of WAL |\n|---|---|---:|---:|")
    for relation in FILL:
        for compressed in (True, False):
            os.environ["DATALAYER_TEST_URL"] = url
            rows = chosen.rows // 5 if relation == "order_books" else chosen.rows
            async with benchmark_engine() as engine:
                seconds, megabytes = await widening(engine, relation, rows, compressed=compressed)
            stored = "compressed" if compressed else "as rows"
            print(f"| {relation} | {stored} | {seconds:.1f} | {megabytes:,.0f} |")
    os.environ["DATALAYER_TEST_URL"] = url
    print(
        f"\nseconds until {WRITERS} writers with overlapping transactions are held back (inf: more than {PATIENCE_S:.0f})\n"
    )
    async with benchmark_engine() as engine:
        for _ in range(chosen.runs):
            print(
                f"the gate {await waiting(engine, gate=True):.3f}, the row lock alone {await waiting(engine, gate=False):.3f}"
            )


if __name__ == "__main__":
    asyncio.run(main())
