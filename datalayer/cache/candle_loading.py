"""Candles of the database, as they fit into what the cache has."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datalayer.cache.rows import Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datalayer.cache.candle_series import CandleSeries
    from datalayer.cache.rows import Row


@dataclass(frozen=True, slots=True)
class LoadedCandles:
    """All candles of a timeframe above 1s from an open time on that were closed when they were read, ascending.

    Attributes:
        best: what the database gives; origin `LOADED`, `AGGREGATE` or `GENERATED`.
        best_from: open time from which on it is all that there is.
        rolled: those made of 1s candles, origin `AGGREGATE`; also behind stored ones.
        rolled_from: likewise.
        stored_from: open time from which on all stored ones are in `best`.
        losses: of the ladder, before they were read.
    """

    best: Sequence[Row]
    best_from: int
    rolled: Sequence[Row]
    rolled_from: int
    stored_from: int
    losses: int


def load_candles(series: CandleSeries, loaded: LoadedCandles, unwritten: Sequence[int]) -> list[int]:
    """Take in what was read. What came live, or was made of it, stays; what was lost since then stays lost.

    Args:
        series: to fill.
        loaded: what was read.
        unwritten: ascending open times of shorter candles that the database did not have as they are here. Of outdone
            candles around them it may have made others.

    Returns:
        Open times of rolled-up candles that are others than before.
    """
    known, since = loaded.rolled_from, min(loaded.rolled_from, loaded.best_from)
    lost = {ts for ts, loss in series.unknown.items() if loss > loaded.losses}
    series.unknown = {ts: loss for ts, loss in series.unknown.items() if ts < since or ts in lost}
    series.known_from = min(series.known_from, known)
    series.loaded_from = min(series.loaded_from, loaded.best_from)
    series.stored_from = max(series.stored_from, loaded.stored_from)
    changed = []
    for row in loaded.rolled:
        if row.ts >= known and row.ts not in lost:
            was_there = series.has_rolled(row.ts)
            if series.put_rolled(row) and was_there:
                changed.append(row.ts)
    for row in loaded.best:
        if row.origin == Origin.LOADED:
            series.put_stored(row)
        elif row.ts not in lost and not (row.ts in series.outdone and _is_around(row, series, unwritten)):
            series.show_loaded(row)
    return changed


def unwritten_in(series: CandleSeries, loaded: LoadedCandles) -> list[int]:
    """Return the open times of candles that were put in, or made here, and that the database did not have as they are."""
    stored = {row.ts: row for row in loaded.best if row.origin == Origin.LOADED}
    rolled = {row.ts: row for row in loaded.rolled}
    ours = [(row, stored) for row in series.rows_of(Origin.PUT, loaded.best_from)]
    ours += [(row, rolled) for row in series.rows_of(Origin.ROLLED_UP, loaded.rolled_from)]
    return [row.ts for row, theirs in ours if not (row.ts in theirs and row.repeats(theirs[row.ts]))]


def _is_around(row: Row, series: CandleSeries, times: Sequence[int]) -> bool:
    place = bisect_left(times, row.ts)
    return place < len(times) and times[place] < row.ts + series.length_us
