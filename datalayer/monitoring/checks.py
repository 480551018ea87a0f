"""The checks of `datalayer doctor`: what is found in the state of a database, how bad that is, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.monitoring.data_checks import (
    check_aggregates,
    check_freshness,
    check_gaps,
    check_quarantine,
)
from datalayer.monitoring.findings import Finding, HealthLimits, Verdict
from datalayer.monitoring.policy_checks import check_jobs, check_policies
from datalayer.monitoring.storage_checks import check_compression, check_disks, check_retention
from datalayer.monitoring.words import bytes_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from datalayer.monitoring.state import DatabaseState


def diagnose(
    state: DatabaseState, limits: HealthLimits | None = None, *, folders: Mapping[str, Path] | None = None
) -> list[Finding]:
    """Return what is right and wrong with a database, one finding a check at least, in the order in which to see to it.

    Args:
        state: of the database.
        limits: from where on something is wrong.
        folders: whose disks are looked at, by name.
    """
    limits = limits or HealthLimits()
    checks = [_database(state), _schema(state)]
    if state.is_current:
        checks += [
            check_policies(state),
            check_jobs(state, limits),
            check_aggregates(state, limits),
            check_freshness(state, limits),
            check_gaps(state),
            check_compression(state, limits),
            check_retention(state),
            check_quarantine(state),
        ]
    checks.append(check_disks(folders or {}, limits))
    return [finding for check in checks for finding in check]


def drift(differences: Sequence[str]) -> Finding:
    """Return the finding of `datalayer.db.migrations.check`.

    Args:
        differences: what it returned.
    """
    if not differences:
        return Finding("drift", Verdict.OK, "tables, indexes and policies are as this package wants them")
    todo = "put back what was changed by hand; `datalayer db check` compares again"
    return Finding("drift", Verdict.PROBLEM, "; ".join(differences), todo)


def unreachable(reason: str) -> Finding:
    """Return the finding of a database that does not answer.

    Args:
        reason: why.
    """
    todo = "start the server, or correct DATALAYER_DATABASE_URL"
    return Finding("database", Verdict.PROBLEM, reason, todo)


def _database(state: DatabaseState) -> Iterator[Finding]:
    """Whether it answers and takes writes."""
    versions = f"PostgreSQL {state.postgres}, TimescaleDB {state.timescaledb or 'not installed'}"
    if state.read_only:
        todo = "point DATALAYER_DATABASE_URL at the primary; a standby refuses writes"
        yield Finding("database", Verdict.PROBLEM, f"{versions}, read-only", todo)
    else:
        yield Finding("database", Verdict.OK, f"{versions}, {bytes_text(state.size_bytes)}")


def _schema(state: DatabaseState) -> Iterator[Finding]:
    """Whether the schema is the one that this package wants."""
    if state.is_current:
        yield Finding("schema", Verdict.OK, f"at revision {state.revision}, the newest")
    else:
        found = f"at revision {state.revision or 'base'}, this package wants {state.newest_revision}"
        yield Finding("schema", Verdict.PROBLEM, found, "`datalayer db upgrade`")
