"""Frames handed in by callers: checked, and taken apart into columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from datalayer.db.copy_columns import Column
from datalayer.domain.steps import to_steps
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from datalayer.db.copy_columns import PgType


def check_columns(frame: pd.DataFrame, required: Sequence[str]) -> None:
    """Refuse a frame that lacks a column or has one twice.

    Raises:
        InvalidInputError: names the missing or repeated columns.
    """
    repeated = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if repeated:
        raise InvalidInputError("columns", repeated, "each column may be there once only")
    missing = [name for name in required if name not in frame.columns]
    if missing:
        raise InvalidInputError("columns", list(map(str, frame.columns)), f"missing: {', '.join(missing)}")


def utc_times(frame: pd.DataFrame) -> NDArray[np.datetime64]:
    """Return the index as datetime64[us] in UTC.

    Raises:
        InvalidInputError: the index is no DatetimeIndex, is naive, has a missing time, or is finer than microseconds.
    """
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex):
        hint = "index the frame by aware times, as in frame.set_index('timestamp')"
        raise InvalidInputError("timestamp", type(index).__name__, hint)
    if index.tz is None:
        example = f"naive; say which time is meant, as in frame.tz_localize('UTC'): {_first(index)}+00:00"
        raise InvalidInputError("timestamp", _first(index), example)
    _refuse("timestamp", index, np.asarray(index.isna()), "has no time")
    times = index.tz_convert("UTC").tz_localize(None)
    micro = times.as_unit("us")
    _refuse(
        "timestamp",
        index,
        np.asarray(micro != times),
        "is finer than a microsecond, which is all that is stored",
    )
    return micro.to_numpy()


def check_grid(times: NDArray[np.datetime64], step_s: int) -> None:
    """Refuse open times that no candle of `step_s` seconds has.

    Raises:
        InvalidInputError: names the first such time, its row, and the open time of the candle that it lies in.
    """
    step = np.timedelta64(step_s, "s")
    floors = times - (times - np.datetime64(0, "us")) % step
    wrong = floors != times
    if wrong.any():
        row = int(np.argmax(wrong))
        hint = (
            f"row {row} is no open time of a candle of {step_s} s; that candle opens at {floors[row]}+00:00"
        )
        raise InvalidInputError("timestamp", f"{times[row]}+00:00", hint)


def step_column(frame: pd.DataFrame, name: str, scale: int) -> Column:
    """Return a column of prices or sizes as int8 steps.

    Raises:
        ScaleError: a value is missing, infinite, or not exact at this scale; names column, value and row.
    """
    series = frame[name]
    # A nullable column with nothing missing is as good as a plain one, and goes by columns too.
    values = series.to_numpy(np.float64, na_value=np.nan) if _is_nullable_float(series) else series.to_numpy()
    return Column(name, "int8", to_steps(values, scale, field=name))


def integer_column(
    frame: pd.DataFrame, name: str, pg_type: PgType, *, allowed: tuple[int, int], nullable: bool = False
) -> Column:
    """Return a column of integers.

    Args:
        frame: where it is.
        name: its name.
        pg_type: int2, int4 or int8.
        allowed: smallest and largest value.
        nullable: whether a missing value is NULL; else it is refused.

    Raises:
        InvalidInputError: a value is missing, fractional, out of range, or a float so large that it may stand for
            another integer; names column, value and row.
    """
    series = frame[name]
    missing = series.isna().to_numpy()
    if not nullable:
        _refuse(name, series, missing, "has no value")
    low, high = allowed
    present = series[~missing]
    if pd.api.types.is_float_dtype(present.dtype):
        floats = present.to_numpy()
        exact_below = 2.0 ** (np.finfo(floats.dtype).nmant + 1)
        wrong = {
            "is no whole number": floats != np.floor(floats),
            "is too large to be exact as a float; give integers": np.abs(floats) >= exact_below,
        }
        for reason, rows in wrong.items():
            _refuse(name, present, rows, f"(counted without missing values) {reason}")
    elif not pd.api.types.is_integer_dtype(present.dtype) and len(present):
        raise InvalidInputError(name, str(series.dtype), "give a column of integers")
    _refuse(name, present, np.asarray((present < low) | (present > high)), f"is not in {low} … {high}")
    values = np.zeros(len(series), dtype=np.int64)
    values[~missing] = present.to_numpy(np.int64)
    return Column(name, pg_type, values, None if not missing.any() else ~missing)


def check_rows(field: str, values: Any, wrong: NDArray[np.bool_], reason: str) -> None:
    """Refuse the first row that breaks a rule.

    Args:
        field: name of the column.
        values: its values, by position.
        wrong: bool `[n]`.
        reason: reads on after `row 7`.

    Raises:
        InvalidInputError: names column, value and row.
    """
    _refuse(field, pd.Series(values), wrong, reason)


def _refuse(
    field: str, values: pd.Series[Any] | pd.DatetimeIndex, wrong: NDArray[np.bool_], reason: str
) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        value = values[row] if isinstance(values, pd.DatetimeIndex) else values.iloc[row]
        raise InvalidInputError(
            field, value.item() if isinstance(value, np.generic) else value, f"row {row} {reason}"
        )


def _first(index: pd.DatetimeIndex) -> str:
    return index[0].isoformat() if len(index) else "no rows"


def _is_nullable_float(series: pd.Series[Any]) -> bool:
    return pd.api.types.is_float_dtype(series.dtype) and not isinstance(series.dtype, np.dtype)
