"""Frames of candles: from counts of steps, with a policy for what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from datalayer.domain.candle import UNKNOWN_COUNT
from datalayer.domain.steps import PriceType, from_steps
from datalayer.errors import InvalidInputError, MissingDataError
from datalayer.repositories.candle_columns import SOURCES, blank_columns
from datalayer.repositories.candle_queries import VALUES
from datalayer.repositories.candle_ranges import ranges_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from datalayer.domain.instrument import Instrument
    from datalayer.domain.timeframe import Timeframe
    from datalayer.repositories.candle_columns import CandleColumns

FillPolicy: TypeAlias = Literal["nan", "previous", "refuse"]
"""What becomes of missing candles: rows without values; rows at the last close with volume 0; an error."""

PRICES: Final = ("open", "high", "low", "close")
COLUMNS: Final = (*VALUES, "source")
_SOURCE: Final = pd.CategoricalDtype([*SOURCES])


@dataclass(frozen=True, slots=True)
class FrameShape:
    """Which columns a frame of candles has, and in which form.

    Attributes:
        columns: some of `COLUMNS`, in this order.
        price_type: of prices and volume.
        has_forming: whether a column `is_forming` comes after them.
    """

    columns: tuple[str, ...]
    price_type: PriceType
    has_forming: bool

    @property
    def values(self) -> tuple[str, ...]:
        """What has to be read for it."""
        return tuple(name for name in VALUES if name in self.columns) or ("close",)


def chosen_columns(columns: Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns to give.

    Raises:
        InvalidInputError: one is unknown or named twice, or it is a single text.
    """
    names = COLUMNS if columns is None else tuple(columns)
    wrong = [name for name in names if name not in COLUMNS]
    if wrong or isinstance(columns, str) or len(set(names)) < len(names):
        raise InvalidInputError("columns", columns, f"give a list of some of {', '.join(COLUMNS)}, each once")
    return names


def candle_frame(
    candles: CandleColumns, instrument: Instrument, timeframe: Timeframe, shape: FrameShape
) -> pd.DataFrame:
    """Return candles as `query_ohlcv_data` gives them."""
    data = {name: _column(name, candles, instrument, shape.price_type) for name in shape.columns}
    if shape.has_forming:
        data["is_forming"] = candles.origins == SOURCES.index("forming")
    return _frame(data, _utc(candles.times), instrument, timeframe)


def aligned_frame(
    candles: CandleColumns,
    instrument: Instrument,
    timeframe: Timeframe,
    shape: FrameShape,
    moments: NDArray[np.datetime64],
) -> pd.DataFrame:
    """Return for each moment, ascending, the last candle that was closed by then, as `query_multi_timeframe_ohlcv` does."""
    length = np.timedelta64(timeframe.value, "s")
    place = np.searchsorted(candles.times, moments - length, side="right") - 1
    absent = place < 0
    shown = candles.rows(place) if len(candles) else blank_columns(candles.steps, len(moments))
    open_time = _utc(np.where(absent, np.datetime64("NaT"), shown.times))
    columns = {name: _column(name, shown, instrument, shape.price_type, absent) for name in shape.columns}
    return _frame({"open_time": open_time, **columns}, _utc(moments), instrument, timeframe)


def _frame(
    data: Mapping[str, Any], index: pd.DatetimeIndex, instrument: Instrument, timeframe: Timeframe
) -> pd.DataFrame:
    # The columns are nobody else's: not copied, a small frame is made in a third of the time.
    frame = pd.DataFrame(data, index=index.rename("timestamp"), copy=False)
    frame.attrs = {"symbol": instrument.symbol, "timeframe": timeframe.label}
    return frame


def _column(
    name: str,
    candles: CandleColumns,
    instrument: Instrument,
    price_type: PriceType,
    absent: NDArray[np.bool_] | None = None,
) -> Any:
    """Return a column of a frame; with `absent`, of nullable type, and without a value there."""
    if name == "source":
        origins = candles.origins if absent is None else np.where(absent, np.int8(-1), candles.origins)
        return pd.Categorical.from_codes(origins, dtype=_SOURCE)
    steps = candles.steps[name]
    if name == "trade_count":
        unknown = steps == UNKNOWN_COUNT
        return pd.arrays.IntegerArray(steps.copy(), unknown if absent is None else unknown | absent)
    scale = instrument.size_scale if name == "volume" else instrument.price_scale
    values = from_steps(steps, scale, price_type)
    if absent is None:
        return values
    if price_type == "fixed":
        return pd.arrays.IntegerArray(values.copy(), absent)
    return np.where(absent, np.nan, values) if absent.any() else values


def _utc(times: NDArray[np.datetime64]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times, tz="UTC")


def filled(
    frame: pd.DataFrame,
    timeframe: Timeframe,
    policy: FillPolicy,
    within: tuple[datetime | None, datetime | None],
    before: pd.DataFrame | None,
) -> pd.DataFrame:
    """Return the frame with a row for every open time, or refuse what is missing.

    Args:
        frame: candles, ascending.
        timeframe: their length.
        policy: see `FillPolicy`.
        within: first open time, and end of the open times, both on the grid; None: of the first or last row.
        before: the last candle before `within`, from which `previous` goes on; None or empty: there is none.

    Raises:
        MissingDataError: the policy is `refuse` and candles are missing.
    """
    grid = _grid(frame, timeframe, within)
    missing = ~grid.isin(frame.index)
    if not missing.any():
        return frame
    if policy == "refuse":
        ranges = ranges_of(grid[missing].tz_localize(None).to_numpy(), timeframe)
        intervals = tuple((opens.start, opens.end) for opens in ranges if opens.start is not None)
        raise MissingDataError(frame.attrs["symbol"], timeframe.label, intervals)
    result = _nullable(frame).reindex(grid)
    if "source" in result:
        result.loc[missing, "source"] = "filled"
    if "is_forming" in result:
        result["is_forming"] = np.where(missing, False, result["is_forming"]).astype(bool)  # noqa: FBT003
    if policy == "previous":
        _carry_forward(result, missing, before)
    result.attrs = frame.attrs
    return result


def _grid(
    frame: pd.DataFrame, timeframe: Timeframe, within: tuple[datetime | None, datetime | None]
) -> pd.DatetimeIndex:
    start, end = within
    first = frame.index[0] if start is None and len(frame) else start
    last = frame.index[-1] + timeframe.length if end is None and len(frame) else end
    if first is None or last is None:
        return frame.index[:0]  # type: ignore[return-value]
    return pd.date_range(first, last, freq=timeframe.offset, inclusive="left", name="timestamp", unit="us")


def _nullable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with integers that may be missing."""
    # Integers would turn into floats where a row has none, and steps beyond 2**53 into other steps.
    integers = [name for name in frame.columns if frame[name].dtype == np.int64]
    return frame.astype(dict.fromkeys(integers, "Int64"))


def _carry_forward(frame: pd.DataFrame, missing: NDArray[np.bool_], before: pd.DataFrame | None) -> None:
    """Put the last close into the prices of missing rows, and a volume of 0; rows before any candle stay empty."""
    if "close" not in frame:
        return
    close = frame["close"]
    if before is not None and len(before) and missing[0]:
        close = close.copy()
        close.iloc[0] = before["close"].iloc[-1]
    last = close.ffill()
    known = missing & last.notna().to_numpy()
    for name in PRICES:
        if name in frame:
            frame.loc[known, name] = last[known]
    if "volume" in frame:
        zero = last[known] * 0
        frame.loc[known, "volume"] = zero
