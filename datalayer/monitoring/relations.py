"""What hypertables and aggregates take up, and what their policies have left to do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.monitoring.state import RelationState
from datalayer.timescale import (
    PolicyKind,
    chunk_sizes,
    compression_statistics,
    list_chunks,
    relation_size,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection

    from datalayer.timescale import Chunk, Job

GROWTH_OVER: Final = timedelta(days=30)

_NAMES: Final = text("""
    SELECT hypertable_name AS name, false AS is_aggregate FROM timescaledb_information.hypertables
    WHERE hypertable_schema = current_schema()
    UNION ALL
    SELECT view_name, true FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema()
    ORDER BY 2, 1
""")


def relation_states(connection: Connection, jobs: Iterable[Job], now: datetime) -> tuple[RelationState, ...]:
    """Return how each hypertable and aggregate of the schema is; the former first, by name.

    Args:
        connection: in a transaction of its own.
        jobs: the policies.
        now: by the clock of the server.
    """
    of = {(job.kind, job.relation): job for job in jobs}
    return tuple(
        _state(
            connection,
            RelationState(row.name, row.is_aggregate),
            of.get((PolicyKind.COMPRESSION, row.name)),
            of.get((PolicyKind.RETENTION, row.name)),
            now,
        )
        for row in connection.execute(_NAMES).all()
    )


def _state(
    connection: Connection, bare: RelationState, compression: Job | None, retention: Job | None, now: datetime
) -> RelationState:
    chunks, sizes = list_chunks(connection, bare.name), chunk_sizes(connection, bare.name)
    saved = compression_statistics(connection, bare.name)
    growth = tuple((chunk.range_start, sizes.get(chunk.name, 0)) for chunk in chunks if chunk.range_start)
    loose = [chunk for chunk in chunks if not chunk.is_compressed]
    drop_after = _window(retention, "drop_after")
    is_on = retention is not None and retention.scheduled
    return RelationState(
        name=bare.name,
        is_aggregate=bare.is_aggregate,
        size_bytes=relation_size(connection, bare.name),
        chunks=len(chunks),
        compressed_chunks=saved.chunks,
        bytes_before=saved.bytes_before,
        bytes_after=saved.bytes_after,
        bytes_per_day=_bytes_per_day(chunks, sizes, now),
        oldest=growth[0][0] if growth else None,
        due_chunks=_overdue(loose, compression, "compress_after", now),
        droppable_chunks=_overdue(chunks, retention, "drop_after", now) if is_on else 0,
        drop_after=drop_after,
        retention_is_on=is_on,
        growth=growth,
    )


def _overdue(chunks: Iterable[Chunk], policy: Job | None, window: str, now: datetime) -> int:
    """Return how many chunks a policy should have seen to: those past its window at its last turn.

    Between two turns chunks come past it, and nothing is wrong.
    """
    age = _window(policy, window)
    if policy is None or age is None:
        return 0
    turn = now - policy.schedule_interval
    return sum(chunk.range_end is not None and chunk.range_end + age < turn for chunk in chunks)


def _window(policy: Job | None, name: str) -> timedelta | None:
    age = None if policy is None else policy.windows.get(name)
    return age if isinstance(age, timedelta) else None


def _bytes_per_day(chunks: Iterable[Chunk], sizes: dict[str, int], now: datetime) -> float:
    """Return the size of the newest chunks over the time that they hold; one that is not full holds up to now."""
    ranges = [
        (chunk.range_start, min(chunk.range_end, now), sizes.get(chunk.name, 0))
        for chunk in chunks
        if chunk.range_start and chunk.range_end and chunk.range_start < now
    ]
    if not ranges:
        return 0.0
    newest = max(end for _, end, _ in ranges)
    recent = [one for one in ranges if one[1] > newest - GROWTH_OVER]
    days = sum((end - start).total_seconds() for start, end, _ in recent) / 86_400
    return sum(size for *_, size in recent) / days
