"""One run of a refresher: the list of dirty ranges, worked off day by day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from datalayer.db.aggregates import AGGREGATES
from datalayer.db.dirty_ranges import RECORD_SQL
from datalayer.db.driver_errors import driver_operation
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.dirty_ranges import DirtyRangeRepository
from datalayer.repositories.moments import RESOLUTION
from datalayer.repositories.refresh_report import RefreshProgress, RefreshReport
from datalayer.repositories.refresh_state import Part, RefreshState
from datalayer.repositories.refresh_step import RefreshStep
from datalayer.repositories.taken_out import refresh_taken_out

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.aggregates import Aggregate, Family
    from datalayer.repositories.dirty_ranges import DirtySpan
    from datalayer.repositories.refresh_step import LeftAlone

_DAY: Final = Timeframe.D1
"""Longest step: no aggregate has longer buckets, so none is computed twice because of a step's end."""
_POLICIES_WORK: Final = timedelta(hours=1)
_LATE: Final = False  # and not taken out
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(9999, 12, 31, tzinfo=UTC)


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
        for family in {span.family for span in await self._open_spans(newest)}:
            await self._catch_up(family)
        while spans := await self._open_spans(newest):
            await self._shorten(max(spans, key=lambda one: one.start), _length(spans))
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

    async def _catch_up(self, family: Family) -> None:
        """Materialise what the watermarks are behind by, else a first step would hold all of it.

        One level after the other, each from its watermark to the end: TimescaleDB computes what an aggregate has not
        materialised from the rows below, and looks at all of them, to the end, for each range of the aggregate above. What
        a policy is about to do is left to it.
        """
        state = self._states[family]
        for level in AGGREGATES[family]:
            source = await state.source(_EVER, _EVER)
            if source.first is None or source.last is None:
                return
            begin = max((await state.watermarks())[level.name], source.first)
            while begin + max(level.bucket.length, _POLICIES_WORK) < source.last:
                begin = await self._advance(state, level, begin)

    async def _advance(self, state: RefreshState, level: Aggregate, begin: datetime) -> datetime:
        """Materialise the day that a moment lies in, from there on; returns where the next one with rows begins."""
        end = _DAY.floor(begin) + _DAY.length
        source = await state.source(begin, end)
        if source.is_there:
            remaining = _length(await self._ranges.list_spans())
            self._tell(RefreshProgress(state.family, begin, end, remaining, level.name))
            await RefreshStep(self._conn, state).refresh(level, Part(level.name, begin, end))
            return end
        return _END if source.next is None else max(end, source.next)

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
        self._tell(RefreshProgress(span.family, start, end, remaining))
        step = RefreshStep(self._conn, self._states[span.family])
        self._steps += 1
        if span.taken_out:
            return await refresh_taken_out(self._conn, step, span.family, start, end)
        result = await step.run(start, end)
        self._left_alone |= dict.fromkeys(result.left_alone)
        return result.is_clean

    def _tell(self, step: RefreshProgress) -> None:
        if self._on_progress is not None:
            self._on_progress(step)

    async def _record(self, family: Family, ranges: list[tuple[datetime, datetime]]) -> None:
        firsts, lasts = [start for start, _ in ranges], [end - RESOLUTION for _, end in ranges]
        async with driver_operation(self._conn):
            driver = (await self._conn.get_raw_connection()).driver_connection
            await driver.execute(RECORD_SQL, family, firsts, lasts, _LATE)  # type: ignore[union-attr]


def _length(spans: Collection[DirtySpan]) -> timedelta:
    return sum((span.end - span.start for span in spans), timedelta(0))


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
