"""Checks of what the database does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datalayer.monitoring.findings import Finding, HealthLimits, Verdict
from datalayer.monitoring.words import length_text
from datalayer.timescale import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from datalayer.monitoring.state import DatabaseState, JobState

_RESUME: Final = "`SELECT alter_job({job_id}, scheduled => true)` in psql lets it run again"


def check_policies(state: DatabaseState) -> Iterator[Finding]:
    """Whether everything is compressed and refreshed by a policy that is on."""
    there = {(one.job.kind, one.job.relation) for one in state.jobs}
    wanted = [(PolicyKind.COMPRESSION, one.name) for one in state.relations]
    wanted += [(PolicyKind.REFRESH, one.name) for one in state.relations if one.is_aggregate]
    gone = [(kind, name) for kind, name in wanted if (kind, name) not in there]
    paused = [
        one.job for one in state.jobs if not one.job.scheduled and one.job.kind is not PolicyKind.RETENTION
    ]
    for kind, name in gone:
        found = f"{name} has no {kind.name.lower()} policy"
        yield Finding(
            "policies",
            Verdict.PROBLEM,
            found,
            f"`SELECT add_{_function(kind)}('{name}', …)` in psql with the windows of `datalayer db check`",
        )
    for job in paused:
        found = f"the {job.kind.name.lower()} policy of {job.relation} is paused"
        yield Finding("policies", Verdict.WARNING, found, _RESUME.format(job_id=job.job_id))
    if not (gone or paused):
        yield Finding("policies", Verdict.OK, f"{len(wanted)} of compression and refresh, all on")


def _function(kind: PolicyKind) -> str:
    return "continuous_aggregate_policy" if kind is PolicyKind.REFRESH else "compression_policy"


def check_jobs(state: DatabaseState, limits: HealthLimits) -> Iterator[Finding]:
    """Whether policies ran, in time and without failure."""
    failed = [one for one in state.jobs if one.has_failed]
    late = [one for one in state.jobs if one.lag > limits.job_lag and not one.has_failed]
    for reason, ones in _by_reason(failed).items():
        found = f"the last run failed of {_names(ones)}: {reason}"
        todo = f"see to the reason, then `CALL run_job({ones[0].job.job_id})` in psql{likewise(ones[1:])}"
        yield Finding("jobs", Verdict.PROBLEM, found, todo)
    if late:
        worst = max(late, key=lambda one: one.lag)
        found = f"{len(late)} policies are late, {_name(worst)} by {length_text(worst.lag)}"
        todo = "see whether the scheduler runs (`timescaledb.max_background_workers`, the server's log), and what else keeps it busy"
        yield Finding("jobs", Verdict.PROBLEM, found, todo)
    if not (failed or late):
        runs = sum(one.job.runs for one in state.jobs)
        went = (
            "the last of each went well" if runs else "as far as the database knows"
        )  # the embedded one does not
        yield Finding("jobs", Verdict.OK, f"{len(state.jobs)} policies, {runs:,} runs, {went}")


def _name(one: JobState) -> str:
    return f"{one.job.kind.name.lower()} of {one.job.relation}"


def _names(ones: Iterable[JobState]) -> str:
    grouped: dict[str, list[str]] = {}
    for one in ones:
        grouped.setdefault(one.job.kind.name.lower(), []).append(one.job.relation)
    return "; ".join(f"{kind} of {', '.join(names)}" for kind, names in grouped.items())


def _by_reason(failed: Iterable[JobState]) -> dict[str, list[JobState]]:
    grouped: dict[str, list[JobState]] = {}
    for one in failed:
        grouped.setdefault(one.job.last_error or "no reason is known", []).append(one)
    return grouped


def likewise(others: Iterable[JobState]) -> str:
    """Return what follows a command that runs a job, where others are to be run too."""
    numbers = ", ".join(str(one.job.job_id) for one in others)
    return f" (likewise {numbers})" if numbers else ""
