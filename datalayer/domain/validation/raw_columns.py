"""What callers hand in — frames, columns, records, value types — as columns of raw values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from datalayer.domain.steps import plain_scalar
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

RawColumns: TypeAlias = dict[str, Any]
"""Values as given, by column: arrays, Series or indexes, all of one length. The time is `ts`, whatever it was called."""

_LEVEL_COLUMNS = ("_prices", "_sizes")
_TIME_NAMES = ("ts", "timestamp", "timestamps")


def raw_columns(data: Any, required: Sequence[str], optional: Sequence[str]) -> RawColumns:
    """Return the columns of a frame, of a mapping of columns, or of a sequence of records.

    A record that lacks a field has None there. Columns beyond the known ones are kept, for the sake of what is rejected.

    Args:
        data: a DataFrame (its DatetimeIndex, if it has one, is the time), a mapping of columns, or a sequence of
            records, each a mapping of values or an object with attributes.
        required: names of the columns that must be there.
        optional: names of others that mean something.

    Raises:
        InvalidInputError: a column is missing or twice, a frame has a time in its index and in a column, columns differ
            in length, or `data` is none of these.
    """
    if isinstance(data, pd.DataFrame):
        columns = _of_frame(data)
    elif isinstance(data, Mapping):
        columns = _of_mapping(data)
    elif isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _of_records(data, [*required, *optional])
    else:
        raise InvalidInputError(
            "data", type(data).__name__, "give a DataFrame, a mapping of columns or a sequence of records"
        )
    missing = [name for name in required if name not in columns]
    if missing:
        raise InvalidInputError("columns", list(map(str, columns)), f"missing: {', '.join(missing)}")
    return columns


def record_fields(record: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of one record: all of a mapping or a dataclass, the known ones of another object.

    What is no record at all comes as the field `record`, so that it is not lost.
    """
    if isinstance(record, Mapping):
        given = {str(name): value for name, value in record.items()}
    else:
        known = [f.name for f in dataclass_fields(record)] if is_dataclass(record) else names
        given = {name: getattr(record, name) for name in known if hasattr(record, name)} or {"record": record}
    return _with_ts(given)


def object_array(values: Sequence[Any]) -> NDArray[Any]:
    """Return a one-dimensional array of the very objects; numpy alone would make text of a number beside a text."""
    array = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        array[position] = value
    return array


def is_absent(value: Any) -> bool:
    """Tell whether a value is one of those that say that there is none. NaN of a float is a number that is not finite."""
    return value is None or value is pd.NA or value is pd.NaT


def row_count(columns: RawColumns) -> int:
    """Return the number of rows."""
    return len(columns["ts"])


def taken(columns: RawColumns, rows: NDArray[np.int64]) -> RawColumns:
    """Return copies of some rows, for what is read after the caller has used his arrays again."""
    return {name: _taken(column, rows) for name, column in columns.items()}


def raw_value(column: Any, row: int) -> Any:
    """Return one value as given; a number of numpy's as that of Python."""
    value = column.iloc[row] if isinstance(column, pd.Series) else column[row]
    return plain_scalar(value)


def _of_frame(frame: pd.DataFrame) -> RawColumns:
    repeated = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if repeated:
        raise InvalidInputError("columns", repeated, "each column may be there once only")
    columns: dict[str, Any] = {str(name): frame[name] for name in frame.columns}
    if isinstance(frame.index, pd.DatetimeIndex):
        second = [name for name in _TIME_NAMES if name in columns]
        if second:
            hint = "the index is a time, too; keep the one that is meant"
            raise InvalidInputError("columns", second, hint)
        columns = {"ts": frame.index} | columns
    return _with_ts(columns)


def _of_mapping(data: Mapping[Any, Any]) -> RawColumns:
    columns = _with_ts({str(name): _column(str(name), values) for name, values in data.items()})
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError("columns", lengths, "all columns need the same number of rows")
    return columns


def _column(name: str, values: Any) -> Any:
    arrays = pd.Series | pd.Index | np.ndarray | pd.api.extensions.ExtensionArray
    if isinstance(values, arrays) and 1 <= values.ndim <= (2 if name.endswith(_LEVEL_COLUMNS) else 1):
        return _unmasked(values) if isinstance(values, np.ma.MaskedArray) else values
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        return _plain(values)
    raise InvalidInputError(name, type(values).__name__, "give a column: an array, a Series or a list")


def _unmasked(values: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    # Numpy itself reads on through a mask, and what it hides would become data.
    objects = np.array(values.data, dtype=object)
    objects[np.ma.getmaskarray(values)] = None
    return objects


def _of_records(records: Sequence[Any], names: Sequence[str]) -> RawColumns:
    rows = [record_fields(record, names) for record in records]
    known = dict.fromkeys(names) | {name: None for row in rows for name in row}
    return {name: _plain([row.get(name) for row in rows]) for name in known}


def _plain(values: Sequence[Any]) -> NDArray[Any]:
    # Plain floats go by columns; anything else stays the object it is.
    if all(type(value) is float for value in values):
        return np.array(values, dtype=np.float64)
    return object_array(values)


def _taken(column: Any, rows: NDArray[np.int64]) -> Any:
    some = column.iloc[rows] if isinstance(column, pd.Series) else column[rows]
    if not isinstance(some, np.ndarray) or some.dtype != object or some.ndim > 1:
        return some
    return object_array([value.copy() if isinstance(value, np.ndarray) else value for value in some])


def _with_ts(columns: dict[str, Any]) -> dict[str, Any]:
    named = next((name for name in _TIME_NAMES if name in columns), "ts")
    return {"ts" if name == named else name: values for name, values in columns.items()}
