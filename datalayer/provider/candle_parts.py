"""Candles with their indicators, computed again only if a candle has changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
from cachetools import LRUCache

from datalayer.cache.times import SECOND_US, microseconds
from datalayer.domain.indicators.compute import indicator_columns

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.domain.candle_table import CandleTable
    from datalayer.domain.indicators.spec import Recipe
    from datalayer.domain.timeframe import Timeframe
    from datalayer.provider.candle_rows import CandleRows

_KEPT: Final = 512


@dataclass(slots=True, eq=False)
class CandlePart:
    """Candles of one timeframe as they stand in an answer, and what is said of them.

    Attributes:
        timeframe: of the candles.
        rows: all that indicators are computed over.
        whole: they and their indicators.
        given: the last of them.
        kinds: what the candles are from, in words.
        last_close: when the last closed one closed, in microseconds; None: none did.
        first_open: when the first of those that are given opened; None: it is not closed.
        closed_count: how many of those that are given are closed.
    """

    timeframe: Timeframe
    rows: CandleRows
    whole: CandleTable
    given: CandleTable
    kinds: str
    last_close: int | None
    first_open: int | None
    closed_count: int
    _before: tuple[datetime, CandleTable] | None = field(default=None, init=False)

    def age_s(self, as_of: int) -> float:
        """Return the seconds from the close of the last closed candle to a moment; NaN: there is none."""
        return float("nan") if self.last_close is None else (as_of - self.last_close) / SECOND_US

    def missing(self, as_of: int) -> int:
        """Return the number of open times without a candle, from the first that is given to a moment."""
        if self.first_open is None:
            return 0
        length = int(self.timeframe) * SECOND_US
        return (as_of - as_of % length - self.first_open) // length - self.closed_count

    def before(self, start: datetime) -> CandleTable:
        """Return the closed candles that open at a moment or later."""
        first = self.timeframe.ceil(start)
        if self._before is None or self._before[0] != first:
            self._before = first, self.whole.closed_from(first)
        return self._before[1]

    def reaches_back_to(self, start: datetime) -> bool:
        """Tell whether the candles begin at a moment or before it."""
        return len(self.rows) > 0 and int(self.rows.micros[0]) <= microseconds(start, "start")


class CandleParts:
    """The last parts of each symbol and timeframe, about 80 KB each. Safe from several threads."""

    def __init__(self) -> None:
        self._kept: LRUCache[tuple[object, ...], CandlePart] = LRUCache(_KEPT)
        self._lock = Lock()

    def get(
        self,
        symbol: str,
        timeframe: Timeframe,
        rows: CandleRows,
        recipes: tuple[Recipe, ...],
        candles: int,
        *,
        with_forming: bool,
    ) -> CandlePart:
        """Return candles as a part of an answer; the very same one as before if nothing has changed.

        Args:
            symbol: canonical.
            timeframe: of the candles.
            rows: all that indicators are computed over.
            recipes: of the indicators.
            candles: number of candles that are given.
            with_forming: whether the tables have the column is_forming.
        """
        columns = tuple(name for recipe in recipes for name in recipe.columns)
        key = symbol, timeframe, columns, candles, with_forming
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and kept.rows.equals(rows):
            return kept
        made = _part(timeframe, rows, recipes, candles, with_forming=with_forming)
        with self._lock:
            self._kept[key] = made
        return made


def _part(
    timeframe: Timeframe, rows: CandleRows, recipes: tuple[Recipe, ...], candles: int, *, with_forming: bool
) -> CandlePart:
    inputs = {name: np.ascontiguousarray(column) for name, column in rows.prices.items()}
    computed = indicator_columns(rows.times, inputs, recipes, timeframe, is_finite=True) if recipes else {}
    whole = rows.table(timeframe, with_forming=with_forming, indicators=computed)
    given = whole.rows(max(len(whole) - candles, 0), len(whole))
    count, micros = given.closed_count, given.times.view(np.int64)
    length = int(timeframe) * SECOND_US
    return CandlePart(
        timeframe,
        rows,
        whole,
        given,
        rows.kinds,
        int(micros[count - 1]) + length if count else None,
        int(micros[0]) if count else None,
        count,
    )
