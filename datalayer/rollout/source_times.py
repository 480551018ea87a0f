"""Times as caches spell them: timestamps of any unit, naive or aware, and bare numbers since 1970."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import tzinfo

    from numpy.typing import NDArray

UNREADABLE: Final = np.iinfo(np.int64).min
"""Stands for a time that cannot be read; it is NaT when seen as datetime64."""

# A number of this magnitude and unit lies between 1973 and 5138. Each value is judged by itself: an exchange changed from
# milliseconds to microseconds at a new year, and whoever appended its files has both in one column.
_UNITS: Final = (("s", 1e8, 1e11), ("ms", 1e11, 1e14), ("us", 1e14, 1e17), ("ns", 1e17, 1e20))
_NS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def time_spelling(values: Any) -> str:
    """Return how times are written, for people: `timestamp[ms, tz=UTC]`, `naive timestamp[ns]`, `integers: ms, us`."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        return str(kind) if kind.tz else f"naive {kind}"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return f"numbers: {', '.join(_units_of(_numbers(values))) or 'unreadable'}"
    return str(kind)


def utc_times(values: Any, naive_zone: tzinfo) -> pd.DatetimeIndex:
    """Return times as an aware index in UTC.

    Args:
        values: timestamps, dates (their beginning), or integers or floats since 1970 in s, ms, µs or ns, told apart value by value.
        naive_zone: what timezone naive timestamps and dates are in.

    Returns:
        An index of microseconds, or of nanoseconds where the file has those; NaT where there is no time.

    Raises:
        InvalidInputError: a column of another type, or a naive time that its timezone has twice or never.
    """
    kind = values.type
    if pa.types.is_date(kind):
        return _of_timestamps(values.cast(pa.timestamp("ms")), pa.timestamp("ms"), naive_zone)
    if pa.types.is_timestamp(kind):
        return _of_timestamps(values, kind, naive_zone)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _of_numbers(_numbers(values))
    hint = "times are timestamps, or numbers since 1970; write the file anew with one of these"
    raise InvalidInputError("timestamp", str(kind), hint)


def micros_of(index: pd.DatetimeIndex) -> NDArray[np.int64]:
    """Return microseconds since 1970, cut down; `UNREADABLE` where there is no time."""
    counts = np.asarray(index.asi8, dtype=np.int64)
    if index.unit == "us":
        return counts
    return np.where(np.asarray(index.isna()), UNREADABLE, counts // _NS["us"])


def _of_timestamps(values: Any, kind: Any, naive_zone: tzinfo) -> pd.DatetimeIndex:
    unit: Literal["us", "ns"] = "ns" if kind.unit == "ns" else "us"
    counts = values.cast(pa.timestamp(unit, kind.tz)).cast(pa.int64())
    plain = counts.fill_null(UNREADABLE).to_numpy().view(f"datetime64[{unit}]")
    index = pd.DatetimeIndex(plain, name="timestamp")
    if kind.tz:
        return index.tz_localize("UTC")
    local = index.tz_localize(naive_zone, ambiguous="NaT", nonexistent="NaT")
    wrong = index[np.asarray(local.isna()) & np.asarray(index.notna())]
    if len(wrong):
        hint = f"a time is not one of this timezone, which has {wrong[0]} twice or not at all"
        raise InvalidInputError("timestamp", str(naive_zone), hint)
    return local.tz_convert("UTC")


def _numbers(values: Any) -> NDArray[Any]:
    if pa.types.is_floating(values.type):
        return np.asarray(values.cast(pa.float64()).fill_null(np.nan).to_numpy())
    return np.asarray(values.cast(pa.int64()).fill_null(0).to_numpy())


def _units_of(numbers: NDArray[Any]) -> list[str]:
    sizes = np.abs(numbers)
    return [unit for unit, low, high in _UNITS if ((sizes >= low) & (sizes < high)).any()]


def _of_numbers(numbers: NDArray[Any]) -> pd.DatetimeIndex:
    units = _units_of(numbers)
    target = "ns" if "ns" in units else "us"
    times = np.full(len(numbers), UNREADABLE)
    sizes = np.abs(numbers)
    for unit, low, high in _UNITS:
        rows = (sizes >= low) & (sizes < high)
        if rows.any():
            times[rows] = _scaled(numbers[rows], _NS[unit] // _NS[target])
    return pd.DatetimeIndex(times.view(f"datetime64[{target}]"), name="timestamp").tz_localize("UTC")


def _scaled(numbers: NDArray[Any], factor: int) -> NDArray[np.int64]:
    if numbers.dtype.kind == "f":
        return np.asarray(np.rint(numbers * factor), dtype=np.int64)
    return np.asarray(numbers * factor, dtype=np.int64)
