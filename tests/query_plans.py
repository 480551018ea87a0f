"""Query plans, read by tests: which chunks are looked at, and how."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def query_plan(conn: AsyncConnection, query: str) -> str:
    """Return the plan of a query without parameters; with indexes wherever one can be used, since tables are small."""
    await conn.execute(text("SET LOCAL enable_seqscan = off"))
    rows = await conn.exec_driver_sql(f"EXPLAIN (COSTS OFF) {query}")
    return "\n".join(row[0] for row in rows)


def chunks_in(plan: str) -> set[str]:
    """Return the chunks that a plan looks at, without the compressed ones behind them."""
    return set(re.findall(r" on (_hyper_\d+_\d+_chunk)", plan))
