"""What is stored from when to when, and what is missing in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from datalayer.db.copy_transfer import copy_out
from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.coverage import CoverageReport, LatestTimestamps, StoredRange
from datalayer.domain.moments import utc_moment
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.coverage_queries import (
    EVENT_KINDS,
    GAP_COLUMNS,
    gap_query,
    stored_gap_query,
    stored_ranges_query,
)
from datalayer.repositories.coverage_states import state_intervals
from datalayer.repositories.feed_gaps import FeedGapRepository
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.moments import RESOLUTION, visible_range
from datalayer.repositories.rolled_up import read_rolled_up
from datalayer.timings import timed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.instrument import Instrument

_ORDER: Final = ("candles", *EVENT_KINDS)


class CoverageRepository:
    """Tells what is stored inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self._instruments = InstrumentRepository(conn)

    @timed("query", "stored_ranges")
    async def list_stored_ranges(
        self,
        symbols: Iterable[str] | None = None,
        *,
        as_of: datetime | None = None,
        count_rows: bool = False,
    ) -> list[StoredRange]:
        """Return from when to when each series is stored, of all symbols in one round trip.

        Each end is one probe of an index, so that it takes no longer with more rows, compressed or not; a series that
        has no rows costs a probe in each chunk.

        Args:
            symbols: registered instruments, in any known spelling; None: all.
            as_of: what was visible at this time, aware: candles closed, anything else with `ts <= as_of`. None: now.
            count_rows: count the rows too. That reads all of them: seconds for each ten million.

        Returns:
            By symbol; candles by timeframe, then trades, order books and imbalances. A series of which nothing is
            visible is left out.

        Raises:
            InvalidInputError: a symbol is unknown, or `as_of` is naive.
            DatabaseError: the server refuses.
        """
        return await self._ranges(await self._chosen(symbols), as_of, count_rows=count_rows)

    @timed("query", "latest_timestamps")
    async def list_latest_timestamps(
        self, symbols: Iterable[str] | None = None, *, as_of: datetime | None = None
    ) -> list[LatestTimestamps]:
        """Return the latest times of everything, of all symbols in one round trip.

        Args:
            symbols: registered instruments, in any known spelling; None: all.
            as_of: what was visible at this time, aware: candles closed, anything else with `ts <= as_of`. None: now.

        Returns:
            By symbol, one for each, also for those of which nothing is stored.

        Raises:
            InvalidInputError: a symbol is unknown, or `as_of` is naive.
            DatabaseError: the server refuses.
        """
        instruments = await self._chosen(symbols)
        ranges = await self._ranges(instruments, as_of, count_rows=False)
        return [
            _latest(instrument.symbol, [found for found in ranges if found.symbol == instrument.symbol])
            for instrument in instruments
        ]

    @timed("query", "missing_intervals")
    async def query_missing_intervals(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        start: datetime,
        end: datetime | None = None,
        *,
        as_of: datetime | None = None,
        stored_only: bool = False,
    ) -> pd.DataFrame:
        """Return the intervals of `[start, end)` in which nobody has a candle.

        A candle of which only a part is stored, in candles of a lower timeframe, counts as there; ask for the lower
        timeframe to see the holes in it. Whether a missing candle was silence, `query_coverage` says.

        Args:
            symbol: a registered instrument, in any known spelling.
            timeframe: length of the candles.
            start: first open time, aware, included.
            end: aware, excluded; None: to the last candle that was closed at `as_of`.
            as_of: what was closed at this time, aware; what could not be closed yet is not missing. None: now.
            stored_only: whether a candle counts only if it is stored at this timeframe; else it also counts where it
                can be made from lower ones, as `query_ohlcv_data` does.

        Returns:
            A frame, ascending, with columns `start` and `end` (datetime64[us, UTC]): half-open intervals from the open
            time of the first missing candle to the close of the last, as long as possible; and `candles` (int64), the
            number of missing candles. Empty with the same dtypes if nothing is missing.

        Raises:
            InvalidInputError: symbol unknown, a time naive, or `end` before `start`.
            DatabaseError: the server refuses.
        """
        length = Timeframe.parse(timeframe)
        opens = _grid_range(start, end, as_of, length)
        instrument = await self._instruments.get(symbol)
        starts, ends = await self._gaps(stored_gap_query(instrument, length, *opens))
        if len(starts) and not stored_only and length is not Timeframe.S1:
            around = (_aware(starts[0]), _aware(ends[-1]))
            rolled_up = await read_rolled_up(self._conn, *around)
            # A candle that is out of date is there all the same.
            rolled_up = replace(rolled_up, dirty=())
            starts, ends = await self._gaps(gap_query(instrument, length, *around, rolled_up=rolled_up))
        candles = (ends - starts) // np.timedelta64(length.value, "s")
        return pd.DataFrame({"start": _utc(starts), "end": _utc(ends), "candles": candles.astype(np.int64)})

    @timed("query", "coverage")
    async def query_coverage(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        start: datetime,
        end: datetime | None = None,
        *,
        as_of: datetime | None = None,
    ) -> CoverageReport:
        """Return what was traded, what was silent and what is missing in `[start, end)`.

        A candle with a volume was traded, one without is silent; it may be stored, or made from lower ones.
        An absent candle is silent where the shortest stored longer candle around it accounts for its absence: the
        candles that are there have all of its volume, and all of its trades as far as trade counts are known. So it is
        with 1s candles made from trades, in which seconds without a trade are absent. It is missing otherwise, also
        while the longer candle is not closed, or nobody has stored one.

        Reads the rows of the range in parts, so that memory stays bounded by the number of intervals.

        Args:
            symbol: a registered instrument, in any known spelling.
            timeframe: length of the candles.
            start: first open time, aware, included.
            end: aware, excluded; None: to the last candle that was closed at `as_of`.
            as_of: what was closed at this time, aware; what could not be closed yet is left out. None: now.

        Raises:
            InvalidInputError: symbol unknown, a time naive, or `end` before `start`.
            DatabaseError: the server refuses.
        """
        length = Timeframe.parse(timeframe)
        moment = _moment(as_of)
        first, last = _grid_range(start, end, moment, length)
        instrument = await self._instruments.get(symbol)
        intervals = await state_intervals(self._conn, instrument.symbol, length, (first, last), moment)
        gaps = await FeedGapRepository(self._conn).list_gaps([symbol], first, last, timeframe=length)
        return CoverageReport(instrument.symbol, length, first, last, moment, intervals, tuple(gaps))

    async def _chosen(self, symbols: Iterable[str] | None) -> list[Instrument]:
        if symbols is None:
            return await self._instruments.list_all()
        found = {await self._instruments.get(symbol) for symbol in symbols}
        return sorted(found, key=lambda instrument: instrument.symbol)

    async def _ranges(
        self, instruments: Sequence[Instrument], as_of: datetime | None, *, count_rows: bool
    ) -> list[StoredRange]:
        moment = _moment(as_of)
        parameters: dict[str, Any] = {
            "ids": [instrument.id for instrument in instruments],
            "timeframes": [timeframe.value for timeframe in Timeframe],
            "candle_ends": [_visible_end(moment, timeframe) for timeframe in Timeframe],
            "event_end": moment + RESOLUTION,
        }
        with driver_errors_translated():
            rows = await self._conn.execute(stored_ranges_query(count_rows=count_rows), parameters)
        ranges = [
            StoredRange(symbol, kind, Timeframe(length) if length else None, first, last, count)
            for symbol, kind, length, first, last, count in rows
        ]
        return sorted(
            ranges, key=lambda found: (found.symbol, _ORDER.index(found.kind), found.timeframe or 0)
        )

    async def _gaps(self, query: str) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
        columns = await copy_out(self._conn, query, GAP_COLUMNS)
        starts, ends = columns["gap_start"].data, columns["gap_end"].data
        goes_on = np.flatnonzero(starts[1:] == ends[:-1])  # over midnight
        return np.delete(starts, goes_on + 1), np.delete(ends, goes_on)


def _latest(symbol: str, ranges: Iterable[StoredRange]) -> LatestTimestamps:
    last = {found.timeframe or found.kind: found.last for found in ranges}
    candles = {timeframe: last[timeframe] for timeframe in Timeframe if timeframe in last}
    return LatestTimestamps(symbol, candles, *(last.get(kind) for kind in EVENT_KINDS))


def _moment(as_of: datetime | None) -> datetime:
    return datetime.now(UTC) if as_of is None else utc_moment(as_of, "as_of")


def _visible_end(moment: datetime, timeframe: Timeframe) -> datetime:
    return visible_range(None, None, moment, length=timeframe.length)[1]


def _grid_range(
    start: datetime, end: datetime | None, as_of: datetime | None, timeframe: Timeframe
) -> tuple[datetime, datetime]:
    """Return the open times in the range that can be closed, as a half-open range on the grid."""
    _, last = visible_range(start, end, as_of, length=timeframe.length)
    first = timeframe.ceil(utc_moment(start, "start"))
    return first, max(first, timeframe.ceil(last))


def _aware(moment: np.datetime64) -> datetime:
    return pd.Timestamp(moment, tz="UTC").to_pydatetime()


def _utc(times: NDArray[np.datetime64]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times, tz="UTC")
