"""Query plans, read by tests: which chunks are looked at, and how."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import asyncpg
from sqlalchemy import text

from datalayer.timescale import list_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


@contextmanager
def shipped_queries() -> Iterator[list[str]]:
    """Give the bulk reads that go to the server meanwhile, as they go."""
    queries: list[str] = []
    really = asyncpg.Connection.copy_from_query

    async def copy_from_query(self: Any, query: str, *args: Any, **kwargs: Any) -> Any:
        queries.append(query)
        return await really(self, query, *args, **kwargs)

    with patch.object(asyncpg.Connection, "copy_from_query", copy_from_query):
        yield queries


async def query_plan(conn: AsyncConnection, query: str) -> str:
    """Return the plan of a query without parameters; with indexes wherever one can be used, since tables are small."""
    await conn.execute(text("SET LOCAL enable_seqscan = off"))
    rows = await conn.exec_driver_sql(f"EXPLAIN (COSTS OFF) {query}")
    return "\n".join(row[0] for row in rows)


def chunks_in(plan: str) -> set[str]:
    """Return the chunks that a plan looks at, without the compressed ones behind them."""
    return set(re.findall(r" on (_hyper_\d+_\d+_chunk)", plan))


async def chunks_of(
    conn: AsyncConnection, relations: Sequence[str], start: datetime, end: datetime
) -> set[str]:
    """Return the chunks of hypertables and aggregates that have a part of `[start, end)`."""
    found = [chunk for relation in relations for chunk in await conn.run_sync(list_chunks, relation)]
    inside = [
        c for c in found if c.range_start and c.range_end and c.range_start < end and c.range_end > start
    ]
    return {chunk.name.rsplit(".", 1)[-1] for chunk in inside}


def check_index_use(plan: str) -> None:
    """Fail unless each chunk is read by an index, of the instrument or of time; compressed ones by their times too."""
    assert "Seq Scan on _hyper" not in plan, plan
    assert "Seq Scan on compress" not in plan, plan
    for scan in _scans(plan):
        if "Custom Scan" in scan or "Bitmap Heap" in scan:
            continue  # reads what the scan below it finds
        assert re.search(r"Index Cond: \(\((\w+\.)?(instrument_id = |ts >= )", scan), plan
        if "compress_hyper" in scan:
            assert re.search(r"_ts_meta\w* (<|>)", scan), plan


def _scans(plan: str) -> list[str]:
    """The lines that read a chunk, each with the conditions below it."""
    parts = re.split(r"\n(?=.*?(?:->|Scan))", plan)
    return [part for part in parts if re.search(r" on (_hyper_|compress_hyper_)", part)]
