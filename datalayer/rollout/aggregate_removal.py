"""Aggregates after rows were taken out: `AggregateRefresher` cannot tell those from dropped ones, and would leave them shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.db.aggregates import AGGREGATES
from datalayer.errors import DatabaseError
from datalayer.repositories.moments import RESOLUTION
from datalayer.repositories.refresh_state import Part, RefreshState
from datalayer.repositories.refresh_step import RefreshStep
from datalayer.rollout.record_kinds import KINDS, feeds_aggregates
from datalayer.timescale import list_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.db.aggregates import Family
    from datalayer.rollout.ledger import LedgerFile
    from datalayer.timescale.chunks import Chunk


async def refresh_after_removal(engine: AsyncEngine, noted: LedgerFile) -> None:
    """Compute anew what the aggregates show over the range of a file whose rows were taken out. May be repeated.

    Where the source has no chunk any more its rows were dropped, by retention: the aggregates stay what they are.

    Args:
        engine: on a migrated database.
        noted: the file, as the ledger has it.

    Raises:
        DatabaseError: the server refuses, the connection is lost, or somebody else is refreshing there all the time.
    """
    kind = KINDS[noted.kind]
    if kind.family is None or noted.first_ts is None or noted.last_ts is None:
        return
    if not feeds_aggregates(kind, noted.length):
        return
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        chunks = await conn.run_sync(list_chunks, kind.target.table)
        for start, end in _there(chunks, noted.first_ts, noted.last_ts + RESOLUTION):
            await _refresh(conn, kind.family, start, end)


def _there(chunks: Sequence[Chunk], start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the parts of a range that chunks hold, those that touch as one: fewer refreshes of the levels above."""
    parts: list[tuple[datetime, datetime]] = []
    for chunk in chunks:
        if chunk.range_start is None or chunk.range_end is None:
            continue
        first, last = max(start, chunk.range_start), min(end, chunk.range_end)
        if first >= last:
            continue
        if parts and parts[-1][1] == first:
            first = parts.pop()[0]
        parts.append((first, last))
    yield from parts


async def _refresh(conn: AsyncConnection, family: Family, start: datetime, end: datetime) -> None:
    step = RefreshStep(conn, RefreshState(conn, family))
    for level in AGGREGATES[family]:
        part = Part(level.name, level.bucket.floor(start), level.bucket.ceil(end))
        # All anew: a refresh that was killed has taken the range out of TimescaleDB's log of changes.
        if not await step.refresh(level, part, force=True):
            msg = f"{level.name} from {start} to {end}: somebody else is refreshing there all the time; try again"
            raise DatabaseError(msg)
