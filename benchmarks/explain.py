"""The plans of the main queries, as the server makes and runs them, for docs/explanation/query-plans.md.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.explain [--rows N]

The market is that of `benchmarks.read_latency`: 1s candles with all aggregates, and order books, compressed but for the last chunk.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from benchmarks.harness import SYMBOL, benchmark_engine
from benchmarks.made_market import END, compress, fill
from benchmarks.read_latency import MINUTE
from datalayer.repositories import CandleRepository, OrderBookRepository
from tests.query_plans import shipped_queries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection


def reads(conn: AsyncConnection) -> dict[str, Callable[[], Awaitable[object]]]:
    candles, books = CandleRepository(conn), OrderBookRepository(conn)
    return {
        "last 500 candles, 1s": lambda: candles.query_ohlcv_data(SYMBOL, "1s", limit=500, as_of=END),
        "last 500 candles, 1h": lambda: candles.query_ohlcv_data(SYMBOL, "1h", limit=500, as_of=END),
        "a minute of order books": lambda: books.query_orderbook_snapshots(SYMBOL, MINUTE, END, as_of=END),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description="plans of the main queries")
    parser.add_argument("--rows", type=int, default=3_000_000, help="1s candles")
    chosen = parser.parse_args()
    async with benchmark_engine() as engine:
        await fill(engine, chosen.rows, 86_400)
        await compress(engine)
        async with engine.connect() as conn:
            for name, read in reads(conn).items():
                with shipped_queries() as queries:
                    await read()
                for query in queries:
                    print(f"\n## {name}\n\n```sql\n{query.strip()}\n```\n\n```text")
                    plan = await conn.exec_driver_sql(
                        f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY ON) {query}"
                    )
                    print("\n".join(row[0] for row in plan) + "\n```")


if __name__ == "__main__":
    asyncio.run(main())
