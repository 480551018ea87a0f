"""What TimescaleDB knows of the aggregates of a family: how far they are, what they miss, what their source still has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.db.aggregates import AGGREGATES
from datalayer.domain.moments import to_microseconds
from datalayer.timescale import PolicyKind, list_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.aggregates import Family

RETENTION_MARGIN: Final = timedelta(hours=1)
"""What the next run of retention may drop while it is being refreshed is left alone."""

_TIME: Final = "_timescaledb_functions.to_timestamp"
# The first moment of a timestamptz, 4714 BC. After a refresh that was open at its start the log has values before it.
_BEGIN: Final = "-210866803200000000"
_LEVELS: Final = """
    SELECT a.user_view_name AS name, a.mat_hypertable_id, a.raw_hypertable_id, w.watermark
    FROM _timescaledb_catalog.continuous_agg AS a JOIN _timescaledb_catalog.continuous_aggs_watermark AS w USING (mat_hypertable_id)
    WHERE a.user_view_schema = current_schema() AND a.user_view_name = ANY(:names)
"""
_CHUNKS: Final = """
    SELECT range_start, range_end FROM timescaledb_information.chunks
    WHERE hypertable_schema = current_schema() AND hypertable_name = :family
"""
# An aggregate that was never refreshed has its watermark in the year 4714 BC.
_STATE: Final = text(f"""
    SELECT name, GREATEST({_TIME}(watermark), TIMESTAMPTZ '0001-01-01Z') AS watermark, now() AS now FROM ({_LEVELS}) AS levels
""")
_SOURCE: Final = text(f"""
    SELECT count(*) FILTER (WHERE range_start < :end AND range_end > :start) > 0 AS is_there,
           min(range_start) FILTER (WHERE range_start >= :end) AS next, min(range_start) AS first,
           LEAST(max(range_end), now()) AS last
    FROM ({_CHUNKS}) AS chunks
""")

# A refresh takes what it is about to do out of the log, into `materialization_ranges`, and commits; when it is killed after
# that, the range stays there.
_TAKEN_OUT: Final = "continuous_aggs_materialization_ranges"
_KNOWS_TAKEN_OUT: Final = text(f"SELECT to_regclass('_timescaledb_catalog.{_TAKEN_OUT}') IS NOT NULL")
_LOGGED: Final = """
    SELECT {columns} FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log AS i
    JOIN levels AS l ON l.raw_hypertable_id = i.hypertable_id {condition}
    UNION ALL
    SELECT {columns} FROM _timescaledb_catalog.continuous_aggs_materialization_invalidation_log AS i
    JOIN levels AS l ON l.mat_hypertable_id = i.materialization_id
"""
_LOGGED_TAKEN_OUT: Final = f"""
    UNION ALL
    SELECT {{columns}} FROM _timescaledb_catalog.{_TAKEN_OUT} AS i
    JOIN levels AS l ON l.mat_hypertable_id = i.materialization_id
"""
_COLUMNS: Final = "l.name, l.watermark, i.lowest_modified_value AS low, i.greatest_modified_value AS high"
_PENDING: Final = """
    WITH levels AS ({levels}), logged AS ({logged})
    SELECT EXISTS (
        SELECT FROM logged JOIN unnest(CAST(:names AS text[]), CAST(:lows AS bigint[]), CAST(:ends AS bigint[]))
            AS part (name, low, part_end) USING (name)
        WHERE GREATEST(logged.low, part.low) < {reach} AND logged.high >= part.low
    )
"""
# Within the window of its policy a level is refreshed anyway. A window holds whole buckets, so it begins up to one later.
_MISSED: Final = f"""
    WITH levels AS ({_LEVELS}), logged AS ({{logged}}),
    chunks AS MATERIALIZED ({_CHUNKS}),
    missed AS (
        SELECT tstzrange(begin, reach) AS missed
        FROM logged
        JOIN unnest(CAST(:names AS text[]), CAST(:windows AS timestamptz[])) AS policy (name, starts) USING (name)
        CROSS JOIN chunks
        CROSS JOIN LATERAL (
            SELECT GREATEST({_TIME}(GREATEST(low, {_BEGIN})), range_start, CAST(:kept_from AS timestamptz)) AS begin,
                   LEAST({_TIME}(GREATEST(high, {_BEGIN})) + INTERVAL '1 microsecond', {_TIME}(watermark), starts, range_end) AS reach
        ) AS bound
        WHERE begin < reach
    )
    SELECT lower(r), upper(r) FROM (SELECT unnest(range_agg(missed)) AS r FROM missed) AS ranges
    WHERE EXISTS (
        SELECT FROM instruments AS i CROSS JOIN LATERAL (
            SELECT FROM {{family}} AS s WHERE s.instrument_id = i.id AND s.ts >= lower(r) AND s.ts < upper(r) {{only}} LIMIT 1
        ) AS row
    )
    ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A range of whole buckets of an aggregate that was refreshed."""

    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source has in and around a range.

    Attributes:
        is_there: a chunk overlaps the range.
        next: where the first chunk after the range begins, UTC; None: there is none.
        first: where the very first chunk begins; None: the source is empty.
        last: where the very last one ends, but not later than now.
    """

    is_there: bool
    next: datetime | None
    first: datetime | None
    last: datetime | None


class RefreshState:
    """Asks TimescaleDB's catalog about the aggregates of one family.

    Args:
        conn: connection in autocommit mode.
        family: the source hypertable.
    """

    def __init__(self, conn: AsyncConnection, family: Family) -> None:
        self._conn = conn
        self.family = family
        self._names = [aggregate.name for aggregate in AGGREGATES[family]]

    async def watermarks(self) -> dict[str, datetime]:
        """Return up to where each aggregate is materialised; the year 1: it never was."""
        rows = await self._conn.execute(_STATE, {"names": self._names})
        return {row.name: row.watermark for row in rows}

    async def source(self, start: datetime, end: datetime) -> SourceState:
        """Return what the source has in a range."""
        values = {"family": self.family, "start": start, "end": end}
        return SourceState(*(await self._conn.execute(_SOURCE, values)).one())

    async def retained_from(self) -> dict[str, datetime]:
        """Return for the relations whose retention is on from where they are safe from its next run."""
        now: datetime = (await self._conn.execute(text("SELECT now()"))).scalar_one()
        jobs = await self._conn.run_sync(list_jobs, PolicyKind.RETENTION)
        ages = {job.relation: job.windows["drop_after"] for job in jobs if job.scheduled}
        return {
            name: now - age + RETENTION_MARGIN for name, age in ages.items() if isinstance(age, timedelta)
        }

    async def needs_refresh(self, part: Part) -> bool:
        """Return whether something in a range of an aggregate is not materialised, or not as it is in the source."""
        return await self._is_logged([part], await self._logged(), reach="part_end")

    async def is_pending(self, parts: Sequence[Part], *, taken_out: bool) -> bool:
        """Return whether something that a refresh of these parts was to materialise is missing or old.

        What was written to the source itself meanwhile is not looked at: whoever wrote it has recorded it.

        Args:
            parts: what was refreshed.
            taken_out: whether to look also at what a refresh is doing, or was doing when it was interrupted.
        """
        of_others = f"AND l.name <> '{self._names[0]}'"
        logged = await self._logged(taken_out=taken_out, condition=of_others)
        return await self._is_logged(parts, logged, reach="LEAST(part_end, watermark)")

    async def _is_logged(self, parts: Sequence[Part], logged: str, *, reach: str) -> bool:
        query = text(_PENDING.format(levels=_LEVELS.replace(":names", ":levels"), logged=logged, reach=reach))
        values = {
            "levels": self._names,
            "names": [part.name for part in parts],
            "lows": [to_microseconds(part.start) for part in parts],
            "ends": [to_microseconds(part.end) for part in parts],
        }
        return bool((await self._conn.execute(query, values)).scalar_one())

    async def missed(self) -> list[tuple[datetime, datetime]]:
        """Return ranges that no policy will ever refresh though rows of the source are there, ascending.

        They were written past the repositories, or a watermark moved over them: by the first run of a policy, or after its
        jobs had stood still for longer than their window.
        """
        only = "AND s.timeframe = 1" if self.family == "candles" else ""
        logged = await self._logged()
        query: TextClause = text(_MISSED.format(logged=logged, family=self.family, only=only))
        kept_from = (await self.retained_from()).get(self.family)
        values = {
            "names": self._names,
            "windows": await self._windows(),
            "family": self.family,
            "kept_from": kept_from,
        }
        return [(row[0], row[1]) for row in await self._conn.execute(query, values)]

    async def _windows(self) -> list[datetime | None]:
        """Return from where on the policy of each level refreshes it by itself; None: it has none that is on."""
        now: datetime = (await self._conn.execute(text("SELECT now()"))).scalar_one()
        jobs = await self._conn.run_sync(list_jobs, PolicyKind.REFRESH)
        ages = {job.relation: job.windows.get("start_offset") for job in jobs if job.scheduled}
        starts: list[datetime | None] = []
        for aggregate in AGGREGATES[self.family]:
            age = ages.get(aggregate.name)
            starts.append(now - age + aggregate.bucket.length if isinstance(age, timedelta) else None)
        return starts

    async def _logged(self, *, taken_out: bool = True, condition: str = "") -> str:
        knows = taken_out and (await self._conn.execute(_KNOWS_TAKEN_OUT)).scalar_one()
        sql = _LOGGED + _LOGGED_TAKEN_OUT if knows else _LOGGED
        return sql.format(columns=_COLUMNS, condition=condition)
