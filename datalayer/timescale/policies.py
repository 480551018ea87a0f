"""The policies of a schema: what the database does by itself, when, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection


class PolicyKind(StrEnum):
    """What a policy does; the value is the name of TimescaleDB's procedure."""

    REFRESH = "policy_refresh_continuous_aggregate"
    COMPRESSION = "policy_compression"
    RETENTION = "policy_retention"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of one hypertable or continuous aggregate.

    Attributes:
        job_id: TimescaleDB's number of it.
        kind: what it does.
        relation: hypertable or aggregate it works on.
        scheduled: it runs by itself; False: paused.
        schedule_interval: time between two runs.
        windows: `start_offset` and `end_offset`, `compress_after` or `drop_after`.
        last_run: start of the last run, UTC; None: never, or not recorded.
        last_status: `Success`, `Failed` or None.
        failures: number of failed runs.
    """

    job_id: int
    kind: PolicyKind
    relation: str
    scheduled: bool
    schedule_interval: timedelta
    windows: dict[str, timedelta]
    last_run: datetime | None
    last_status: str | None
    failures: int


_WINDOWS = ("start_offset", "end_offset", "compress_after", "drop_after")
_LIST = text(f"""
    SELECT j.job_id, j.proc_name, j.hypertable_name, j.scheduled, j.schedule_interval,
           {", ".join(f"(j.config ->> '{name}')::interval AS {name}" for name in _WINDOWS)},
           NULLIF(s.last_run_started_at, '-infinity') AS last_run, s.last_run_status, COALESCE(s.total_failures, 0) AS failures
    FROM timescaledb_information.jobs AS j LEFT JOIN timescaledb_information.job_stats AS s USING (job_id)
    WHERE j.hypertable_schema = current_schema() AND j.proc_name = ANY(:kinds)
    ORDER BY j.proc_name, j.hypertable_name
""")
_SWITCH = text("SELECT alter_job(:job_id, scheduled => :scheduled)")


async def list_policies(conn: AsyncConnection, *kinds: PolicyKind) -> list[Policy]:
    """Return the policies of the current schema, ordered by kind and relation.

    Args:
        conn: a connection; the first schema of its search path is meant.
        kinds: kinds wanted; none given: all.
    """
    rows = await conn.execute(_LIST, {"kinds": [kind.value for kind in kinds or PolicyKind]})
    return [_policy(row) for row in rows.mappings()]


async def switch_policies(conn: AsyncConnection, kind: PolicyKind, *, scheduled: bool) -> list[Policy]:
    """Resume or pause all policies of one kind in the current schema; the caller commits. May be repeated.

    Returns:
        The policies as they are now.
    """
    for policy in await list_policies(conn, kind):
        await conn.execute(_SWITCH, {"job_id": policy.job_id, "scheduled": scheduled})
    return await list_policies(conn, kind)


def _policy(row: Any) -> Policy:
    return Policy(
        job_id=row["job_id"],
        kind=PolicyKind(row["proc_name"]),
        relation=row["hypertable_name"],
        scheduled=row["scheduled"],
        schedule_interval=row["schedule_interval"],
        windows={name: row[name] for name in _WINDOWS if row[name] is not None},
        last_run=row["last_run"],
        last_status=row["last_run_status"],
        failures=row["failures"],
    )
