"""The candles of the database that the cache begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.cache.candle_loading import LoadedCandles
from datalayer.cache.frame_rows import candle_rows, times_us
from datalayer.cache.rows import Origin
from datalayer.cache.times import BEFORE_ALL_US, SECOND_US
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from numpy.typing import NDArray

    from datalayer.cache.rows import Row
    from datalayer.repositories import CandleRepository
    from datalayer.repositories.candles import CandleSource

_ORIGINS: Final = {"stored": Origin.LOADED, "aggregate": Origin.AGGREGATE, "generated": Origin.GENERATED}
# A day and an hour, so that it is known of the day that has begun of which minutes there are 1s candles.
_COUNTED_MINUTES: Final = 1_500


class StoredCandles:
    """Reads the candles of one symbol that were closed at a moment.

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
        self._minutes: NDArray[np.int64] = np.zeros(0, np.int64)

    async def seconds(self, start: datetime) -> list[Row]:
        """Return the 1s candles from an open time on."""
        frame = await self._candles.query_ohlcv_data(
            self._symbol, Timeframe.S1, start=start, as_of=self._as_of, source="stored"
        )
        return candle_rows(frame, Timeframe.S1, Origin.LOADED)

    async def of(self, timeframe: Timeframe, losses: int) -> LoadedCandles:
        """Return those of a timeframe above 1s; ask for 1m first.

        Args:
            timeframe: of the candles.
            losses: see `LoadedCandles`.
        """
        best = await self._query(timeframe, self._limit, "best")
        count = max(self._limit, _COUNTED_MINUTES) if timeframe == Timeframe.M1 else self._limit
        rolled = await self._query(timeframe, count, "aggregate")
        rolled_from = _complete_from(rolled, count)
        if timeframe == Timeframe.M1:
            self._minutes = times_us(rolled)
        return LoadedCandles(
            best=_rows(best, timeframe),
            best_from=_complete_from(best, self._limit),
            rolled=self._counted(_rows(rolled, timeframe)[-self._limit :], timeframe),
            rolled_from=max(rolled_from, _complete_from(rolled[-self._limit :], self._limit)),
            stored_from=await self._stored_from(best, timeframe),
            losses=losses,
        )

    async def _query(
        self, timeframe: Timeframe, limit: int, source: CandleSource, end: datetime | None = None
    ) -> pd.DataFrame:
        return await self._candles.query_ohlcv_data(
            self._symbol, timeframe, end=end, limit=limit, as_of=self._as_of, source=source
        )

    async def _stored_from(self, best: pd.DataFrame, timeframe: Timeframe) -> int:
        """Return from when on all stored candles are among the best: after the last one before them."""
        if len(best) < self._limit:
            return BEFORE_ALL_US
        earlier = await self._query(timeframe, 1, "stored", end=best.index[0].to_pydatetime())
        return times_us(earlier)[-1].item() + timeframe.value * SECOND_US if len(earlier) else BEFORE_ALL_US

    def _counted(self, rows: list[Row], timeframe: Timeframe) -> list[Row]:
        """Return rolled-up candles, each with the number of its minutes of which 1s candles were found; there may be more."""
        starts = np.array([row.ts for row in rows], np.int64)
        ends = np.searchsorted(self._minutes, starts + timeframe.value * SECOND_US)
        counts = ends - np.searchsorted(self._minutes, starts)
        return [row._replace(minutes=count) for row, count in zip(rows, counts.tolist(), strict=True)]


def _complete_from(frame: pd.DataFrame, limit: int) -> int:
    """Return from when on the last `limit` candles, perhaps less, are all that there are."""
    return BEFORE_ALL_US if len(frame) < limit else times_us(frame)[0].item()


def _rows(frame: pd.DataFrame, timeframe: Timeframe) -> list[Row]:
    rows = candle_rows(frame, timeframe)
    return [row._replace(origin=_ORIGINS[source]) for row, source in zip(rows, frame["source"], strict=True)]
