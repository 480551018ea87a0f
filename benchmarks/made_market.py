"""A market that the server makes up by itself: 1s candles with all their aggregates, and order books."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from benchmarks.harness import SYMBOL
from datalayer.db.aggregates import AGGREGATES, refresh_aggregates
from datalayer.timescale import compress_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncEngine

END = datetime(2024, 9, 1, tzinfo=UTC)
RELATIONS = ("candles", "order_books", *(a.name for family in AGGREGATES.values() for a in family))
_WEEK = timedelta(days=7)
_CANDLES = """
    INSERT INTO candles (instrument_id, timeframe, ts, open, high, low, close, volume, trade_count)
    SELECT i.id, 1, ts, 6000000 + n % 977, 6000990, 5999900, 6000000 + n % 983, n % 100000, n % 50
    FROM instruments AS i, generate_series(CAST(:start AS timestamptz), CAST(:end AS timestamptz), INTERVAL '1 second')
        WITH ORDINALITY AS seconds (ts, n) WHERE ts < CAST(:end AS timestamptz)
"""
_BOOKS = """
    INSERT INTO order_books (instrument_id, ts, bid_prices, bid_sizes, ask_prices, ask_sizes, best_bid, best_ask,
        bid_volume, ask_volume, last_update_id)
    SELECT i.id, CAST(:end AS timestamptz) - n * INTERVAL '500 ms',
        ARRAY(SELECT 6000000 - level FROM generate_series(0, 19) AS level), ARRAY(SELECT 1000 + level + n % 7 FROM generate_series(0, 19) AS level),
        ARRAY(SELECT 6000001 + level FROM generate_series(0, 19) AS level), ARRAY(SELECT 1000 + level FROM generate_series(0, 19) AS level),
        6000000, 6000001, 20190 + 20 * (n % 7), 20190, n
    FROM instruments AS i, generate_series(1, :books) AS n WHERE i.symbol = :symbol
"""


async def fill(engine: AsyncEngine, seconds: int, books: int) -> None:
    """Store so many 1s candles of each instrument, and books of one, two a second, up to `END`."""
    await _stop_jobs(engine)
    start, end = END - timedelta(seconds=seconds), END
    while end > start:
        begin = max(start, end - _WEEK)
        async with engine.begin() as conn:
            await conn.execute(text(_CANDLES), {"start": begin, "end": end})
        end = begin
    async with engine.begin() as conn:
        await conn.execute(text(_BOOKS), {"end": END, "books": books, "symbol": SYMBOL})
        await conn.execute(text("ANALYZE candles, order_books"))  # refreshing by a bad plan takes minutes
    for family in AGGREGATES:
        await refresh_aggregates(engine, family, start, END)
    await _vacuum(engine)


async def compress(engine: AsyncEngine, relations: Iterable[str] = RELATIONS) -> None:
    """Compress all chunks of hypertables and aggregates."""
    for relation in relations:
        await compress_chunks(engine, relation)
    await _vacuum(engine)


async def _stop_jobs(engine: AsyncEngine) -> None:
    """Let the policies of this database rest: they would refresh and compress beside what is measured."""
    if "DATALAYER_TEST_URL" in os.environ:  # the embedded database has none that run by themselves
        async with engine.connect() as conn:
            await conn.execute(text("SELECT _timescaledb_functions.stop_background_workers()"))


async def _vacuum(engine: AsyncEngine) -> None:
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        await conn.execute(text("VACUUM ANALYZE"))
