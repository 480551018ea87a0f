"""What a running embedded server says about itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from datalayer.embedded.control import ask
from datalayer.errors import EmbeddedError

if TYPE_CHECKING:
    from pathlib import Path

    from datalayer.embedded.layout import ServerRecord

STATUS_TIMEOUT_S = 5.0
_RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One TimescaleDB policy or user-defined job, and how the ticker of the embedded server fares with it.

    Attributes:
        job_id: as in `timescaledb_information.jobs`.
        proc: schema and name of the procedure that it runs.
        hypertable: schema and name of what it works on, or None for a user-defined job.
        scheduled: False while the job is paused.
        next_start: when the ticker runs it next (UTC), or None while paused.
        last_start: when it last ran (UTC), or None if it has not.
        last_status: `ok` or `failed`, or None if it has not run.
        last_error: text of the last failure, or None if the last run succeeded.
        runs: runs since the database was created; in memory, or with `jobs.json` removed, since the start.
        failures: how many of them failed.
    """

    job_id: int
    proc: str
    hypertable: str | None
    scheduled: bool
    next_start: datetime | None
    last_start: datetime | None
    last_status: str | None
    last_error: str | None
    runs: int
    failures: int

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> JobStatus:
        """Read one element of the server's `jobs` list."""
        return cls(
            job_id=int(data["job_id"]),
            proc=data["proc"],
            hypertable=data.get("hypertable"),
            scheduled=bool(data["scheduled"]),
            next_start=_instant(data["next_start"]) if data["scheduled"] else None,
            last_start=_instant(data.get("last_start")),
            last_status=data.get("last_status"),
            last_error=data.get("last_error"),
            runs=int(data.get("runs") or 0),
            failures=int(data.get("failures") or 0),
        )


@dataclass(frozen=True, slots=True)
class EmbeddedStatus:
    """The state of a running embedded server.

    Attributes:
        pid: process id.
        folder: the database folder, or None when it is in memory.
        socket_dir: folder of its unix socket.
        tcp_port: loopback port, or None when it does not listen on TCP.
        daemon: it runs until it is stopped; otherwise it ends with its last user.
        started_at: when it became ready (UTC).
        answered: False when it did not answer in time: a query is running, and nothing else moves meanwhile.
            Everything below is then unknown: None or empty.
        busy: a client is inside a query or a transaction.
        clients: open database connections.
        leases: `EmbeddedTimescale` objects, of all processes, that keep it running.
        postgres: version of PostgreSQL.
        timescaledb: version of TimescaleDB.
        jobs: the scheduled jobs, by id.
    """

    pid: int
    folder: Path | None
    socket_dir: Path
    tcp_port: int | None
    daemon: bool
    started_at: datetime
    answered: bool
    busy: bool
    clients: int | None
    leases: int | None
    postgres: str | None
    timescaledb: str | None
    jobs: tuple[JobStatus, ...]


def read_status(record: ServerRecord, folder: Path | None) -> EmbeddedStatus:
    """Ask a running server how it is, for at most `STATUS_TIMEOUT_S`.

    Raises:
        OSError: nobody listens any more.
    """
    try:
        answer = ask(record.socket_dir, "status", STATUS_TIMEOUT_S)
    except TimeoutError:
        answer = {"busy": True}
    return EmbeddedStatus(
        pid=record.pid,
        folder=folder,
        socket_dir=record.socket_dir,
        tcp_port=record.tcp_port,
        daemon=record.daemon,
        started_at=record.started_at,
        answered="ok" in answer,
        busy=bool(answer["busy"]),
        clients=answer.get("clients"),
        leases=answer.get("leases"),
        postgres=answer.get("postgres"),
        timescaledb=answer.get("timescaledb"),
        jobs=tuple(
            JobStatus.from_json(job) for job in sorted(answer.get("jobs", []), key=lambda job: job["job_id"])
        ),
    )


def run_jobs(record: ServerRecord, timeout_s: float) -> tuple[JobStatus, ...]:
    """Have the due jobs run as soon as no client is inside a transaction; see `EmbeddedTimescale.run_due_jobs`."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            answer = ask(record.socket_dir, "run_jobs", max(deadline - time.monotonic(), _RETRY_S))
        except EmbeddedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return tuple(map(JobStatus.from_json, answer["ran"]))


def _instant(value: str | float | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(str(value))
