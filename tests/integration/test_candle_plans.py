"""Plans of the candle and trade queries as they are shipped: only the chunks of the range, and those by an index."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer.db.aggregates import refresh_aggregates
from datalayer.repositories import CandleRepository, InstrumentRepository, TradeRepository
from datalayer.timescale import compress_chunks
from tests.query_plans import check_index_use, chunks_in, chunks_of, query_plan, shipped_queries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    Query = Callable[[AsyncConnection], Awaitable[Any]]

BTC = "BTC/USDT"
DAYS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in (0, 40, 400)]
"""Each in a chunk of its own, of the candles as of every aggregate."""

START = DAYS[1] + timedelta(minutes=5)
END = START + timedelta(minutes=10)
LATER = DAYS[2] + timedelta(days=2)
AGGREGATES = tuple(f"candles_{label}" for label in ("1m", "5m", "15m", "1h", "4h", "1d"))
RELATIONS = ("candles", "trades", *AGGREGATES)

# Two hours of seconds, and stored minutes after them.
FILL = (
    """
    INSERT INTO candles (ts, timeframe, open, high, low, close, volume, trade_count, instrument_id)
    SELECT CAST(:start AS timestamptz) + n * INTERVAL '1 second', 1, 100 + n % 5, 110, 90, 101, 5, 1, i.id
    FROM generate_series(0, 7199) AS n, instruments AS i
    """,
    """
    INSERT INTO candles (ts, timeframe, open, high, low, close, volume, trade_count, instrument_id)
    SELECT CAST(:start AS timestamptz) + (120 + n) * INTERVAL '1 minute', 60, 100 + n % 5, 110, 90, 101, 5, 1, i.id
    FROM generate_series(0, 119) AS n, instruments AS i
    """,
    """
    INSERT INTO trades (ts, trade_id, price, size, side, instrument_id)
    SELECT CAST(:start AS timestamptz) + n * INTERVAL '1 second', n, 100 + n % 5, 5, 1, i.id
    FROM generate_series(0, 7199) AS n, instruments AS i
    """,
)

STORED, MADE = DAYS[1] + timedelta(hours=2), DAYS[1] + timedelta(hours=3)
QUERIES: dict[str, Query] = {
    "1s": lambda conn: CandleRepository(conn).query_ohlcv_data(BTC, "1s", start=START, end=END),
    "stored": lambda conn: CandleRepository(conn).query_ohlcv_data(BTC, "1m", start=STORED, end=MADE),
    "best 1m": lambda conn: CandleRepository(conn).query_ohlcv_data(BTC, "1m", start=START, end=END),
    "best 5m": lambda conn: CandleRepository(conn).query_ohlcv_data(BTC, "5m", start=START, end=END),
    "best 1h": lambda conn: CandleRepository(conn).query_ohlcv_data(
        BTC, "1h", start=DAYS[1], end=DAYS[1] + timedelta(hours=2)
    ),
    "generated": lambda conn: CandleRepository(conn).query_ohlcv_data(
        BTC, "1h", start=STORED, end=MADE, source="generated"
    ),
    "forming": lambda conn: CandleRepository(conn).query_ohlcv_data(
        BTC, "1h", start=DAYS[1], as_of=START, include_forming=True
    ),
    "aligned": lambda conn: CandleRepository(conn).query_multi_timeframe_ohlcv(
        BTC, ["1s", "1m", "5m"], start=START, end=END
    ),
    "trades": lambda conn: TradeRepository(conn).query_trades(BTC, START, END),
}


async def fill(engine: AsyncEngine, state: str) -> None:
    async with engine.begin() as conn:
        for symbol in (BTC, "ETH/USDT"):
            await InstrumentRepository(conn).ensure(symbol, 2, 5)
        for statement in FILL:
            for day in DAYS:
                await conn.execute(text(statement), {"start": day})
    if state != "fresh":
        await refresh_aggregates(engine, "candles", DAYS[0], LATER)
    if state == "compressed":
        for relation in RELATIONS:
            await compress_chunks(engine, relation)
    async with engine.begin() as conn:
        await conn.execute(text("ANALYZE"))  # as autovacuum does, which the embedded database has not


@pytest.mark.parametrize("state", ["fresh", "refreshed", "compressed"])
async def test_a_range_reads_its_own_chunks_by_an_index(engine: AsyncEngine, state: str) -> None:
    await fill(engine, state)
    for name, query in QUERIES.items():
        async with engine.connect() as conn:
            with shipped_queries() as queries:
                assert len(await query(conn)), name
            own = await chunks_of(conn, RELATIONS, DAYS[1] - timedelta(days=1), DAYS[1] + timedelta(hours=4))
            found = [await query_plan(conn, shipped) for shipped in queries]
        for shipped, plan in zip(queries, found, strict=True):
            assert chunks_in(plan) <= own, f"{name}\n{shipped}\n{plan}"
            check_index_use(plan)
        assert any(chunks_in(plan) for plan in found), name
        assert any("compress_hyper" in plan for plan in found) == (state == "compressed"), (name, found)


LAST: dict[str, Query] = {
    "candles": lambda conn: CandleRepository(conn).query_ohlcv_data(BTC, "1m", limit=20, source="stored"),
    "trades": lambda conn: TradeRepository(conn).query_trades(BTC, limit=20),
    "_materialized_hypertable_\\d+": lambda conn: CandleRepository(conn).query_ohlcv_data(
        BTC, "1m", limit=20, source="aggregate"
    ),
}


@pytest.mark.parametrize("state", ["refreshed", "compressed"])
async def test_the_last_rows_are_read_from_the_end(engine: AsyncEngine, state: str) -> None:
    await fill(engine, state)
    for relation, query in LAST.items():
        async with engine.connect() as conn:
            with shipped_queries() as queries:
                assert len(await query(conn)) == 20
            of_relation = [
                query for query in queries if re.search(rf"FROM (_timescaledb_internal\.)?{relation}", query)
            ]
            plan = await query_plan(conn, of_relation[-1])
        # Chunk after chunk from the newest on, and no further than the limit.
        assert re.search(rf"Limit\n.*ChunkAppend\) on {relation}", plan, re.DOTALL), plan
        assert re.search(r"Order: \w+\.ts DESC", plan), plan
        assert not re.search(r"Sort Key: (candles|trades|rolled_up)\.ts", plan), plan


async def test_the_newest_rows_are_planned_for_their_own_chunk(engine: AsyncEngine) -> None:
    await fill(engine, "refreshed")
    newest: list[Query] = [
        lambda conn: CandleRepository(conn).query_ohlcv_data(
            BTC, "1s", limit=20, as_of=DAYS[2] + timedelta(hours=2)
        ),
        lambda conn: CandleRepository(conn).query_ohlcv_data(
            BTC, "1m", limit=20, as_of=DAYS[2] + timedelta(hours=4)
        ),
        lambda conn: TradeRepository(conn).query_trades(BTC, limit=20, as_of=DAYS[2] + timedelta(hours=2)),
    ]
    for query in newest:
        async with engine.connect() as conn:
            with shipped_queries() as queries:
                assert len(await query(conn)) == 20
            (plan,) = [await query_plan(conn, shipped) for shipped in queries]
        assert len(chunks_in(plan)) == 1, plan
