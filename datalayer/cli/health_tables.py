"""How status and findings are shown."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from datalayer.monitoring import Verdict
from datalayer.monitoring.findings import worst
from datalayer.monitoring.words import bytes_text, length_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from datalayer.monitoring import DatabaseState, Finding, JobState, RelationState, SeriesState

_STYLES: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}


def verdict_text(found: Sequence[Finding]) -> Text:
    """Return the verdict on everything in a line."""
    counts = Counter(finding.verdict for finding in found)
    if worst(found) is Verdict.OK:
        return Text("all is well", style="green")
    parts = [
        f"{counts[verdict]} {verdict.label}{'s' if counts[verdict] > 1 else ''}"
        for verdict in (Verdict.PROBLEM, Verdict.WARNING)
        if counts[verdict]
    ]
    return Text(f"{', '.join(parts)}: `datalayer doctor` says what to do", style=_STYLES[worst(found)])


def doctor_table(found: Sequence[Finding]) -> Table:
    """Return the findings, with what to do below each."""
    table = Table("check", "verdict", "found, and what to do", box=None, padding=(0, 2, 0, 0))
    for finding in found:
        style = _STYLES[finding.verdict]
        text = finding.found if finding.todo is None else f"{finding.found}\n→ {finding.todo}"
        table.add_row(finding.check, Text(finding.verdict.label, style=style), text)
    return table


def doctor_document(found: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as JSON has them."""
    return {
        "verdict": worst(found).label,
        "findings": [
            {"check": one.check, "verdict": one.verdict.label, "found": one.found, "todo": one.todo}
            for one in found
        ],
    }


def status_tables(state: DatabaseState, found: Sequence[Finding]) -> list[RenderableType]:
    """Return everything that `datalayer status` shows."""
    head = (
        f"PostgreSQL {state.postgres}, TimescaleDB {state.timescaledb or '-'}, revision {state.revision or 'base'}, "
        f"{bytes_text(state.size_bytes)}"
    )
    tables = [_series_table(state), storage_table(state), _jobs_table(state)] if state.is_current else []
    return [head, *(part for table in tables for part in ("", table)), "", verdict_text(found)]


def _series_table(state: DatabaseState) -> Table:
    table = _table("symbol", "data", "first (UTC)", "last (UTC)", "age", "missing in its last day")
    for one in state.series:
        table.add_row(
            one.stored.symbol,
            one.label,
            f"{one.stored.first:%Y-%m-%d %H:%M:%S}",
            f"{one.stored.last:%Y-%m-%d %H:%M:%S}",
            length_text(state.age_of(one)),
            "-" if one.missing is None else f"{one.missing:,}",
        )
    return table


def storage_table(state: DatabaseState) -> Table:
    """Return what each relation that holds something takes up."""
    table = _table("relation", "size", "a day", "chunks", "compressed", "saved", "due", "kept for")
    for one in state.relations:
        if one.chunks:
            table.add_row(
                one.name,
                bytes_text(one.size_bytes),
                bytes_text(one.bytes_per_day),
                f"{one.chunks:,}",
                f"{one.compressed_chunks:,}",
                "-" if one.saved is None else f"{one.saved:.1%}",
                f"{one.due_chunks + one.droppable_chunks:,}",
                length_text(one.drop_after) if one.retention_is_on and one.drop_after else "ever",
            )
    return table


def _jobs_table(state: DatabaseState) -> Table:
    table = _table("policies", "on", "runs", "failed", "late by")
    kinds = {one.job.kind: [job for job in state.jobs if job.job.kind is one.job.kind] for one in state.jobs}
    for kind, jobs in kinds.items():
        lag = max(one.lag for one in jobs)
        table.add_row(
            kind.name.lower(),
            f"{sum(one.job.scheduled for one in jobs)} of {len(jobs)}",
            f"{sum(one.job.runs for one in jobs):,}",
            f"{sum(one.job.failures for one in jobs):,}",
            length_text(lag) if lag else "-",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    return table


def status_document(state: DatabaseState, found: Sequence[Finding]) -> dict[str, Any]:
    """Return everything as JSON has it: times as ISO texts, lengths in seconds, sizes in bytes."""
    return {
        **doctor_document(found),
        "at": state.at.isoformat(),
        "database": {
            "postgres": state.postgres,
            "timescaledb": state.timescaledb,
            "revision": state.revision,
            "newest_revision": state.newest_revision,
            "read_only": state.read_only,
            "size_bytes": state.size_bytes,
        },
        "series": [_series(one, state) for one in state.series],
        "relations": [_relation(one) for one in state.relations],
        "jobs": [_job(one) for one in state.jobs],
        "dirty_ranges": len(state.dirty),
        "open_rejects": dict(state.open_rejects),
    }


def _series(one: SeriesState, state: DatabaseState) -> dict[str, Any]:
    return {
        "symbol": one.stored.symbol,
        "kind": one.stored.kind,
        "timeframe": None if one.timeframe is None else one.timeframe.label,
        "first": one.stored.first.isoformat(),
        "last": one.stored.last.isoformat(),
        "age_s": state.age_of(one).total_seconds(),
        "missing_in_last_day": one.missing,
    }


def _relation(one: RelationState) -> dict[str, Any]:
    return {
        "name": one.name,
        "size_bytes": one.size_bytes,
        "bytes_per_day": round(one.bytes_per_day),
        "chunks": one.chunks,
        "compressed_chunks": one.compressed_chunks,
        "saved": one.saved,
        "due_chunks": one.due_chunks,
        "droppable_chunks": one.droppable_chunks,
        "oldest": None if one.oldest is None else one.oldest.isoformat(),
        "drop_after_s": None if one.drop_after is None else one.drop_after.total_seconds(),
        "retention_is_on": one.retention_is_on,
    }


def _job(one: JobState) -> dict[str, Any]:
    return {
        "job_id": one.job.job_id,
        "policy": one.job.kind.name.lower(),
        "relation": one.job.relation,
        "scheduled": one.job.scheduled,
        "runs": one.job.runs,
        "failures": one.job.failures,
        "last_status": one.job.last_status,
        "last_error": one.job.last_error,
        "lag_s": one.lag.total_seconds(),
    }
