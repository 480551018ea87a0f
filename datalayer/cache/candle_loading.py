"""Candles of the database, as they fit into what the cache has."""

from __future__ import annotations

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


def load_candles(series: CandleSeries, loaded: LoadedCandles) -> list[int]:
    """Take in what was read. What came live, or was made of it, stays; what was lost since then stays lost.

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
        elif row.ts not in lost:
            series.show_loaded(row)
    return changed
