"""Dirty ranges: what the continuous aggregates do not show yet, and has to be read from their source meanwhile.

They are recorded by every write of this library in its own transaction (`datalayer.db.dirty_ranges`), and cleared by
`AggregateRefresher`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.db.aggregates import check_range
from datalayer.db.dirty_ranges import record_ranges
from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.moments import RESOLUTION

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.aggregates import Family

_LIST: Final = text("""
    SELECT id, relation, start_ts, end_ts, recorded_at, taken_out FROM dirty_ranges
    WHERE relation = CAST(:family AS text) OR CAST(:family AS text) IS NULL ORDER BY relation, start_ts, id
""")
# Ranges of writers that were at work at once overlap.
_BUCKETS: Final = text("""
    SELECT lower(r), upper(r) FROM unnest((
        SELECT range_agg(tstzrange(
            time_bucket(:width, start_ts, TIMESTAMPTZ 'epoch'),
            time_bucket(:width, end_ts - INTERVAL '1 microsecond', TIMESTAMPTZ 'epoch') + CAST(:width AS interval)
        ))
        FROM dirty_ranges WHERE relation = :family
        AND start_ts < time_bucket(:width, CAST(:end AS timestamptz) - INTERVAL '1 microsecond', TIMESTAMPTZ 'epoch')
            + CAST(:width AS interval)
        AND end_ts > time_bucket(:width, CAST(:start AS timestamptz), TIMESTAMPTZ 'epoch')
    )) AS r ORDER BY 1
""")
# Whoever wrote there in the meantime has put another in its place, or holds it and is about to: then nothing is cleared.
_CLEAR: Final = text("""
    WITH held AS MATERIALIZED (
        SELECT id, end_ts FROM dirty_ranges WHERE id = :id AND start_ts = :start FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM dirty_ranges AS d USING held WHERE d.id = held.id AND held.end_ts <= :cleared_to
    ), shortened AS (
        UPDATE dirty_ranges AS d SET start_ts = :cleared_to FROM held WHERE d.id = held.id AND held.end_ts > :cleared_to
    )
    SELECT count(*) > 0 FROM held
""")


@dataclass(frozen=True, slots=True)
class DirtySpan:
    """A range of a source hypertable whose aggregates are to be refreshed.

    Attributes:
        id: its number; a range in which something is written again gets a new one.
        family: the hypertable.
        start: time of the first row, UTC.
        end: end, exclusive, UTC: a microsecond after the last row.
        recorded_at: when the oldest of what was merged into it was written, UTC.
        taken_out: whether rows were deleted there on purpose, which the aggregates are to forget.
    """

    id: int
    family: Family
    start: datetime
    end: datetime
    recorded_at: datetime
    taken_out: bool


class DirtyRangeRepository:
    """Reads and records dirty ranges inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def list_spans(self, family: Family | None = None) -> list[DirtySpan]:
        """Return what is recorded, ascending by family and start; ranges of writers that were at work at once overlap.

        Args:
            family: only of this hypertable; None: of all.
        """
        with driver_errors_translated():
            return [DirtySpan(*row) for row in await self._conn.execute(_LIST, {"family": family})]

    async def list_dirty_buckets(
        self, family: Family, bucket: Timeframe | str, start: datetime, end: datetime
    ) -> list[tuple[datetime, datetime]]:
        """Return which buckets an aggregate may show wrongly: ask the source for them.

        Ask before reading the aggregate; what is committed in between is then missing as if it had come later.

        Args:
            family: the hypertable.
            bucket: length of the aggregate's buckets.
            start: first moment, inclusive, aware.
            end: end of the range, exclusive, aware.

        Returns:
            Ranges `[start, end)` of whole buckets in UTC, ascending, apart from each other; all that overlap the range
            asked for, and they may reach beyond it. Empty: the aggregate is right.

        Raises:
            InvalidInputError: `start` is not before `end`, or one of them is naive.
        """
        start, end = check_range(start, end)
        values = {"family": family, "width": Timeframe.parse(bucket).length, "start": start, "end": end}
        with driver_errors_translated():
            return [(row[0], row[1]) for row in await self._conn.execute(_BUCKETS, values)]

    async def clear(self, span: DirtySpan, cleared_to: datetime) -> bool:
        """Take the beginning of a range, or all of it, off the list, after a refresh that began when it was listed.

        Args:
            span: as `list_spans` gave it.
            cleared_to: end of what was refreshed, exclusive.

        Returns:
            False: somebody has written there since, or is about to; nothing was cleared.
        """
        values = {"id": span.id, "start": span.start, "cleared_to": cleared_to}
        with driver_errors_translated():
            return bool((await self._conn.execute(_CLEAR, values)).scalar_one())

    async def record(self, family: Family, start: datetime, end: datetime) -> None:
        """Record a range in the transaction that wrote to it, for rows that did not go through the repositories.

        The repositories do it by themselves. They leave out the rows of the last 30 seconds: a transaction that takes
        longer to commit has to record them before it does, else a refresh may have passed them.

        Args:
            family: the hypertable.
            start: time of the first row, aware.
            end: end, exclusive, aware.

        Raises:
            InvalidInputError: `start` is not before `end`, or one of them is naive.
            DatabaseError: the server refuses.
        """
        start, end = check_range(start, end)
        await record_ranges(self._conn, family, [start], [end - RESOLUTION])
