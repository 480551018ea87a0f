"""Candles: written by columns, read into frames."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np

from datalayer.db.copy_columns import Column
from datalayer.db.staged_write import OnConflict, WriteTarget
from datalayer.domain.moments import utc_moment
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import InvalidInputError
from datalayer.repositories.batches import write_batch
from datalayer.repositories.candle_alignment import (
    aligned_selections,
    distinct,
    read_aligned,
    separate_selections,
)
from datalayer.repositories.candle_frames import (
    PRICES,
    FillPolicy,
    FrameShape,
    aligned_frame,
    candle_frame,
    chosen_columns,
    filled,
)
from datalayer.repositories.candle_queries import CandleSelection
from datalayer.repositories.candle_ranges import OpenRange
from datalayer.repositories.candle_reads import CandleReader
from datalayer.repositories.frames import (
    check_columns,
    check_grid,
    check_rows,
    integer_column,
    step_column,
    utc_times,
)
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.moments import last_rows
from datalayer.timings import timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.domain.steps import PriceType
    from datalayer.repositories.candle_columns import CandleColumns

CandleSource: TypeAlias = Literal["best", "stored", "aggregate", "generated"]
"""Where candles come from.

- `stored`: stored at that timeframe, by an exchange or an import.
- `aggregate`: rolled up from stored 1s candles alone (not for 1s): by the continuous aggregate where it is materialised and
  up to date, and the rest now, in the same way.
- `generated`: rolled up now from lower stored candles (not for 1s). Each candle is made of one timeframe: the one that has
  something for most of its minutes, and the finest of those that have as many.
- `best`: for each open time the first of these three that has it. An aggregate is passed over where its 1s candles have a
  hole that longer stored candles do not have. What it is does not depend on what was materialised when.
"""

_INT4_MAX: Final = 2**31 - 1
TARGET: Final = WriteTarget(
    table="candles",
    time="ts",
    key=("instrument_id", "timeframe", "ts"),
    equal_key="update",
    kept_if_null=frozenset({"trade_count"}),
)
SECONDS_TARGET: Final = replace(TARGET, rolled_up="candles")
"""Of 1s candles, which the aggregates are made of."""


class CandleRepository:
    """Writes and reads candles inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self._instruments = InstrumentRepository(conn)

    async def upsert_candles(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        frame: pd.DataFrame,
        *,
        on_conflict: OnConflict = "update",
    ) -> WriteCounts:
        """Write candles; a stored candle takes the new values. Repeating the write changes nothing.

        Args:
            symbol: a registered instrument, in any known spelling.
            timeframe: length of the candles.
            frame: any order; index of open times, aware (converted to UTC); columns open, high, low, close in the quote
                asset and volume in the base asset, as floats, `Decimal`, str or ints; optionally trade_count, where
                missing means unknown: it then leaves a stored count as it is. Other columns are not stored.
            on_conflict: what happens to a candle that is stored with other values; see `OnConflict`.

        Returns:
            Exact counts; rows that repeat another row entirely count as unchanged.

        Raises:
            ScaleError: a value has more decimals than its instrument's scale, or is missing or infinite.
            InvalidInputError: symbol unknown; a column missing or twice; a time naive, missing or off the timeframe's
                grid; two rows of one time that differ; high, low or volume impossible. Nothing is written.
            ConflictError: a stored candle says something else, and `on_conflict` is "error"; names the key.
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
        columns = candle_columns(frame, instrument, length)
        target = SECONDS_TARGET if length is Timeframe.S1 else TARGET
        return await write_batch(self._conn, target.resolving(on_conflict), columns, constants)

    @timed("query", "ohlcv")
    async def query_ohlcv_data(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        as_of: datetime | None = None,
        columns: Sequence[str] | None = None,
        include_forming: bool = False,
        fill: FillPolicy | None = None,
        source: CandleSource = "best",
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
            columns: some of open, high, low, close, volume, trade_count, source, in this order; None: all of them.
            include_forming: add the candle that forms at `as_of`, made from what of it is closed at lower timeframes, and
                a column is_forming (bool). It counts for `limit`.
            fill: None: missing candles are absent. "nan": they are rows without values. "previous": rows at the last close
                before, with volume 0 and an unknown trade count; rows before any candle stay without values. "refuse":
                they are an error. Missing is what lies between `start` (None: the first row) and the end of what is
                asked for (neither `end` nor `as_of`: the last row).
            source: see `CandleSource`.
            price_type: prices and volume as float64, as `Decimal` objects, or as int64 steps ("fixed").

        Returns:
            A frame indexed by open time `timestamp` (datetime64[us, UTC], ascending, unique) with columns open, high,
            low, close in the quote asset and volume in the base asset, trade_count (Int64; NA: unknown, also of a rolled-up
            candle if of any part) and source (category: stored, aggregate, generated, forming, filled). Empty with the
            same columns and dtypes if there is nothing. `attrs` has symbol and timeframe. Steps are Int64 where rows are
            filled.

        Raises:
            InvalidInputError: symbol unknown, a time naive, `end` before `start`, an unknown column or policy, or there is
                no such source for the timeframe.
            MissingDataError: `fill` is "refuse" and candles are missing; names the intervals.
            DatabaseError: the server refuses.
        """
        length = Timeframe.parse(timeframe)
        _check_choices(length, source, fill, limit)
        shape = FrameShape(chosen_columns(columns), price_type, include_forming)
        moment = datetime.now(UTC) if as_of is None else utc_moment(as_of, "as_of")
        forming_at = moment if include_forming else None
        (whole,) = separate_selections([length], (start, end), limit, moment, forming_at)
        chosen = replace(whole, values=shape.values)
        reader = CandleReader(self._conn, self._instruments, symbol)
        if fill is None:
            found = (await reader.read([chosen], source))[length]
            return candle_frame(found, reader.instrument, length, shape)
        asked = chosen.hull.on_grid(length)
        earlier = None
        if fill == "previous" and asked.start is not None:
            earlier = CandleSelection(length, (OpenRange(None, asked.start),), 1, ("close",))

        async def reads() -> list[CandleColumns]:
            each = [chosen] if earlier is None else [chosen, earlier]
            return [(await reader.read([selection], source))[length] for selection in each]

        found, *before = await reader.in_one_scale(reads)
        close = FrameShape(("close",), price_type, has_forming=False)
        complete = filled(
            candle_frame(found, reader.instrument, length, shape),
            length,
            fill,
            (asked.start, None if end is as_of is None else asked.end),
            candle_frame(before[0], reader.instrument, length, close) if before else None,
        )
        return complete if limit is None else complete.iloc[max(len(complete) - limit, 0) :]

    @timed("query", "multi_timeframe_ohlcv")
    async def query_multi_timeframe_ohlcv(
        self,
        symbol: str,
        timeframes: Sequence[Timeframe | str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        as_of: datetime | None = None,
        align: bool = True,
        include_forming: bool = False,
        source: CandleSource = "best",
        price_type: PriceType = "float",
    ) -> dict[str, pd.DataFrame]:
        """Return candles of several timeframes, side by side at the same moments, or as they are.

        What is stored is read in one round trip for all timeframes; what is not is asked for in a second one.

        Aligned, all frames have the same index: the moments at which a candle of the shortest timeframe closed. Row by row
        they show, for each timeframe, the last candle that was closed at that moment: the hour that opened at 09:00 is in
        no row before 10:00. Where candles are missing the last one stays in view; `open_time` tells how old it is.

        Args:
            symbol: a registered instrument, in any known spelling.
            timeframes: at least one, each once.
            start: first open time of the shortest timeframe (aligned) or of each (not aligned), aware, included.
            end: aware, excluded; None: to the last visible one.
            limit: only the last so many rows; not aligned, of each timeframe.
            as_of: what was closed at this time, aware. None: now.
            align: see above.
            include_forming: not aligned only: add the candles that form, see `query_ohlcv_data`.
            source: see `CandleSource`; 1s candles are always the stored ones.
            price_type: as for `query_ohlcv_data`.

        Returns:
            By label (as in `5m`), in the order of `timeframes`. Not aligned: as from `query_ohlcv_data`. Aligned: indexed by
            moment `timestamp` (datetime64[us, UTC], ascending, unique), with a column open_time (datetime64[us, UTC]; NaT:
            none was closed yet) before those of `query_ohlcv_data`; steps are Int64 then. Empty if there is nothing.

        Raises:
            InvalidInputError: symbol unknown, a time naive, `end` before `start`, no timeframe or one twice, or forming
                candles are asked for side by side with closed ones.
            DatabaseError: the server refuses.
        """
        lengths = distinct(timeframes)
        _check_choices(max(lengths), source, None, limit)
        moment = datetime.now(UTC) if as_of is None else utc_moment(as_of, "as_of")
        shape = FrameShape(chosen_columns(None), price_type, include_forming and not align)
        reader = CandleReader(self._conn, self._instruments, symbol)
        if not align:
            forming_at = moment if include_forming else None
            chosen = separate_selections(lengths, (start, end), limit, moment, forming_at)
            found = await reader.read(chosen, source)
            frames = {t: candle_frame(found[t], reader.instrument, t, shape) for t in lengths}
            return {t.label: frame for t, frame in frames.items()}
        if include_forming:
            hint = "aligned rows show closed candles only; use align=False"
            raise InvalidInputError("include_forming", include_forming, hint)
        chosen = aligned_selections(lengths, (start, end), limit, moment)
        found, moments = await reader.in_one_scale(lambda: read_aligned(reader, chosen, source))
        return {t.label: aligned_frame(found[t], reader.instrument, t, shape, moments) for t in lengths}


def _check_choices(timeframe: Timeframe, source: str, fill: str | None, limit: int | None) -> None:
    last_rows(limit, ("ts",))  # refuses a negative one
    if source not in get_args(CandleSource):
        raise InvalidInputError("source", source, f"use one of {', '.join(get_args(CandleSource))}")
    if fill is not None and fill not in get_args(FillPolicy):
        raise InvalidInputError("fill", fill, f"use one of {', '.join(get_args(FillPolicy))}, or None")
    if timeframe is Timeframe.S1 and source in {"aggregate", "generated"}:
        raise InvalidInputError(
            "source", source, "1s is the lowest timeframe, nothing rolls up to it; use 'stored'"
        )


def candle_columns(frame: pd.DataFrame, instrument: Instrument, timeframe: Timeframe) -> list[Column]:
    """Return a frame of `upsert_candles` as the columns that are stored; raises as that does."""
    check_columns(frame, [*PRICES, "volume"])
    times = utc_times(frame)
    check_grid(times, timeframe.value)
    prices = [step_column(frame, name, instrument.price_scale) for name in PRICES]
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
