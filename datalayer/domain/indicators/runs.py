"""Candles taken apart: checked times and columns, and the runs without a gap that indicators are computed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from datalayer.domain.timeframe import Timeframe

Gaps: TypeAlias = Literal["restart", "bridge"]
"""What happens at a missing candle: the indicator starts anew after it, or goes on as if it had not been."""

_EPOCH = np.datetime64(0, "s")


def open_times(candles: pd.DataFrame, timeframe: Timeframe) -> NDArray[np.datetime64]:
    """Return the open times of candles in UTC, in the unit of the index.

    Raises:
        InvalidInputError: the index is no DatetimeIndex, is naive, has a missing time, one that is not later than the one
            before, or one that is no open time of a candle of `timeframe`. Names the time and the row.
    """
    index = candles.index
    if not isinstance(index, pd.DatetimeIndex):
        hint = "index the candles by aware open times, as in frame.set_index('timestamp')"
        raise InvalidInputError("timestamp", type(index).__name__, hint)
    if index.tz is None:
        hint = "naive; say which time is meant, as in frame.tz_localize('UTC')"
        raise InvalidInputError("timestamp", str(index[0]) if len(index) else "no rows", hint)
    times: NDArray[np.datetime64] = index.tz_convert("UTC").tz_localize(None).to_numpy()
    _refuse_time(times, np.isnat(times), "has no time")
    late = np.concatenate([[False], times[1:] <= times[:-1]])
    _refuse_time(times, late, "is not later than the one before; sort the candles and keep one of each")
    off_grid = (times - _EPOCH) % np.timedelta64(timeframe.value, "s") != np.timedelta64(0, "s")
    _refuse_time(times, off_grid, f"is no open time of a {timeframe.label} candle")
    return times


def float_columns(candles: pd.DataFrame, names: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Return columns of candles by name; NaN is a value that nobody has.

    Raises:
        InvalidInputError: a column is missing, there twice, of another dtype than float64, or has an infinite value.
    """
    columns = {}
    for name in names:
        if list(candles.columns).count(name) != 1:
            hint = f"one column {name!r} is needed"
            raise InvalidInputError("columns", list(map(str, candles.columns)), hint)
        series: pd.Series[Any] = candles[name]
        if series.dtype != np.dtype("float64"):
            raise InvalidInputError(name, str(series.dtype), "indicators are computed from float64")
        values = np.ascontiguousarray(series.to_numpy())
        if np.isinf(values).any():
            row = int(np.argmax(np.isinf(values)))
            raise InvalidInputError(name, float(values[row]), f"row {row} is not finite; NaN marks a gap")
        columns[name] = values
    return columns


def stream_runs(
    times: NDArray[np.datetime64],
    usable: NDArray[np.bool_],
    timeframe: Timeframe,
    gaps: Gaps,
    *,
    by_day: bool,
) -> Iterator[slice | NDArray[np.intp]]:
    """Yield the rows of each run, in order.

    Args:
        times: open times, `[n]`, rising.
        usable: rows that have all values, `[n]`; any other is as good as missing.
        timeframe: length of the candles.
        gaps: whether a missing candle ends a run.
        by_day: whether a run also ends at midnight UTC, and counts only if the frame reaches back to its midnight.

    Yields:
        A slice where the rows follow each other, which costs no copy; else their numbers, rising.
    """
    step = np.timedelta64(timeframe.value, "s")
    is_one = len(times) and not by_day and times[-1] - times[0] == (len(times) - 1) * step
    if is_one and usable.all():  # as it nearly always is: the times rise on the grid, so none is missing
        yield slice(0, len(times))
        return
    rows = np.flatnonzero(usable)
    moments = times[rows]
    ends = np.zeros(max(len(rows) - 1, 0), dtype=bool)
    if gaps == "restart":
        ends |= np.diff(moments) != step
    if by_day:
        ends |= np.diff(moments.astype("datetime64[D]")) != np.timedelta64(0, "D")
    for run in np.split(rows, np.flatnonzero(ends) + 1):
        if len(run) and (not by_day or _reaches_midnight(times, run[0], gaps)):
            contiguous = run[-1] - run[0] + 1 == len(run)
            yield slice(int(run[0]), int(run[-1]) + 1) if contiguous else run


def _reaches_midnight(times: NDArray[np.datetime64], row: np.intp, gaps: Gaps) -> bool:
    midnight = times[row].astype("datetime64[D]")
    return bool(times[row] == midnight if gaps == "restart" else times[0] <= midnight)


def _refuse_time(times: NDArray[np.datetime64], wrong: NDArray[np.bool_], reason: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InvalidInputError("timestamp", f"{times[row]}+00:00", f"row {row} {reason}")
