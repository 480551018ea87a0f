"""The candles of the database that the cache begins with."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.cache.candle_loading import LoadedCandles
from datalayer.cache.frame_rows import candle_rows, times_us
from datalayer.cache.rows import Origin, Row, merged
from datalayer.cache.times import BEFORE_ALL_US, SECOND_US, ceil_us, microseconds
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd

    from datalayer.repositories import CandleRepository
    from datalayer.repositories.candles import CandleSource

_ORIGINS: Final = {"stored": Origin.LOADED, "aggregate": Origin.AGGREGATE, "generated": Origin.GENERATED}
# A day and an hour: whatever can still be corrected, and the day that has begun, are made of them.
_MINUTES: Final = timedelta(minutes=1_500)


class StoredCandles:
    """Reads the candles of one symbol that were closed at a moment. Ask for the minutes before anything longer.

    Args:
        candles: inside of a transaction.
        symbol: registered.
        as_of: the moment, aware.
        limit: number of candles of each timeframe.
    """

    def __init__(self, candles: CandleRepository, symbol: str, as_of: datetime, limit: int) -> None:
        self._candles = candles
        self._symbol = symbol
        self._as_of = as_of
        self._limit = limit
        self._minutes: list[Row] = []
        self._minutes_from = Timeframe.M1.floor(as_of) - _MINUTES

    async def seconds(self, start: datetime) -> list[Row]:
        """Return the 1s candles from an open time on."""
        frame = await self._query(Timeframe.S1, "stored", start=start)
        return candle_rows(frame, Timeframe.S1, Origin.LOADED)

    async def of(self, timeframe: Timeframe, losses: int) -> LoadedCandles:
        """Return those of a timeframe above 1s.

        Args:
            timeframe: of the candles.
            losses: see `LoadedCandles`.
        """
        if timeframe == Timeframe.M1:
            frame = await self._query(timeframe, "aggregate", start=self._minutes_from)
            rows = candle_rows(frame, timeframe, Origin.AGGREGATE)
            self._minutes = [row._replace(minutes=1) for row in rows]
        best = await self._query(timeframe, "best", limit=self._limit)
        rolled = self._rolled(timeframe)
        rolled_from = self._begins(timeframe.value * SECOND_US)
        if len(rolled) > self._limit:
            rolled = rolled[-self._limit :]
            rolled_from = rolled[0].ts
        return LoadedCandles(
            best=_rows(best, timeframe),
            best_from=BEFORE_ALL_US if len(best) < self._limit else times_us(best)[0].item(),
            rolled=rolled,
            rolled_from=rolled_from,
            stored_from=await self._stored_from(best, timeframe),
            losses=losses,
        )

    async def _query(
        self,
        timeframe: Timeframe,
        source: CandleSource,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        return await self._candles.query_ohlcv_data(
            self._symbol, timeframe, start=start, end=end, limit=limit, as_of=self._as_of, source=source
        )

    async def _stored_from(self, best: pd.DataFrame, timeframe: Timeframe) -> int:
        """Return from when on all stored candles are among the best: after the last one before them."""
        if len(best) < self._limit:
            return BEFORE_ALL_US
        earlier = await self._query(timeframe, "stored", end=best.index[0].to_pydatetime(), limit=1)
        return times_us(earlier)[-1].item() + timeframe.value * SECOND_US if len(earlier) else BEFORE_ALL_US

    def _rolled(self, timeframe: Timeframe) -> list[Row]:
        """Return the candles that are over by now, made of the minutes."""
        length = timeframe.value * SECOND_US
        until = microseconds(timeframe.floor(self._as_of), "as_of")
        closed = [row for row in self._minutes if self._begins(length) <= row.ts < until]
        groups = groupby(closed, lambda row: row.ts - row.ts % length)
        return [_roll_up(ts, list(rows)) for ts, rows in groups]

    def _begins(self, length: int) -> int:
        return ceil_us(microseconds(self._minutes_from, "as_of"), length)


def _roll_up(ts: int, rows: list[Row]) -> Row:
    ints = np.array([row.ints for row in rows]).T
    floats = np.array([row.floats for row in rows]).T
    return merged(ts, ints, floats, len(rows))._replace(origin=Origin.AGGREGATE)


def _rows(frame: pd.DataFrame, timeframe: Timeframe) -> list[Row]:
    rows = candle_rows(frame, timeframe)
    return [row._replace(origin=_ORIGINS[source]) for row, source in zip(rows, frame["source"], strict=True)]
