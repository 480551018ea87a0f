"""Where cache and database meet: which candles of an answer the cache has, and which the database is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.cache.times import AFTER_ALL_US, BEFORE_ALL_US, SECOND_US, ceil_us, microseconds
from datalayer.domain.moments import from_microseconds
from datalayer.domain.timeframe import Timeframe
from datalayer.provider.candle_rows import NO_ROWS, CandleRows, cached_rows, fuller, joined, stored_rows
from datalayer.repositories.candle_queries import CandleSelection
from datalayer.repositories.candle_ranges import OpenRange

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from datalayer.cache import CandleArrays
    from datalayer.provider.reads import SymbolSnapshot

_FIRST_YEAR: Final = 1


@dataclass(frozen=True, slots=True)
class CandleRequest:
    """Candles of one timeframe that are visible at a moment. Times are microseconds since 1970.

    Attributes:
        timeframe: of the candles.
        as_of: the moment.
        start: first open time; None: from the first.
        end: excluded; None: to the last closed one.
        limit: only the last so many; None: all.
        with_forming: add the candle that forms at the moment, which counts for `limit`.
    """

    timeframe: Timeframe
    as_of: int
    start: int | None
    end: int | None
    limit: int | None
    with_forming: bool

    @property
    def length(self) -> int:
        """Of the timeframe, in microseconds."""
        return int(self.timeframe) * SECOND_US

    @property
    def opens(self) -> tuple[int, int]:
        """The half-open range, on the grid, in which closed candles open; `BEFORE_ALL_US`: no bound."""
        start = BEFORE_ALL_US if self.start is None else ceil_us(self.start, self.length)
        last = self.forming_opens
        return start, last if self.end is None else min(last, ceil_us(self.end, self.length))

    @property
    def forming_opens(self) -> int:
        """When the candle opens that forms."""
        return self.as_of - self.as_of % self.length

    @property
    def wants_forming(self) -> bool:
        """Whether the candle that forms is in the range."""
        opened = self.forming_opens
        inside = (self.start is None or opened >= self.start) and (self.end is None or opened < self.end)
        return self.with_forming and inside


@dataclass(frozen=True, slots=True, eq=False)
class CandlePlan:
    """What of a request the cache has, and what it lacks.

    Attributes:
        request: in question.
        cached: closed candles, and perhaps the one that forms; behind `known`, perhaps in part.
        known: half-open range of open times, in microseconds, of which the cache has every candle that there is.
        lacking: range of open times to ask the database for, which may lie around `known`; empty: none.
        lacks_forming: whether to ask it for the candle that forms.
    """

    request: CandleRequest
    cached: CandleRows
    known: tuple[int, int]
    lacking: tuple[int, int]
    lacks_forming: bool

    @property
    def is_complete(self) -> bool:
        """Whether the database need not be asked."""
        return self.lacking[0] >= self.lacking[1] and not self.lacks_forming

    @property
    def selection(self) -> CandleSelection:
        """What to ask it for."""
        request, (start, end) = self.request, self.lacking
        opens = OpenRange(
            None if start == BEFORE_ALL_US else from_microseconds(start), from_microseconds(end)
        )
        return CandleSelection(
            request.timeframe,
            (opens,),
            request.limit,
            forming_at=from_microseconds(request.as_of) if self.lacks_forming else None,
        )

    def with_stored(self, stored: CandleRows) -> CandleRows:
        """Return what was asked for, with what the database gave."""
        micros = stored.micros
        is_known = (micros >= self.known[0]) & (micros < self.known[1])
        return joined(fuller(stored.rows(~is_known), self.cached)).last(self.request.limit)

    @property
    def place(self) -> str:
        """Where the candles are from, in words."""
        if self.is_complete:
            return "cache"
        return "database and cache" if len(self.cached) else "database"


def plan_candles(
    request: CandleRequest,
    arrays: CandleArrays | None,
    asked: int,
    *,
    seconds_from: int,
    window_us: int,
    tail_is_known: bool,
) -> CandlePlan:
    """Take a request apart.

    Args:
        request: what is wanted.
        arrays: of the cache, as visible at `request.as_of`; None: the cache does not matter.
        asked: how many the cache was asked for.
        seconds_from: open time from which on the cache has all 1s candles, in microseconds.
        window_us: how far back the cache gives 1s candles.
        tail_is_known: take what the cache does not have, up to `as_of`, for silent.
    """
    first, last = request.opens
    if arrays is None:
        nowhere = AFTER_ALL_US, AFTER_ALL_US
        lacks = request.wants_forming and request.timeframe is not Timeframe.S1 and request.limit != 0
        return CandlePlan(
            request, NO_ROWS, nowhere, (first, last) if request.limit != 0 else (last, last), lacks
        )
    low, high = _known_span(request, arrays, asked, window_us, tail_is_known=tail_is_known)
    times = arrays.timestamps.view(np.int64)
    # What lies behind the known, the cache may have in part; the database then tells whether it has more.
    behind = last if low < high else high
    begin, end = int(times.searchsorted(max(first, low))), int(times.searchsorted(min(last, behind)))
    forming, lacks_forming = _forming(request, arrays, low, high, seconds_from)
    if forming == end + 1:
        end = forming
    rows = cached_rows(arrays, slice(begin, max(begin, end)))
    if forming > end:
        rows = joined([rows, cached_rows(arrays, slice(forming - 1, forming))])
    reached = request.limit is not None and len(rows) >= request.limit
    lacking = first, last
    if low < high:
        before, after = first < low and not reached, last > high
        lacking = (first if before else max(high, first), last if after else min(low, last))
        if not before and not after:
            lacking = last, last
    if request.limit == 0 or lacking[0] > lacking[1]:
        lacking = last, last
    lacks_forming = lacks_forming and request.limit != 0
    return CandlePlan(request, rows.last(request.limit), (low, high), lacking, lacks_forming)


def _known_span(
    request: CandleRequest, arrays: CandleArrays, asked: int, window_us: int, *, tail_is_known: bool
) -> tuple[int, int]:
    """Return the half-open range of open times of which the cache has every candle that there is."""
    if arrays.complete_from is None or arrays.complete_until is None:
        return AFTER_ALL_US, AFTER_ALL_US
    start = arrays.complete_from
    low = BEFORE_ALL_US if start.year == _FIRST_YEAR else microseconds(start, "complete_from")
    if request.timeframe is Timeframe.S1:
        low = max(low, ceil_us(request.as_of - window_us, SECOND_US))
    if len(arrays) >= asked:
        low = max(low, int(arrays.timestamps.view(np.int64)[0])) if asked else AFTER_ALL_US
    high = request.forming_opens if tail_is_known else microseconds(arrays.complete_until, "complete_until")
    return low, min(high, request.forming_opens)


def _forming(
    request: CandleRequest, arrays: CandleArrays, low: int, high: int, seconds_from: int
) -> tuple[int, bool]:
    """Return the position behind the candle that forms, 0 if the cache has none, and whether to ask the database for it."""
    opened = request.forming_opens
    if not request.wants_forming or request.timeframe is Timeframe.S1:
        return 0, False
    if low > opened:
        return 0, True
    if len(arrays) and int(arrays.timestamps.view(np.int64)[-1]) == opened:
        return len(arrays), high < opened
    if high < opened:
        return 0, True
    # None is visible; that is all there is to say if every second since it opened is known.
    return 0, seconds_from > opened and request.as_of - opened >= SECOND_US


async def read_plans(snapshot: SymbolSnapshot, plans: Sequence[CandlePlan]) -> dict[Timeframe, CandleRows]:
    """Return what plans of different timeframes ask for, from cache and database as one series each.

    Args:
        snapshot: of the symbol.
        plans: one a timeframe.
    """
    rows = {plan.request.timeframe: plan.cached for plan in plans}
    lacking = [plan for plan in plans if not plan.is_complete]
    if not lacking:
        return rows
    found = await snapshot.candles.read([plan.selection for plan in lacking], "best")
    for plan in lacking:
        timeframe = plan.request.timeframe
        rows[timeframe] = plan.with_stored(stored_rows(found[timeframe], snapshot.candles.instrument))
    return rows


def request_of(
    timeframe: Timeframe,
    as_of: datetime,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int | None = None,
    with_forming: bool = False,
) -> CandleRequest:
    """Return a request; times are aware."""
    first = None if start is None else microseconds(start, "start")
    last = None if end is None else microseconds(end, "end")
    return CandleRequest(timeframe, microseconds(as_of, "as_of"), first, last, limit, with_forming)
