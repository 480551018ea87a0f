"""Checks of compression, retention and disks."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from datalayer.monitoring.findings import Finding, HealthLimits, Verdict
from datalayer.monitoring.policy_checks import likewise
from datalayer.monitoring.words import bytes_text
from datalayer.timescale import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from datalayer.monitoring.state import DatabaseState, RelationState


def check_compression(state: DatabaseState, limits: HealthLimits) -> Iterator[Finding]:
    """Whether chunks are compressed when they are due, and what that saves."""
    due = [one for one in state.relations if one.due_chunks]
    poor = [
        one for one in state.relations if one.saved is not None and one.saved < limits.saved and _counts(one)
    ]
    if due:
        which = ", ".join(f"{one.name} {one.due_chunks}" for one in due)
        found = f"chunks that should be compressed and are not: {which}"
        yield Finding("compression", Verdict.WARNING, found, _run_now(state, PolicyKind.COMPRESSION, due))
    for one in poor:
        found = f"{one.name} saves {one.saved:.1%}, less than {limits.saved:.0%}"
        todo = "see how its rows are written: many small late writes into compressed chunks undo what was saved, and a recompression mends it"
        yield Finding("compression", Verdict.WARNING, found, todo)
    if not (due or poor):
        before = sum(one.bytes_before for one in state.relations)
        after = sum(one.bytes_after for one in state.relations)
        saved = f"{1 - after / before:.1%} saved" if before else "nothing is old enough to be compressed"
        yield Finding("compression", Verdict.OK, f"no chunk is due; {saved}")


def _counts(one: RelationState) -> bool:
    """Whether a share says something: a chunk with few rows is mostly empty pages, before and after."""
    return one.bytes_before >= 10 * 2**20


def check_retention(state: DatabaseState) -> Iterator[Finding]:
    """Whether old chunks are dropped where that is switched on."""
    due = [one for one in state.relations if one.droppable_chunks]
    if due:
        which = ", ".join(f"{one.name} {one.droppable_chunks}" for one in due)
        found = f"chunks that are older than their policy lets them be: {which}"
        yield Finding("retention", Verdict.PROBLEM, found, _run_now(state, PolicyKind.RETENTION, due))
    if not due:
        kept = [one for one in state.relations if one.drop_after]
        on = sum(one.retention_is_on for one in kept)
        rest = (
            ""
            if on == len(kept)
            else "; the paused ones keep everything, `datalayer db policies --resume-retention` ends that"
        )
        yield Finding("retention", Verdict.OK, f"{on} of {len(kept)} policies are on{rest}")


def _run_now(state: DatabaseState, kind: PolicyKind, relations: Iterable[RelationState]) -> str:
    names = {one.name for one in relations}
    first, *others = [one for one in state.jobs if one.job.kind is kind and one.job.relation in names]
    return f"`CALL run_job({first.job.job_id})` in psql{likewise(others)} does it now, and says what is in the way"


def check_disks(folders: Mapping[str, Path], limits: HealthLimits) -> Iterator[Finding]:
    """Whether there is room."""
    if not folders:
        yield Finding(
            "disk",
            Verdict.OK,
            "not looked at; `--disk data=FOLDER` names the folder of the database on its machine",
        )
    for name, folder in folders.items():
        usage = shutil.disk_usage(folder)
        share = usage.free / usage.total
        verdict = _low(share, limits)
        todo = "make room: a larger disk, or shorter retention (`datalayer db policies`)" if verdict else None
        yield Finding(
            "disk",
            verdict,
            f"{name}: {bytes_text(usage.free)} free of {bytes_text(usage.total)}, {share:.0%}",
            todo,
        )


def _low(share: float, limits: HealthLimits) -> Verdict:
    if share < limits.disk_full:
        return Verdict.PROBLEM
    return Verdict.WARNING if share < limits.disk_low else Verdict.OK
