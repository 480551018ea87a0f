"""Plans of the order-book queries as they are shipped: only the chunks of the range, and those by an index."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer.db.aggregates import refresh_aggregates
from datalayer.repositories import ImbalanceRepository, InstrumentRepository, OrderBookRepository
from datalayer.repositories.last_events import read_last_events
from datalayer.timescale import compress_chunks
from tests.query_plans import check_index_use, chunks_in, chunks_of, query_plan, shipped_queries

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
NEWEST = DAYS[2] + timedelta(minutes=30)
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


@pytest.mark.parametrize("state", ["fresh", "refreshed", "compressed"])
@pytest.mark.parametrize("name", QUERIES)
async def test_a_range_reads_its_own_chunks_by_an_index(engine: AsyncEngine, name: str, state: str) -> None:
    await fill(engine, state)
    async with engine.connect() as conn:
        with shipped_queries() as queries:
            assert len(await QUERIES[name](conn))
        own = await chunks_of(conn, RELATIONS, START - timedelta(minutes=1), END)
        found = [await query_plan(conn, query) for query in queries]
    for plan in found:
        assert chunks_in(plan) <= own, plan
        check_index_use(plan)
    assert any(chunks_in(plan) for plan in found)
    is_compressed = any("compress_hyper" in plan for plan in found)
    assert is_compressed == (state == "compressed"), found


@pytest.mark.parametrize("state", ["fresh", "compressed"])
@pytest.mark.parametrize("name", LAST)
async def test_the_last_rows_are_read_from_the_end(engine: AsyncEngine, name: str, state: str) -> None:
    await fill(engine, state)
    async with engine.connect() as conn:
        with shipped_queries() as queries:
            assert len(await LAST[name](conn)) == 20
        plan = await query_plan(conn, queries[-1])
    # Chunk after chunk from the newest on, and no further than the limit.
    assert re.search(r"Limit\n.*ChunkAppend\) on order_book", plan, re.DOTALL), plan
    assert re.search(r"Order: order_book\w+\.ts DESC", plan), plan
    sorted_whole = re.search(r"Sort Key: order_book\w+\.ts", plan)
    assert sorted_whole is None, plan


@pytest.mark.parametrize("name", LAST)
async def test_the_newest_rows_are_planned_for_their_own_chunk(engine: AsyncEngine, name: str) -> None:
    await fill(engine, "fresh")
    newest: dict[str, Query] = {
        "snapshots": lambda conn: OrderBookRepository(conn).query_orderbook_snapshots(
            BTC, limit=20, as_of=NEWEST
        ),
        "imbalances": lambda conn: ImbalanceRepository(conn).query_orderbook_imbalances(
            BTC, limit=20, as_of=NEWEST
        ),
    }
    async with engine.connect() as conn:
        with shipped_queries() as queries:
            assert len(await newest[name](conn)) == 20
        (plan,) = [await query_plan(conn, query) for query in queries]
    assert len(chunks_in(plan)) == 1, plan


async def test_the_last_events_are_planned_for_their_own_chunks(engine: AsyncEngine) -> None:
    await fill(engine, "fresh")
    async with engine.connect() as conn:
        with shipped_queries() as queries:
            book, imbalances = await read_last_events(
                conn, InstrumentRepository(conn), BTC, NEWEST - timedelta(minutes=5), NEWEST
            )
        (plan,) = [await query_plan(conn, query) for query in queries]
    assert book is not None
    assert imbalances is not None
    assert len(chunks_in(plan)) == 2, plan
    check_index_use(plan)


async def test_a_dirty_range_is_found_by_its_index(engine: AsyncEngine) -> None:
    await fill(engine, "refreshed")
    async with engine.connect() as conn:
        with shipped_queries() as queries:
            await QUERIES["1s"](conn)
        plan = "\n".join([await query_plan(conn, query) for query in queries])
    assert re.search(r"Index Scan (using|on) ix_dirty_ranges_relation_start_ts", plan), plan
