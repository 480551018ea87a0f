"""Aggregates after rows were deleted on purpose: by its counts a bucket looks like one that retention has thinned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.db.aggregates import AGGREGATES
from datalayer.repositories.refresh_state import Part
from datalayer.timescale import list_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.aggregates import Family
    from datalayer.repositories.refresh_step import RefreshStep
    from datalayer.timescale.chunks import Chunk


async def refresh_taken_out(
    conn: AsyncConnection, step: RefreshStep, family: Family, start: datetime, end: datetime
) -> bool:
    """Compute anew what the aggregates show over a range out of which rows were taken. May be repeated.

    Where the source has no chunk any more its rows were dropped, by retention: the aggregates stay what they are.

    Args:
        conn: connection in autocommit mode.
        step: of the family.
        family: the source hypertable.
        start: first moment, inclusive, UTC.
        end: end of the range, exclusive, UTC.

    Returns:
        False: somebody else was refreshing there all the time.

    Raises:
        DatabaseError: the server refuses, or the connection is lost.
    """
    chunks = await conn.run_sync(list_chunks, family)
    for first, last in _there(chunks, start, end):
        for level in AGGREGATES[family]:
            part = Part(level.name, level.bucket.floor(first), level.bucket.ceil(last))
            # All anew: a refresh that was killed has taken the range out of TimescaleDB's log of changes.
            if not await step.refresh(level, part, force=True):
                return False
    return True


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
