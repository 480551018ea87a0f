"""Asking a database how it is: the one place, for commands, metrics and pages alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.db import migrations
from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.symbols import canonical_symbol
from datalayer.monitoring.relations import relation_states
from datalayer.monitoring.state import DatabaseState, JobState, SeriesState
from datalayer.repositories import CoverageRepository, DirtyRangeRepository, InstrumentRepository
from datalayer.timescale import list_jobs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.coverage import StoredRange
    from datalayer.timescale import Job

GAPS_OVER: Final = timedelta(days=1)
"""How far back from the last candle of a series holes are looked for."""

_FACTS: Final = text("""
    SELECT now() AS at, current_setting('server_version') AS postgres,
           (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb,
           current_setting('transaction_read_only') = 'on' OR pg_is_in_recovery() AS read_only,
           pg_database_size(current_database()) AS size_bytes,
           -- Not the one of another schema, which the search path would find when ours is not there.
           to_regclass(split_part(current_setting('search_path'), ',', 1) || '.alembic_version') IS NOT NULL AS has_revisions
""")
_REVISION: Final = text("SELECT version_num FROM alembic_version")
_REJECTS: Final = text(
    "SELECT rule, count(*) AS n FROM rejected_records WHERE status = 'open' GROUP BY rule ORDER BY 2 DESC, 1"
)


async def inspect_database(
    conn: AsyncConnection, *, symbols: Iterable[str] | None = None, with_gaps: bool = True
) -> DatabaseState:
    """Return how a database is. Reads only, some ten statements and two for each series of candles.

    Of a database whose schema is older than this package wants, only the database itself is told.

    Args:
        conn: a connection on a database; the transaction is the caller's.
        symbols: in any known spelling; those that are not registered are left out. None: all.
        with_gaps: look for missing candles too; that reads a day of each series.

    Raises:
        DatabaseError: the server refuses, or does not answer.
    """
    with driver_errors_translated():
        facts = dict((await conn.execute(_FACTS)).mappings().one())
        has_revisions = facts.pop("has_revisions")
        revision = (await conn.execute(_REVISION)).scalar_one_or_none() if has_revisions else None
        bare = DatabaseState(**facts, revision=revision, newest_revision=migrations.history()[-1].id)
        if not bare.is_current:
            return bare
        jobs = await conn.run_sync(list_jobs)
        return replace(
            bare,
            relations=await conn.run_sync(relation_states, jobs, bare.at),
            jobs=tuple(JobState(job, _lag(job, bare.at)) for job in jobs),
            dirty=tuple(await DirtyRangeRepository(conn).list_spans()),
            series=await _series(conn, symbols, with_gaps=with_gaps),
            open_rejects={row.rule: row.n for row in await conn.execute(_REJECTS)},
        )


async def _series(
    conn: AsyncConnection, symbols: Iterable[str] | None, *, with_gaps: bool
) -> tuple[SeriesState, ...]:
    chosen = None
    if symbols is not None:
        registered = {one.symbol for one in await InstrumentRepository(conn).list_all()}
        chosen = registered & {canonical_symbol(symbol) for symbol in symbols}
    coverage = CoverageRepository(conn)
    found = []
    for stored in await coverage.list_stored_ranges(chosen):
        missing = await _missing(coverage, stored) if with_gaps else None
        found.append(SeriesState(stored, _known_at(stored), missing))
    return tuple(found)


async def _missing(coverage: CoverageRepository, stored: StoredRange) -> int | None:
    if stored.timeframe is None:
        return None
    start = max(stored.first, stored.last - GAPS_OVER)
    report = await coverage.query_coverage(stored.symbol, stored.timeframe, start, _known_at(stored))
    return report.missing


def _known_at(stored: StoredRange) -> datetime:
    return stored.last if stored.timeframe is None else stored.last + stored.timeframe.length


def _lag(job: Job, now: datetime) -> timedelta:
    """Return how late a job is; the scheduler needs a moment, and a job that runs has no next start."""
    if not job.scheduled or job.next_start is None:
        return timedelta(0)
    return max(now - job.next_start, timedelta(0))
