"""Frames taken apart into what the cache keeps, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datalayer.cache.rows import Origin, Row, check_row
from datalayer.domain.candle import UNKNOWN_COUNT
from datalayer.domain.moments import from_microseconds
from datalayer.domain.trade import Side, Trade
from datalayer.repositories.frames import check_columns, utc_times

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from datalayer.cache.trade_series import Floats, Ints
    from datalayer.domain.timeframe import Timeframe

_PRICES = ("open", "high", "low", "close", "volume")
_TRADE = ("trade_id", "side", "price", "size")


def times_us(frame: pd.DataFrame) -> NDArray[np.int64]:
    """Return the index in microseconds.

    Raises:
        InvalidInputError: a time is naive or missing, or finer than a microsecond.
    """
    times: NDArray[np.int64] = utc_times(frame).view(np.int64)
    return times


def candle_rows(frame: pd.DataFrame, timeframe: Timeframe, origin: Origin = Origin.PUT) -> list[Row]:
    """Return the candles of a frame, as `CandleRepository.upsert_candles` takes it.

    Raises:
        InvalidInputError: a column is missing or twice; a time is naive, missing or off the grid; a number is not finite.
    """
    check_columns(frame, _PRICES)
    times = times_us(frame).tolist()
    counts: list[int] = [UNKNOWN_COUNT] * len(frame)
    if "trade_count" in frame.columns:
        counts = frame["trade_count"].astype("Int64").fillna(UNKNOWN_COUNT).astype(np.int64).tolist()
    values = (frame[name].astype(np.float64).tolist() for name in _PRICES)
    columns = zip(times, *values, counts, strict=True)
    rows = [Row._make((*column, origin, 0)) for column in columns]
    for row in rows:
        check_row(row, timeframe)
    return rows


def trade_of(symbol: str, ints: Ints, floats: Floats) -> Trade:
    """Return a row of `trade_rows` as a trade."""
    time, trade_id, side = ints
    return Trade(symbol, from_microseconds(time), trade_id, *floats, Side(side))


def trade_rows(frame: pd.DataFrame) -> list[tuple[Ints, Floats]]:
    """Return the trades of a frame, as `TradeRepository.insert_trades` takes it: time, id and side; price and size.

    Raises:
        InvalidInputError: a column is missing or twice, or a time is naive or missing.
    """
    check_columns(frame, _TRADE)
    times = times_us(frame).tolist()
    ids, sides = (frame[name].astype(np.int64).tolist() for name in _TRADE[:2])
    prices, sizes = (frame[name].astype(np.float64).tolist() for name in _TRADE[2:])
    ints, floats = zip(times, ids, sides, strict=True), zip(prices, sizes, strict=True)
    return list(zip(ints, floats, strict=True))
