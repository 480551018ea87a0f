"""The refresher: works off dirty ranges, so that late rows appear in the aggregates of every level.

Why it works as it does, and what was measured: ADR 0012.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final, NoReturn

from sqlalchemy import text

from datalayer.db.driver_errors import database_errors_translated
from datalayer.db.retry import is_passing
from datalayer.errors import DatabaseError
from datalayer.repositories.refresh_report import RefreshReport
from datalayer.repositories.refresh_run import RefreshRun

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.repositories.refresh_report import RefreshProgress
    from datalayer.repositories.refresh_step import LeftAlone

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 30.0
AUDIT_INTERVAL_S: Final = 3600.0

_KEY: Final = "hashtextextended('datalayer.refresh ' || current_schema(), 0)"
_LOCK: Final = text(f"SELECT pg_try_advisory_lock({_KEY})")
_REASONS: Final = {
    "fewer rows": "its source has fewer rows by now than it was made of",
    "retention": "its source is about to be dropped",
}
_UNLOCK: Final = text(f"SELECT pg_advisory_unlock({_KEY})")


class AggregateRefresher:
    """Refreshes what is recorded as dirty, each level after the one that it reads, and takes it off the list.

    It works in steps of a day at most, each of which commits by itself: it may be killed at any moment, and the next run
    goes on. Writers go on meanwhile: what they write to a range that is being refreshed puts that on the list anew.
    Policies may refresh the same, and several refreshers may run: one works, the others say that they are `is_busy`. It
    refreshes nothing of which the source has lost rows, since that would delete them from the aggregate too.

    Args:
        engine: on a migrated database, not through a transaction pooler: a lock of the session is held.
        on_progress: called before each step.
    """

    def __init__(
        self, engine: AsyncEngine, *, on_progress: Callable[[RefreshProgress], None] | None = None
    ) -> None:
        self._engine = engine
        self._on_progress = on_progress
        self._left_alone: set[LeftAlone] = set()

    async def run(self, *, audit: bool = True) -> RefreshReport:
        """Refresh all that is on the list now; what is recorded meanwhile is for the next run.

        Args:
            audit: first put on the list what TimescaleDB knows to be missing, and neither a policy nor the list reaches.

        Raises:
            DatabaseError: the server refuses, or the connection is lost. What is done is done.
        """
        with database_errors_translated():
            async with self._session() as conn:
                if conn is None:
                    return RefreshReport(is_busy=True)
                run = RefreshRun(conn, self._on_progress)
                if audit:
                    await run.record_missed(self._left_alone)
                report = await run.work_off()
        self._left_alone.update(report.left_alone)
        _log(report)
        return report

    async def serve(
        self, *, interval_s: float = INTERVAL_S, audit_interval_s: float = AUDIT_INTERVAL_S
    ) -> NoReturn:
        """Run for ever; cancel the task to stop. While the database is away it is tried again each time.

        Args:
            interval_s: seconds between two runs.
            audit_interval_s: seconds between two runs with an audit; the first has one.

        Raises:
            DatabaseError: for a reason that does not pass.
        """
        next_audit = monotonic()
        while True:
            is_due = monotonic() >= next_audit
            try:
                report = await self.run(audit=is_due)
            except DatabaseError as exc:
                if not is_passing(exc):
                    raise
                logger.warning("the aggregates were not refreshed, again in %g s: %s", interval_s, exc)
            else:
                if is_due and not report.is_busy:
                    next_audit = monotonic() + audit_interval_s
            await asyncio.sleep(interval_s)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncConnection | None]:
        """Give a connection that holds the lock of all refreshers, or None if another has it."""
        async with self._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
            if not (await conn.execute(_LOCK)).scalar_one():
                yield None
                return
            # A step of many instruments may take longer than what the settings allow a query.
            await conn.execute(text("SET statement_timeout = 0"))
            try:
                yield conn
            except BaseException:
                await conn.invalidate()  # whatever state it is in, closing it frees the lock
                raise
            await conn.execute(text("RESET statement_timeout"))
            await conn.execute(_UNLOCK)


def _log(report: RefreshReport) -> None:
    for left in report.left_alone:
        logger.warning(
            "%s from %s to %s was not refreshed: %s",
            *(left.aggregate, left.start, left.end, _REASONS[left.reason]),
        )
    for span in report.unfinished:
        logger.warning(
            "%s from %s to %s stays dirty: somebody else was at work there",
            *(span.family, span.start, span.end),
        )
    if report.steps:
        logger.info("%d dirty ranges refreshed in %d steps", report.cleared, report.steps)
