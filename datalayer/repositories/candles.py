"""Candles: written by columns, read into frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from datalayer.db.copy_columns import Column
from datalayer.db.staged_write import WriteTarget
from datalayer.domain.steps import PriceType, from_steps
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.write_counts import WriteCounts
from datalayer.repositories.batches import write_batch
from datalayer.repositories.candle_queries import COLUMN_TYPES, UNKNOWN_COUNT, candle_query
from datalayer.repositories.frames import (
    check_columns,
    check_grid,
    check_rows,
    integer_column,
    step_column,
    utc_times,
)
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.moments import visible_range
from datalayer.repositories.scale_guard import copy_out_scaled

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument

CandleSource: TypeAlias = Literal["stored", "aggregate", "generated"]
"""Where candles come from: stored at that timeframe; a continuous aggregate of 1s candles; lower stored candles."""

_PRICES: Final = ("open", "high", "low", "close")
_INT4_MAX: Final = 2**31 - 1
_TARGET: Final = WriteTarget(
    table="candles",
    time="ts",
    key=("instrument_id", "timeframe", "ts"),
    equal_key="update",
    kept_if_null=frozenset({"trade_count"}),
)


class CandleRepository:
    """Writes and reads candles inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self._instruments = InstrumentRepository(conn)

    async def upsert_candles(
        self, symbol: str, timeframe: Timeframe | str, frame: pd.DataFrame
    ) -> WriteCounts:
        """Write candles; a stored candle takes the new values. Repeating the write changes nothing.

        Args:
            symbol: a registered instrument, in any known spelling.
            timeframe: length of the candles.
            frame: any order; index of open times, aware (converted to UTC); columns open, high, low, close in the quote
                asset and volume in the base asset, as floats, `Decimal`, str or ints; optionally trade_count, where
                missing means unknown: it then leaves a stored count as it is. Other columns are not stored.

        Returns:
            Exact counts; rows that repeat another row entirely count as unchanged.

        Raises:
            ScaleError: a value has more decimals than its instrument's scale, or is missing or infinite.
            InvalidInputError: symbol unknown; a column missing or twice; a time naive, missing or off the timeframe's
                grid; two rows of one time that differ; high, low or volume impossible. Nothing is written.
            DatabaseError: the server refuses; the transaction is aborted.
        """
        length = Timeframe.parse(timeframe)
        instrument = await self._instruments.get_for_write(symbol)
        if not len(frame):
            return WriteCounts()
        constants: dict[str, tuple[PgType, int]] = {
            "instrument_id": ("int2", instrument.id),
            "timeframe": ("int4", length.value),
        }
        columns = _candle_columns(frame, instrument, length)
        return await write_batch(self._conn, _TARGET, columns, constants)

    async def query_ohlcv_data(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        as_of: datetime | None = None,
        source: CandleSource = "stored",
        price_type: PriceType = "float",
    ) -> pd.DataFrame:
        """Return closed candles whose open time is in `[start, end)`.

        Args:
            symbol: a registered instrument, in any known spelling.
            timeframe: length of the candles.
            start: first open time, aware, included; None: from the first.
            end: aware, excluded; None: to the last visible one.
            limit: only the last so many.
            as_of: what was closed at this time, aware: `ts + timeframe <= as_of`. None: now.
            source: "stored"; "aggregate", the continuous aggregate of stored 1s candles (not for 1s), in which what was
                written behind its last refresh is missing until the next; or "generated", rolled up now from lower
                stored candles. Each generated candle is made of one timeframe: the one whose candles cover the widest
                part of it, and the finest of those that cover the same.
            price_type: prices and sizes as float64, as `Decimal` objects, or as int64 steps ("fixed").

        Returns:
            A frame indexed by open time `timestamp` (datetime64[us, UTC], ascending, unique) with columns open, high,
            low, close, volume and trade_count (Int64; NA: unknown, also of a rolled-up candle if of any part). Minutes
            that nobody recorded are absent. Empty with the same columns and dtypes if there is nothing. `attrs` has
            symbol, timeframe and source.

        Raises:
            InvalidInputError: symbol unknown, a time naive, `end` before `start`, or there is no such source.
            DatabaseError: the server refuses.
        """
        length = Timeframe.parse(timeframe)
        opens = visible_range(start, end, as_of, length=length.length)
        instrument, columns = await copy_out_scaled(
            self._conn,
            self._instruments,
            symbol,
            lambda found: candle_query(found, length, source, opens, limit),
            COLUMN_TYPES,
        )
        frame = _candle_frame(columns, instrument, price_type, turn=limit is not None)
        frame.attrs = {"symbol": instrument.symbol, "timeframe": length.label, "source": source}
        return frame


def _candle_columns(frame: pd.DataFrame, instrument: Instrument, timeframe: Timeframe) -> list[Column]:
    check_columns(frame, [*_PRICES, "volume"])
    times = utc_times(frame)
    check_grid(times, timeframe.value)
    prices = [step_column(frame, name, instrument.price_scale) for name in _PRICES]
    volume = step_column(frame, "volume", instrument.size_scale)
    _check_candles(frame, *(column.data for column in prices), volume.data)
    return [Column("ts", "timestamptz", times), *prices, volume, _trade_counts(frame)]


def _check_candles(frame: pd.DataFrame, *steps: Any) -> None:
    opened, high, low, close, volume = steps
    check_rows("high", frame["high"], high < np.maximum(opened, close), "is below its open or close")
    check_rows("low", frame["low"], low > np.minimum(opened, close), "is above its open or close")
    check_rows("volume", frame["volume"], volume < 0, "is negative")


def _trade_counts(frame: pd.DataFrame) -> Column:
    if "trade_count" in frame.columns:
        return integer_column(frame, "trade_count", "int4", allowed=(0, _INT4_MAX), nullable=True)
    return Column("trade_count", "int4", np.zeros(len(frame), np.int32), np.zeros(len(frame), bool))


def _candle_frame(
    columns: dict[str, Column], instrument: Instrument, price_type: PriceType, *, turn: bool
) -> pd.DataFrame:
    values = {name: column.data[::-1] if turn else column.data for name, column in columns.items()}
    scales = dict.fromkeys(_PRICES, instrument.price_scale) | {"volume": instrument.size_scale}
    data: dict[str, Any] = {
        name: from_steps(values[name], scale, price_type) for name, scale in scales.items()
    }
    counts = values["trade_count"]
    data["trade_count"] = pd.arrays.IntegerArray(counts.copy(), counts == UNKNOWN_COUNT)
    index = pd.DatetimeIndex(values["ts"], tz="UTC", name="timestamp")
    return pd.DataFrame(data, index=index)
