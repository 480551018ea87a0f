"""Candles without holes: silence filled, and what is missing treated as it was asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import pandas as pd

from datalayer.domain.moments import utc_moment
from datalayer.domain.sliding_windows import OHLCV
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError, MissingDataError
from datalayer.repositories import CandleRepository, CoverageRepository
from datalayer.repositories.candle_ranges import ranges_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

MissingPolicy: TypeAlias = Literal["refuse", "previous", "leave_out"]
"""What becomes of candles that nobody has: an error; rows at the last close with volume 0; no rows.

Where the market was only silent, as `CoverageRepository.query_coverage` tells, there is always a row at the last close with
volume 0: nothing was traded, so that is what there was to see.
"""


class CompleteCandles:
    """Reads candles for backtests inside the caller's transaction.

    Args:
        conn: connection inside the caller's transaction.
        missing: see `MissingPolicy`.
        as_of: what was closed at this time, aware. None: now.

    Raises:
        InvalidInputError: there is no such policy, or `as_of` is naive.
    """

    def __init__(self, conn: AsyncConnection, missing: MissingPolicy, as_of: datetime | None) -> None:
        if missing not in get_args(MissingPolicy):
            raise InvalidInputError("missing", missing, f"use one of {', '.join(get_args(MissingPolicy))}")
        self._candles, self._coverage = CandleRepository(conn), CoverageRepository(conn)
        self._missing = missing
        self._as_of = datetime.now(UTC) if as_of is None else utc_moment(as_of, "as_of")

    async def read(self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        """Return open, high, low, close and volume of the closed candles that open in `[start, end)`, by open time.

        With "previous" and "leave_out" the first row is the first candle that there is.

        Raises:
            MissingDataError: candles are missing, and the policy is "refuse".
        """
        found, missing = await self._read(symbol, timeframe, start, end)
        return self._chosen(found, missing)

    async def read_joined(self, symbol: str, timeframe: Timeframe, moments: pd.DatetimeIndex) -> pd.DataFrame:
        """Return row by row the candle that was the last to close at these moments, ascending; NaN where there is none.

        Raises:
            MissingDataError: candles are missing behind the first that there is, and the policy is "refuse".
        """
        opens = moments.floor(timeframe.offset) - timeframe.length
        start, end = opens[0].to_pydatetime(), opens[-1].to_pydatetime() + timeframe.length
        found, missing = await self._read(symbol, timeframe, start, end)
        has_begun = found["close"].notna()
        return self._chosen(found[has_begun], missing[has_begun]).reindex(opens)

    async def _read(
        self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime
    ) -> tuple[pd.DataFrame, pd.Series[bool]]:
        """Return rows for all open times, and which of them nobody has a candle for."""
        bounds: dict[str, Any] = {"start": start, "end": end, "as_of": self._as_of}
        found = await self._candles.query_ohlcv_data(symbol, timeframe, fill="previous", **bounds)
        missing = pd.Series(data=False, index=found.index)
        if (found["source"] == "filled").any():
            intervals = (await self._coverage.query_coverage(symbol, timeframe, **bounds)).intervals
            for gap in intervals[intervals["state"] == "missing"].itertuples():
                missing.iloc[slice(*found.index.searchsorted([gap.start, gap.end]))] = True
        return found, missing

    def _chosen(self, found: pd.DataFrame, missing: pd.Series[bool]) -> pd.DataFrame:
        if self._missing == "refuse" and missing.any():
            timeframe = Timeframe.parse(found.attrs["timeframe"])
            ranges = ranges_of(pd.DatetimeIndex(found.index[missing]).tz_localize(None).to_numpy(), timeframe)
            intervals = tuple((opens.start, opens.end) for opens in ranges if opens.start is not None)
            raise MissingDataError(found.attrs["symbol"], timeframe.label, intervals)
        is_row = found["close"].notna() & ~(missing & (self._missing == "leave_out"))
        return found.loc[is_row, list(OHLCV)]
