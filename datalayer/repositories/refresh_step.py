"""One step of a refresh: a bounded range of all aggregates of a family, from the bottom up."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import text

from datalayer.db.aggregates import AGGREGATES, refresh_level
from datalayer.db.driver_errors import database_errors_translated
from datalayer.db.sqlstate import DEADLOCK
from datalayer.errors import DatabaseError
from datalayer.repositories.moments import RESOLUTION
from datalayer.repositories.refresh_state import Part

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.aggregates import Aggregate, Family
    from datalayer.repositories.refresh_state import RefreshState

logger = logging.getLogger(__name__)

Reason = Literal["fewer rows", "retention"]

_ATTEMPTS: Final = 4
_PAUSE_S: Final = 0.5
_BUSY_TRIES: Final = 60
_LOCK_NOT_AVAILABLE: Final = "55P03"
_COUNTS: Final[Mapping[Family, str]] = {"candles": "candle_count", "order_books": "book_count"}
# A late row makes a dropped chunk anew, and may even out the count of its bucket. Such a chunk is younger than the time that
# it is of, as one of imported history is too: then what the aggregate was made of tells.
_DROPPED: Final = """
    WITH suspects AS MATERIALIZED (
        SELECT range_start, range_end FROM timescaledb_information.chunks
        WHERE (hypertable_schema, hypertable_name) = (
            SELECT COALESCE(max(materialization_hypertable_schema), current_schema()),
                   COALESCE(max(materialization_hypertable_name), CAST(:source AS name))
            FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema() AND view_name = :source
        ) AND range_start < :end AND range_end > :start AND chunk_creation_time > range_end
    )
    SELECT range_start AS start, range_end AS end FROM suspects
    WHERE (SELECT sum({count}) FROM {aggregate} WHERE ts >= range_start AND ts < range_end)
        > 2 * (SELECT COALESCE({counted}, 0) FROM {source} WHERE ts >= range_start AND ts < range_end {only})
"""
# Where this library deletes rows of a source, the range is recorded as taken out (`repositories.taken_out`); elsewhere an
# aggregate that counts more of them than there are holds what retention, or somebody, has dropped since.
_BUCKETS: Final = """
    WITH found AS (
        SELECT instrument_id, time_bucket(:width, ts) AS ts, {counted} AS rows FROM {source}
        WHERE ts >= :start AND ts < :end {only} GROUP BY 1, 2
    ), buckets AS (
        SELECT tstzrange(ts, ts + CAST(:width AS interval)) AS bucket,
               bool_or(COALESCE(own.{count}, 0) > COALESCE(found.rows, 0) OR own.{count} > 0 AND EXISTS (
                   SELECT FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])) AS dropped (start_ts, end_ts)
                   WHERE ts >= start_ts AND ts < end_ts
               )) AS is_lost
        FROM (SELECT instrument_id, ts, {count} FROM {aggregate} WHERE ts >= :start AND ts < :end) AS own
        FULL JOIN found USING (instrument_id, ts) GROUP BY ts
    )
    SELECT is_lost, lower(r) AS start, upper(r) AS end
    FROM (SELECT is_lost, unnest(range_agg(bucket)) AS r FROM buckets GROUP BY is_lost) AS parts ORDER BY 2
"""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A range of an aggregate that was not refreshed: a refresh would delete what its source no longer has.

    Attributes:
        aggregate: its name.
        start: first bucket, UTC.
        end: end, exclusive, UTC.
        reason: `fewer rows`: the source holds fewer than the aggregate was made of; `retention`: it is about to drop them.
    """

    aggregate: str
    start: datetime
    end: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of a step.

    Attributes:
        is_clean: the aggregates show all that was committed in the range when it began.
        left_alone: the ranges that were not refreshed.
    """

    is_clean: bool
    left_alone: tuple[LeftAlone, ...]


class RefreshStep:
    """Refreshes ranges of the aggregates of a family; each part commits by itself, and all of it may be repeated.

    Args:
        conn: connection in autocommit mode.
        state: of the family.
    """

    def __init__(self, conn: AsyncConnection, state: RefreshState) -> None:
        self._conn = conn
        self._state = state
        self._left: list[LeftAlone] = []

    async def run(self, start: datetime, end: datetime) -> StepResult:
        """Refresh a range at all levels, and make sure of it.

        Beside a policy's refresh one of an upper level can miss what the one below is just committing (ADR 0006), and
        TimescaleDB forgets what an interrupted refresh was about (timescaledb #8591). Its own log tells of the first, so
        the step is repeated; at last everything is computed anew.

        Args:
            start: first moment, inclusive, UTC.
            end: end of the range, exclusive, UTC.

        Raises:
            DatabaseError: the server refuses, or the connection is lost.
        """
        for attempt in range(_ATTEMPTS):
            is_last = attempt == _ATTEMPTS - 1
            self._left = []
            parts = await self._refresh_levels(start, end, force=is_last)
            if parts is not None and not await self._state.is_pending(parts, taken_out=not is_last):
                return StepResult(is_clean=True, left_alone=tuple(self._left))
            await asyncio.sleep(_PAUSE_S)
        return StepResult(is_clean=False, left_alone=tuple(self._left))

    async def _refresh_levels(self, start: datetime, end: datetime, *, force: bool) -> list[Part] | None:
        """Return what was refreshed; None: somebody else was refreshing the same all the time."""
        family = self._state.family
        levels = AGGREGATES[family]
        sources = [family, *(level.name for level in levels)]
        watermarks, retained_from = await self._state.watermarks(), await self._state.retained_from()
        parts = []
        for source, level in zip(sources, levels, strict=False):
            whole = Part(level.name, level.bucket.floor(start), _ceil(level, end))
            if not force and not await self._state.needs_refresh(whole):
                continue
            if whole.start >= watermarks[level.name]:  # what is not materialised yet cannot be lost
                to_refresh = [whole]
            else:
                to_refresh = await self._with_source(level, source, whole, retained_from.get(source))
            for part in to_refresh:
                if not await self.refresh(level, part, force=force):
                    return None
                parts.append(part)
        return parts

    async def _with_source(
        self, level: Aggregate, source: str, whole: Part, retained_from: datetime | None
    ) -> list[Part]:
        """Return what of a range can be computed anew from what the source still has."""
        if retained_from is not None and whole.start < retained_from:
            kept = min(whole.end, _ceil(level, retained_from))
            self._left.append(LeftAlone(level.name, whole.start, kept, "retention"))
            if kept == whole.end:
                return []
            whole = Part(level.name, kept, whole.end)
        # A watermark that moves while a query is planned hides rows from it: whatever is lost is lost the second time too.
        for _ in range(2):
            found = await self._buckets(level, source, whole)
            if not any(is_lost for is_lost, _ in found):
                return [whole]
        self._left += [
            LeftAlone(part.name, part.start, part.end, "fewer rows") for is_lost, part in found if is_lost
        ]
        return [part for is_lost, part in found if not is_lost]

    async def _buckets(self, level: Aggregate, source: str, whole: Part) -> list[tuple[bool, Part]]:
        """Return the buckets that there are, and whether the source has lost rows of them; merged, ascending."""
        family = self._state.family
        count, is_base = _COUNTS[family], source == family
        names = {
            "aggregate": level.name,
            "source": source,
            "count": count,
            "counted": "count(*)" if is_base else f"sum({count})",
            "only": "AND timeframe = 1" if is_base and family == "candles" else "",
        }
        values: dict[str, object] = {"source": source, "start": whole.start, "end": whole.end}
        dropped = (await self._conn.execute(text(_DROPPED.format(**names)), values)).all()
        values = {"width": level.bucket.length, "start": whole.start, "end": whole.end}
        values |= {"starts": [row.start for row in dropped], "ends": [row.end for row in dropped]}
        rows = await self._conn.execute(text(_BUCKETS.format(**names)), values)
        return [(row.is_lost, Part(level.name, row.start, row.end)) for row in rows]

    async def refresh(self, level: Aggregate, part: Part, *, force: bool = False) -> bool:
        """Refresh a part of one aggregate, after whoever refreshes an overlapping one.

        Args:
            level: the aggregate.
            part: what of it.
            force: compute everything anew, not only what TimescaleDB knows to have changed.

        Returns:
            False: somebody else was at work there all the time.

        Raises:
            DatabaseError: the server refuses, or the connection is lost.
        """
        for _ in range(_BUSY_TRIES):
            try:
                with database_errors_translated():
                    await refresh_level(self._conn, level, part.start, part.end, force=force)
            except DatabaseError as exc:
                if exc.sqlstate not in {_LOCK_NOT_AVAILABLE, DEADLOCK}:
                    raise
                logger.info("%s: somebody else is at work there, waiting: %s", level.name, exc)
                await asyncio.sleep(_PAUSE_S)
            else:
                return True
        return False


def _ceil(level: Aggregate, moment: datetime) -> datetime:
    return level.bucket.floor(moment - RESOLUTION) + level.bucket.length
