"""The indexes answer what is asked most, the latest N and a range, on every chunk and without sorting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from tests.sample_rows import END, START, fill_every_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

KEYS = {
    "candles": ("instrument_id", "timeframe"),
    "trades": ("instrument_id",),
    "order_books": ("instrument_id",),
    "order_book_imbalances": ("instrument_id",),
}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


async def plan_of(conn: AsyncConnection, query: str) -> list[dict[str, Any]]:
    """Return the nodes of a query's plan; tables of a few pages would be read from end to end if that were allowed."""
    await conn.execute(text("SET LOCAL enable_seqscan = off"))
    await conn.execute(text("SET LOCAL enable_bitmapscan = off"))
    (plan,) = await conn.scalar(text(f"EXPLAIN (FORMAT JSON) {query}"))
    return list(nodes(plan["Plan"]))


@pytest.mark.parametrize("table", KEYS)
async def test_the_latest_are_read_backwards_from_the_index(conn: AsyncConnection, table: str) -> None:
    await fill_every_table(conn)
    keys = " AND ".join(f"{key} = 1" for key in KEYS[table])
    plan = await plan_of(conn, f"SELECT * FROM {table} WHERE {keys} ORDER BY ts DESC LIMIT 500")
    assert_by_index(plan, *KEYS[table])
    assert {node["Scan Direction"] for node in plan if "Index Name" in node} == {"Backward"}


@pytest.mark.parametrize("table", KEYS)
async def test_a_range_is_read_in_order_from_the_index(conn: AsyncConnection, table: str) -> None:
    await fill_every_table(conn)
    keys = " AND ".join(f"{key} = 1" for key in KEYS[table])
    within = f"ts >= '{START.isoformat()}' AND ts < '{END.isoformat()}'"
    plan = await plan_of(conn, f"SELECT * FROM {table} WHERE {keys} AND {within} ORDER BY ts")
    assert_by_index(plan, *KEYS[table], "ts")


def assert_by_index(plan: list[dict[str, Any]], *columns: str) -> None:
    conditions = [node["Index Cond"] for node in plan if "Index Cond" in node]
    assert conditions, plan
    for condition in conditions:
        assert [column for column in columns if column not in condition] == [], plan
    assert [node["Node Type"] for node in plan if "Sort" in node["Node Type"]] == [], plan
