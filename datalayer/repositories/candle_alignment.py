"""Candles of several timeframes side by side: row by row what was closed at the same moment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories.candle_frames import nullable
from datalayer.repositories.candle_queries import CandleSelection, OpenRange
from datalayer.repositories.moments import visible_range

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from datalayer.repositories.candle_reads import CandleColumns, CandleReader

Bounds: TypeAlias = "tuple[datetime | None, datetime | None]"


def distinct(timeframes: Sequence[Timeframe | str]) -> list[Timeframe]:
    """Return the timeframes in their order.

    Raises:
        InvalidInputError: there is none, one is there twice, or one is unknown.
    """
    lengths = [Timeframe.parse(timeframe) for timeframe in timeframes]
    if not lengths or len(set(lengths)) < len(lengths):
        raise InvalidInputError("timeframes", list(timeframes), "give at least one, each once")
    return lengths


def separate_selections(
    timeframes: Sequence[Timeframe],
    within: Bounds,
    limit: int | None,
    as_of: datetime,
    forming_at: datetime | None,
) -> list[CandleSelection]:
    """Return what to read of each timeframe by itself; the candle that forms if it opened within the bounds."""
    start, end = within
    chosen = []
    for timeframe in timeframes:
        opens = OpenRange(*visible_range(start, end, as_of, length=timeframe.length))
        forms = forming_at is not None and (end is None or timeframe.floor(forming_at) < end)
        chosen.append(CandleSelection(timeframe, (opens,), limit, forming_at=forming_at if forms else None))
    return chosen


def aligned_selections(
    timeframes: Sequence[Timeframe], within: Bounds, limit: int | None, as_of: datetime
) -> list[CandleSelection]:
    """Return what to read so that nearly always each row finds its last closed candle of each timeframe."""
    start, end = within
    base = min(timeframes)
    chosen = [
        CandleSelection(base, (OpenRange(*visible_range(start, end, as_of, length=base.length)),), limit)
    ]
    last_moment = as_of if end is None else min(as_of, end + base.length)
    for timeframe in timeframes:
        if timeframe is not base:
            # What was closed at the first moment opened before it.
            first = None if start is None else timeframe.floor(start) - timeframe.length
            opens = visible_range(first, None, last_moment, length=timeframe.length)
            chosen.append(CandleSelection(timeframe, (OpenRange(*opens),), limit))
    return chosen


async def read_aligned(
    reader: CandleReader, chosen: Sequence[CandleSelection], source: str
) -> tuple[dict[Timeframe, CandleColumns], pd.DatetimeIndex]:
    """Return the candles by timeframe, and the moments at which those of the first, the shortest, closed."""
    base, *longer = chosen
    found = await reader.read(chosen, source)
    opens = pd.DatetimeIndex(found[base.timeframe].times, tz="UTC", name="timestamp")
    moments = opens + base.timeframe.length
    for selection in longer if len(moments) else ():
        known = found[selection.timeframe]
        found[selection.timeframe] = await _with_candles_before(reader, selection, known, moments[0], source)
    return found, moments


async def _with_candles_before(
    reader: CandleReader, chosen: CandleSelection, found: CandleColumns, moment: pd.Timestamp, source: str
) -> CandleColumns:
    """Return the candles with those before them, back to one that was closed at `moment`, if there is one.

    Needed where gaps make the rows of a limit, or the candle before a start, lie further back than their number says.
    """
    length = chosen.timeframe.length
    opened = pd.Timestamp(found.times[0], tz="UTC") if len(found) else pd.Timestamp(chosen.hull.end)
    if len(found) and opened + length <= moment:
        return found
    slots = max((opened - moment) // pd.Timedelta(length), 0)
    ranges = (OpenRange(None, min(opened.to_pydatetime(), chosen.hull.end)),)
    earlier = await reader.read([replace(chosen, ranges=ranges, limit=slots + 2)], source)
    return earlier[chosen.timeframe].joined(found)


def aligned(frame: pd.DataFrame, timeframe: Timeframe, moments: pd.DatetimeIndex) -> pd.DataFrame:
    """Return for each moment, ascending, the last candle of a frame that was closed by then."""
    opened_by = moments - pd.Timedelta(timeframe.length)
    place = frame.index.searchsorted(opened_by, side="right") - 1
    table = nullable(frame.reset_index(names="open_time")).reindex(place)
    table.index = moments
    table.attrs = frame.attrs
    return table
