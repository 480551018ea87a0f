"""The jobs of a database: what it does by itself, when, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from datalayer.timescale.server import Server
from datalayer.timescale.specs import PolicyKind

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Job:
    """A policy of a hypertable or continuous aggregate.

    Attributes:
        job_id: TimescaleDB's number of it.
        kind: what it does.
        relation: hypertable or aggregate it works on.
        scheduled: it runs by itself; False: paused.
        schedule_interval: time between two runs.
        windows: `start_offset` and `end_offset`, `compress_after` or `drop_after`; numbers on an integer time column.
        last_run: start of the last run, UTC; None: never, or not recorded.
        last_status: `Success`, `Failed` or None.
        runs: number of runs.
        failures: number of those that failed.
        last_error: of the last failed run that the server still remembers; None: there is none.
        next_start: start of the next run, UTC; None: not planned.
    """

    job_id: int
    kind: PolicyKind
    relation: str
    scheduled: bool
    schedule_interval: timedelta
    windows: dict[str, timedelta | int]
    last_run: datetime | None
    last_status: str | None
    runs: int
    failures: int
    last_error: str | None
    next_start: datetime | None


_WINDOWS = ("start_offset", "end_offset", "compress_after", "drop_after")


def _window(name: str) -> str:
    """Return SQL for a window of a job, as an interval or, on an integer time column, as a number."""
    value, number = f"(j.config ->> '{name}')", f"jsonb_typeof(j.config -> '{name}') = 'number'"
    return f"CASE WHEN {number} THEN {value}::bigint END AS {name}_number, CASE WHEN {number} THEN NULL ELSE {value}::interval END AS {name}"


_LIST = text(f"""
    SELECT j.job_id, j.proc_name, j.hypertable_name, j.scheduled, j.schedule_interval,
           {", ".join(map(_window, _WINDOWS))},
           NULLIF(s.last_run_started_at, '-infinity') AS last_run, s.last_run_status,
           COALESCE(s.total_runs, 0) AS runs, COALESCE(s.total_failures, 0) AS failures,
           (SELECT err_message FROM timescaledb_information.job_errors AS e WHERE e.job_id = j.job_id
            ORDER BY finish_time DESC LIMIT 1) AS last_error,
           CASE WHEN isfinite(j.next_start) THEN j.next_start END AS next_start
    FROM timescaledb_information.jobs AS j LEFT JOIN timescaledb_information.job_stats AS s USING (job_id)
    WHERE j.hypertable_schema = COALESCE(:schema, current_schema()) AND j.proc_name = ANY(:kinds)
    ORDER BY j.proc_name, j.hypertable_name
""")


def list_jobs(connection: Connection, *kinds: PolicyKind, schema: str | None = None) -> list[Job]:
    """Return the policies of a schema, ordered by kind and relation.

    Args:
        connection: a connection; `await conn.run_sync(list_jobs)` for an async one.
        kinds: kinds wanted; none given: all.
        schema: None: the first of the search path.
    """
    wanted = {"kinds": [kind.value for kind in kinds or PolicyKind], "schema": schema}
    return [_job(row) for row in connection.execute(_LIST, wanted).mappings()]


def switch_jobs(
    connection: Connection, kind: PolicyKind, *, scheduled: bool, schema: str | None = None
) -> list[Job]:
    """Resume or pause all policies of one kind in a schema; the caller commits. May be repeated.

    Returns:
        The policies as they are now.
    """
    switch = text(f"SELECT {Server.of(connection).function('alter_job')}(:job_id, scheduled => :scheduled)")
    for job in list_jobs(connection, kind, schema=schema):
        connection.execute(switch, {"job_id": job.job_id, "scheduled": scheduled})
    return list_jobs(connection, kind, schema=schema)


def _job(row: Any) -> Job:
    return Job(
        job_id=row["job_id"],
        kind=PolicyKind(row["proc_name"]),
        relation=row["hypertable_name"],
        scheduled=row["scheduled"],
        schedule_interval=row["schedule_interval"],
        windows={
            name: value
            for name in _WINDOWS
            if (value := row[name] if row[name] is not None else row[f"{name}_number"]) is not None
        },
        last_run=row["last_run"],
        last_status=row["last_run_status"],
        runs=row["runs"],
        failures=row["failures"],
        last_error=row["last_error"],
        next_start=row["next_start"],
    )
