"""Half-open ranges of open times, and which of them are asked for, found, lacking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from datalayer.repositories.moments import range_condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from datalayer.domain.timeframe import Timeframe

# Listed one by one in a query up to here.
MOST_RANGES: Final = 16


@dataclass(frozen=True, slots=True)
class OpenRange:
    """Open times of candles, half-open.

    Attributes:
        start: first open time; None: no bound.
        end: excluded.
    """

    start: datetime | None
    end: datetime

    def on_grid(self, timeframe: Timeframe) -> OpenRange:
        """Return the range from the first to after the last open time that a candle of the timeframe has in it."""
        start = None if self.start is None else timeframe.ceil(self.start)
        return OpenRange(start, timeframe.ceil(self.end))


def hull_of(ranges: Sequence[OpenRange]) -> OpenRange:
    """Return the range that holds them all, which are ascending and at least one."""
    return OpenRange(ranges[0].start, ranges[-1].end)


def few(ranges: Sequence[OpenRange]) -> tuple[OpenRange, ...]:
    """Return the ranges, or the one that holds them all if they are many."""
    return tuple(ranges) if len(ranges) <= MOST_RANGES else (hull_of(ranges),)


def fewer(ranges: Sequence[tuple[datetime, datetime]]) -> tuple[tuple[datetime, datetime], ...]:
    """Return ranges, ascending, that hold all of these, joined across the smallest gaps between them until they are few."""
    joined: list[tuple[datetime, datetime]] = []
    for start, end in ranges:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    gaps = sorted((after[0] - before[1], n) for n, (before, after) in enumerate(pairwise(joined)))
    for n in sorted((n for _, n in gaps[: max(len(joined) - MOST_RANGES, 0)]), reverse=True):
        joined[n : n + 2] = [(joined[n][0], joined[n + 1][1])]
    return tuple(joined)


def within(ranges: Sequence[OpenRange]) -> str:
    """Return the condition as SQL: in one of the ranges, which are ascending and apart."""
    if not ranges:
        return "false"
    hull = hull_of(ranges)
    whole = range_condition(hull.start, hull.end)
    if len(ranges) == 1:
        return whole
    parts = " OR ".join(f"({range_condition(opens.start, opens.end)})" for opens in ranges)
    return f"{whole} AND ({parts})"


def without(ranges: Iterable[OpenRange], cuts: Iterable[tuple[datetime, datetime]]) -> tuple[OpenRange, ...]:
    """Return what is left of ranges when others, ascending by start, are cut out."""
    left = list(ranges)
    for begin, end in cuts:
        left = [part for opens in left for part in _cut(opens, begin, end)]
    return tuple(left)


def _cut(opens: OpenRange, begin: datetime, end: datetime) -> list[OpenRange]:
    if end <= begin or begin >= opens.end or (opens.start is not None and end <= opens.start):
        return [opens]
    before = [] if opens.start is not None and begin <= opens.start else [OpenRange(opens.start, begin)]
    return before + ([OpenRange(end, opens.end)] if end < opens.end else [])


def ranges_of(times: NDArray[np.datetime64], timeframe: Timeframe) -> tuple[OpenRange, ...]:
    """Return the ranges that candles of these open times cover; at least one time, ascending."""
    step = np.timedelta64(timeframe.value, "s")
    breaks = np.flatnonzero(np.diff(times) != step) + 1
    return tuple(OpenRange(_utc(run[0]), _utc(run[-1] + step)) for run in np.split(times, breaks))


def gaps_in(asked: OpenRange, times: NDArray[np.datetime64], timeframe: Timeframe) -> tuple[OpenRange, ...]:
    """Return the ranges of open times that were asked for, on the grid, and are not among `times`, ascending."""
    if not len(times):
        return (asked,) if asked.start is None or asked.start < asked.end else ()
    step = np.timedelta64(timeframe.value, "s")
    jumps = np.flatnonzero(np.diff(times) != step)
    gaps = [OpenRange(_utc(times[row] + step), _utc(times[row + 1])) for row in jumps.tolist()]
    first, last = _utc(times[0]), _utc(times[-1] + step)
    if asked.start is None or asked.start < first:
        gaps.insert(0, OpenRange(asked.start, first))
    if last < asked.end:
        gaps.append(OpenRange(last, asked.end))
    return tuple(gaps)


def not_before(ranges: Iterable[OpenRange], earliest: datetime) -> tuple[OpenRange, ...]:
    """Return what of the ranges is not before `earliest`."""
    bounded = [OpenRange(max(opens.start or earliest, earliest), opens.end) for opens in ranges]
    return tuple(opens for opens in bounded if opens.start is not None and opens.start < opens.end)


def _utc(moment: np.datetime64) -> datetime:
    found: Any = moment.item()
    return cast("datetime", found.replace(tzinfo=UTC))
