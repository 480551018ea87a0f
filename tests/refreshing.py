"""What tests of the refresher do and look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from datalayer.db.aggregates import AGGREGATES, refresh_aggregates
from datalayer.repositories.dirty_ranges import DirtyRangeRepository, DirtySpan
from datalayer.repositories.refresher import AggregateRefresher
from tests.aggregate_oracle import assert_aggregates_agree

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.db.aggregates import Family
    from datalayer.repositories.refresh_report import RefreshReport

LEVELS = [level.name for family in AGGREGATES.values() for level in family]


async def refresh(engine: AsyncEngine, *, audit: bool = False) -> RefreshReport:
    """Let a refresher run once."""
    return await AggregateRefresher(engine).run(audit=audit)


async def materialise(engine: AsyncEngine, family: Family, start: datetime, end: datetime) -> None:
    """Refresh a range of a family, and take everything off the list: the rest is computed at query time."""
    await refresh_aggregates(engine, family, start, end)
    async with engine.begin() as conn:
        await take_off_the_list(conn)


async def take_off_the_list(conn: AsyncConnection) -> None:
    """Let nothing be dirty, as after a refresher, whether or not anything was refreshed."""
    await conn.execute(text("DELETE FROM dirty_ranges"))


async def dirty(engine: AsyncEngine) -> list[DirtySpan]:
    """What is on the list."""
    async with engine.connect() as conn:
        return await DirtyRangeRepository(conn).list_spans()


async def server_now(conn: AsyncConnection) -> datetime:
    """The second that has begun by the server's clock."""
    now: datetime = (await conn.execute(text("SELECT date_trunc('second', clock_timestamp())"))).scalar_one()
    return now


async def assert_right_and_clean(engine: AsyncEngine) -> None:
    """Nothing is on the list, and all aggregates equal what the rows give."""
    assert await dirty(engine) == []
    async with engine.connect() as conn:
        await assert_aggregates_agree(conn)


async def run_job(engine: AsyncEngine, relation: str, kind: str = "refresh") -> None:
    """Run a policy's job now."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        job = text(
            "SELECT job_id FROM timescaledb_information.jobs"
            " WHERE proc_name LIKE '%' || :kind || '%' AND hypertable_name = :relation AND hypertable_schema = current_schema()"
        )
        job_id = await conn.scalar(job, {"kind": kind, "relation": relation})
        await conn.execute(text(f"CALL run_job({job_id})"))


async def seen(engine: AsyncEngine, relation: str) -> int:
    """How many rows of the source an aggregate shows."""
    async with engine.connect() as conn:
        count = "book_count" if relation.startswith("order") else "candle_count"
        found: int | None = await conn.scalar(text(f"SELECT sum({count})::bigint FROM {relation}"))
        return found or 0
