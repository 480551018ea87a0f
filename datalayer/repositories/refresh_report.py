"""What a refresher says of its work, while it is at it and afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from datalayer.db.aggregates import Family
    from datalayer.repositories.dirty_ranges import DirtySpan
    from datalayer.repositories.refresh_step import LeftAlone


@dataclass(frozen=True, slots=True)
class RefreshProgress:
    """A step that is about to begin.

    Attributes:
        family: the source hypertable.
        start: first moment of the step, UTC.
        end: its end, exclusive, UTC.
        remaining: summed length of the ranges that are still to be refreshed, this step included.
        aggregate: the one that has not come this far yet and catches up; None: all of them, from the bottom up.
    """

    family: Family
    start: datetime
    end: datetime
    remaining: timedelta
    aggregate: str | None = None


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a run of a refresher did.

    Attributes:
        is_busy: another refresher was at work, so nothing was done.
        steps: parts of ranges that were refreshed; one is a day at most, at all levels.
        cleared: ranges that were taken off the list.
        missed: ranges that nobody had recorded and no policy would have refreshed; they were put on the list first.
        left_alone: ranges of aggregates that were not refreshed, since that would have deleted what the source no longer
            has. They are off the list: the aggregate is the best that there is.
        unfinished: ranges that stay on the list: somebody else was refreshing or writing there.
    """

    is_busy: bool = False
    steps: int = 0
    cleared: int = 0
    missed: tuple[tuple[Family, datetime, datetime], ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()
    unfinished: tuple[DirtySpan, ...] = ()
