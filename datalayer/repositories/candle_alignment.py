"""Candles of several timeframes side by side: row by row what was closed at the same moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories.candle_queries import CandleSelection
from datalayer.repositories.candle_ranges import OpenRange
from datalayer.repositories.moments import visible_range

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from datalayer.repositories.candle_columns import CandleColumns
    from datalayer.repositories.candle_reads import CandleReader

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
) -> tuple[dict[Timeframe, CandleColumns], NDArray[np.datetime64]]:
    """Return the candles by timeframe, and the moments at which those of the first, the shortest, closed."""
    base, *longer = chosen
    found = await reader.read(chosen, source)
    moments = found[base.timeframe].times + np.timedelta64(base.timeframe.value, "s")
    for selection in longer if len(moments) else ():
        known = found[selection.timeframe]
        found[selection.timeframe] = await _with_candles_before(reader, selection, known, moments[0], source)
    return found, moments


async def _with_candles_before(
    reader: CandleReader, chosen: CandleSelection, found: CandleColumns, moment: np.datetime64, source: str
) -> CandleColumns:
    """Return the candles with those before them, back to one that was closed at `moment`, if there is one.

    Needed where gaps make the rows of a limit, or the candle before a start, lie further back than their number says.
    """
    length = np.timedelta64(chosen.timeframe.value, "s")
    opened = found.times[0] if len(found) else np.datetime64(chosen.hull.end.replace(tzinfo=None), "us")
    if len(found) and opened + length <= moment:
        return found
    slots = max(int((opened - moment) // length), 0)
    ranges = (OpenRange(None, opened.item().replace(tzinfo=UTC)),)
    earlier = await reader.read([replace(chosen, ranges=ranges, limit=slots + 2)], source)
    return earlier[chosen.timeframe].joined(found)
