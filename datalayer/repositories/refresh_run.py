"""One run of a refresher: the list of dirty ranges, worked off day by day."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from datalayer.db.aggregates import AGGREGATES
from datalayer.db.dirty_ranges import RECORD_SQL
from datalayer.db.driver_errors import driver_operation
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.dirty_ranges import DirtyRangeRepository
from datalayer.repositories.moments import RESOLUTION
from datalayer.repositories.refresh_report import RefreshProgress, RefreshReport
from datalayer.repositories.refresh_state import RefreshState
from datalayer.repositories.refresh_step import RefreshStep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.aggregates import Family
    from datalayer.repositories.dirty_ranges import DirtySpan
    from datalayer.repositories.refresh_step import LeftAlone

_DAY: Final = Timeframe.D1
"""Longest step: no aggregate has longer buckets, so none is computed twice because of a step's end."""


class RefreshRun:
    """Works off what is on the list, newest range first, the days of a range from the first to the last.

    Args:
        conn: connection in autocommit mode.
        on_progress: called before each step.
    """

    def __init__(
        self, conn: AsyncConnection, on_progress: Callable[[RefreshProgress], None] | None = None
    ) -> None:
        self._conn = conn
        self._on_progress = on_progress
        self._ranges = DirtyRangeRepository(conn)
        self._states: dict[Family, RefreshState] = {name: RefreshState(conn, name) for name in AGGREGATES}
        self._steps = self._cleared = 0
        self._missed: list[tuple[Family, datetime, datetime]] = []
        self._left_alone: dict[LeftAlone, None] = {}
        self._given_up: set[int] = set()

    async def record_missed(self, known: Collection[LeftAlone]) -> None:
        """Put on the list what neither it nor a policy reaches.

        Args:
            known: what was left alone before, and would be again.
        """
        for family, state in self._states.items():
            levels = {level.name for level in AGGREGATES[family]}
            left = [(one.start, one.end) for one in known if one.aggregate in levels]
            missed = [piece for found in await state.missed() for piece in _without(found, left)]
            if missed:
                await self._record(family, missed)
                self._missed += [(family, *ends) for ends in missed]

    async def work_off(self) -> RefreshReport:
        """Refresh all ranges that are on the list when it begins."""
        newest = max((span.id for span in await self._ranges.list_spans()), default=0)
        while spans := await self._open_spans(newest):
            span = max(spans, key=lambda one: one.start)
            await self._catch_up(span)
            await self._shorten(span, sum((one.end - one.start for one in spans), timedelta(0)))
        unfinished = [span for span in await self._ranges.list_spans() if span.id in self._given_up]
        return RefreshReport(
            steps=self._steps,
            cleared=self._cleared,
            missed=tuple(self._missed),
            left_alone=tuple(self._left_alone),
            unfinished=tuple(unfinished),
        )

    async def _open_spans(self, newest: int) -> list[DirtySpan]:
        # Asked for anew after each step: a range that somebody has written to has another number since.
        return [
            span
            for span in await self._ranges.list_spans()
            if span.id <= newest and span.id not in self._given_up
        ]

    async def _catch_up(self, span: DirtySpan) -> None:
        """Materialise day by day what lies between a watermark and the range, else its first step would hold all of it."""
        state = self._states[span.family]
        first_day = _DAY.floor(span.start)
        source = await state.source(span.start, span.end)
        if source.first is None:
            return
        behind = _DAY.floor(max(min((await state.watermarks()).values()), source.first))
        while behind < first_day:
            end = behind + _DAY.length
            source = await state.source(behind, end)
            if source.is_there:
                await self._step(span, behind, end, first_day - behind)
            behind = end if source.is_there or source.next is None else max(end, _DAY.floor(source.next))

    async def _shorten(self, span: DirtySpan, remaining: timedelta) -> None:
        """Refresh the first day of a range, and take it off the list."""
        end = min(_DAY.floor(span.start) + _DAY.length, span.end)
        source = await self._states[span.family].source(span.start, end)
        if not source.is_there:
            end = span.end if source.next is None else min(source.next, span.end)
        is_clean = await self._step(span, span.start, end, remaining)
        if not (is_clean and await self._ranges.clear(span, end)):
            self._given_up.add(span.id)
        elif end == span.end:
            self._cleared += 1

    async def _step(self, span: DirtySpan, start: datetime, end: datetime, remaining: timedelta) -> bool:
        if self._on_progress is not None:
            self._on_progress(RefreshProgress(span.family, start, end, remaining))
        result = await RefreshStep(self._conn, self._states[span.family]).run(start, end)
        self._steps += 1
        self._left_alone |= dict.fromkeys(result.left_alone)
        return result.is_clean

    async def _record(self, family: Family, ranges: list[tuple[datetime, datetime]]) -> None:
        firsts, lasts = [start for start, _ in ranges], [end - RESOLUTION for _, end in ranges]
        async with driver_operation(self._conn):
            driver = (await self._conn.get_raw_connection()).driver_connection
            await driver.execute(RECORD_SQL, family, firsts, lasts)  # type: ignore[union-attr]


def _without(
    whole: tuple[datetime, datetime], holes: Collection[tuple[datetime, datetime]]
) -> Iterator[tuple[datetime, datetime]]:
    """Yield what is left of a range."""
    start, end = whole
    for hole_start, hole_end in sorted(holes):
        if start < hole_start < end:
            yield start, hole_start
        if hole_start < end:
            start = max(start, hole_end)
    if start < end:
        yield start, end
