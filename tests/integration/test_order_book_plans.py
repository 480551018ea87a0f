"""Plans of the order-book queries as they are shipped: only the chunks of the range, and those by an index."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import text

from datalayer.db.aggregates import refresh_aggregates
from datalayer.repositories import ImbalanceRepository, InstrumentRepository, OrderBookRepository
from datalayer.timescale import compress_chunks, list_chunks
from tests.query_plans import chunks_in, query_plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.domain.order_book import OrderBookColumns

    Query = Callable[[AsyncConnection], Awaitable[pd.DataFrame | OrderBookColumns]]

BTC = "BTC/USDT"
DAYS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in (0, 9, 40)]
"""Each in a chunk of its own, of the books as of every aggregate."""

START = DAYS[1] + timedelta(minutes=5)
END = START + timedelta(minutes=1)
LATER = DAYS[2] + timedelta(hours=2)
RELATIONS = ("order_books", "order_book_1s", "order_book_1m", "order_book_imbalances")

FILL = (
    """
    INSERT INTO order_books (ts, bid_prices, bid_sizes, ask_prices, ask_sizes, best_bid, best_ask, bid_volume, ask_volume,
                             last_update_id, instrument_id)
    SELECT CAST(:start AS timestamptz) + n * INTERVAL '1 second', ARRAY[100 + n % 5, 90], ARRAY[3, 4], ARRAY[107, 120],
           ARRAY[5, 6], 100 + n % 5, 107, 7, 11, n, i.id
    FROM generate_series(0, 1799) AS n, instruments AS i
    """,
    """
    INSERT INTO order_book_imbalances (ts, book_imbalance_1s, instrument_id)
    SELECT CAST(:start AS timestamptz) + n * INTERVAL '1 second', 0.5, i.id
    FROM generate_series(0, 1799) AS n, instruments AS i
    """,
)

QUERIES: dict[str, Query] = {
    "snapshots": lambda conn: OrderBookRepository(conn).query_orderbook_snapshots(BTC, START, END),
    "imbalances": lambda conn: ImbalanceRepository(conn).query_orderbook_imbalances(BTC, START, END),
    "1s": lambda conn: OrderBookRepository(conn).query_orderbook_aggregated(BTC, "1s", START, END),
    "1m": lambda conn: OrderBookRepository(conn).query_orderbook_aggregated(BTC, "1m", START, END),
    "forming": lambda conn: OrderBookRepository(conn).query_orderbook_aggregated(
        BTC, "1m", START, as_of=END, include_forming=True
    ),
    "last": lambda conn: OrderBookRepository(conn).query_orderbook_aggregated(BTC, "1s", limit=20, as_of=END),
    "by price": lambda conn: OrderBookRepository(conn).query_orderbook_by_price(BTC, "1m", 0.05, START, END),
}
LAST: dict[str, Query] = {
    "snapshots": lambda conn: OrderBookRepository(conn).query_orderbook_snapshots(BTC, limit=20),
    "imbalances": lambda conn: ImbalanceRepository(conn).query_orderbook_imbalances(BTC, limit=20),
}


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queries that went to the server, as they went."""
    queries: list[str] = []
    really = asyncpg.Connection.copy_from_query

    async def copy_from_query(self: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        queries.append(query)
        return await really(self, query, *args, **kwargs)

    monkeypatch.setattr(asyncpg.Connection, "copy_from_query", copy_from_query)
    return queries


async def fill(engine: AsyncEngine, state: str) -> None:
    async with engine.begin() as conn:
        for symbol in (BTC, "ETH/USDT"):
            await InstrumentRepository(conn).ensure(symbol, 2, 5)
        for statement in FILL:
            for day in DAYS:
                await conn.execute(text(statement), {"start": day})
        # As autovacuum does, which the embedded database has not.
        await conn.execute(text("ANALYZE order_books, order_book_imbalances"))
    if state == "fresh":
        return
    await refresh_aggregates(engine, "order_books", DAYS[0], LATER)
    if state == "compressed":
        for relation in RELATIONS:
            await compress_chunks(engine, relation)


async def plans(conn: AsyncConnection, queries: list[str]) -> list[str]:
    return [await query_plan(conn, query) for query in queries]


async def chunks(conn: AsyncConnection, start: datetime, end: datetime) -> set[str]:
    found = [chunk for relation in RELATIONS for chunk in await conn.run_sync(list_chunks, relation)]
    inside = [
        c for c in found if c.range_start and c.range_end and c.range_start < end and c.range_end > start
    ]
    return {chunk.name.rsplit(".", 1)[-1] for chunk in inside}


def scans(plan: str) -> list[str]:
    """The lines that read a chunk, each with the conditions below it."""
    parts = re.split(r"\n(?=.*?(?:->|Scan))", plan)
    return [part for part in parts if re.search(r" on (_hyper_|compress_hyper_)", part)]


@pytest.mark.parametrize("state", ["fresh", "refreshed", "compressed"])
@pytest.mark.parametrize("name", QUERIES)
async def test_a_range_reads_its_own_chunks_by_an_index(
    engine: AsyncEngine, shipped: list[str], name: str, state: str
) -> None:
    await fill(engine, state)
    async with engine.connect() as conn:
        assert len(await QUERIES[name](conn))
        own = await chunks(conn, START - timedelta(minutes=1), END)
        found = await plans(conn, shipped)
    assert found
    for plan in found:
        assert chunks_in(plan) <= own, plan
        assert "Seq Scan" not in plan, plan
        for scan in scans(plan):
            if "Custom Scan" in scan or "Bitmap Heap" in scan:
                continue  # reads what the scan below it finds
            assert re.search(r"Index Cond: \(\(instrument_id = \d+\)", scan), plan
            if "compress_hyper" in scan:
                assert re.search(r"_ts_meta\w* (<|>)", scan), plan
    assert any(scans(plan) for plan in found)
    is_compressed = any("compress_hyper" in plan for plan in found)
    assert is_compressed == (state == "compressed"), found


@pytest.mark.parametrize("state", ["fresh", "compressed"])
@pytest.mark.parametrize("name", LAST)
async def test_the_last_rows_are_read_from_the_end(
    engine: AsyncEngine, shipped: list[str], name: str, state: str
) -> None:
    await fill(engine, state)
    async with engine.connect() as conn:
        assert len(await LAST[name](conn)) == 20
        (plan,) = await plans(conn, shipped)
    # Chunk after chunk from the newest on, and no further than the limit.
    assert re.search(r"Limit\n.*ChunkAppend\) on order_book", plan, re.DOTALL), plan
    assert re.search(r"Order: order_book\w+\.ts DESC", plan), plan
    sorted_whole = re.search(r"Sort Key: order_book\w+\.ts", plan)
    assert sorted_whole is None, plan


async def test_a_dirty_range_is_found_by_its_index(engine: AsyncEngine, shipped: list[str]) -> None:
    await fill(engine, "refreshed")
    async with engine.connect() as conn:
        await QUERIES["1s"](conn)
        plan = "\n".join(await plans(conn, shipped))
    assert re.search(r"Index Scan using ix_dirty_ranges_relation_start_ts on dirty_ranges", plan), plan
