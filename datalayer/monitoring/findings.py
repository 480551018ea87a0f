"""What checks find, and what is asked of a database."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING

from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Verdict(IntEnum):
    """How bad it is; the larger the worse."""

    OK = 0
    WARNING = 1
    PROBLEM = 2

    @property
    def label(self) -> str:
        """The name in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: name of the check.
        verdict: how bad it is.
        found: what there is, in a line.
        todo: what to do, a command where there is one; None: nothing.
    """

    check: str
    verdict: Verdict
    found: str
    todo: str | None = None


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """From where on something is wrong.

    Attributes:
        stale_after: age of the newest row of a live series; of candles in addition to their length.
        live_within: a series whose newest row is older has ended, and is not expected to go on.
        dirty_after: age of a range whose aggregates are still to be refreshed.
        job_lag: how late a policy may begin.
        saved: share that compression should save, where chunks are compressed.
        disk_low: share of a disk that should be free.
        disk_full: share of a disk that must be free.

    Raises:
        InvalidInputError: a limit is below zero.
    """

    stale_after: timedelta = timedelta(minutes=5)
    live_within: timedelta = timedelta(days=7)
    dirty_after: timedelta = timedelta(hours=1)
    job_lag: timedelta = timedelta(minutes=15)
    saved: float = 0.8
    disk_low: float = 0.2
    disk_full: float = 0.1

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if value < type(value)(0):
                raise InvalidInputError(name, value, "give zero or more")


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict; of nothing, that all is well."""
    return max((finding.verdict for finding in findings), default=Verdict.OK)
