"""Tables inside of the standard frames: which dtypes they may have, and how they become text and Arrow, exactly."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from datalayer.domain.frame_values import brief, column_of, member, plain_value, time_texts, whole_number
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMESTAMP: Final = "timestamp"
PRICES: Final = ("open", "high", "low", "close", "volume")
FORMING: Final = "is_forming"
TRADE_COUNT: Final = "trade_count"
_ROW: Final = "row"
_TIMES: Final = pd.DatetimeTZDtype("us", "UTC")
_ARROW: Final = {"float64": pa.float64(), "int64": pa.int64(), "Int64": pa.int64(), "bool": pa.bool_()}
_RESERVED: Final = (TIMESTAMP, _ROW)
_EARLIEST: Final = pd.Timestamp(datetime.min.replace(tzinfo=UTC))
_LATEST: Final = pd.Timestamp(datetime.max.replace(tzinfo=UTC))


def check_table(table: pd.DataFrame, field: str, *, timed: bool = True) -> None:
    """Refuse a table that would not come back from text or Arrow as it was.

    Args:
        table: indexed by `timestamp` (datetime64[us, UTC], ascending, unique, years 1 to 9999), or without times by
            0, 1, 2 …; columns have str names and one of the dtypes float64, int64, Int64, bool.
        field: name for the error.
        timed: whether it is indexed by time.

    Raises:
        InvalidInputError: names the table, what it has, and what is needed.
    """
    index, at = table.index, f"{field}.index"
    if not timed:
        if not index.equals(pd.RangeIndex(len(table))):
            raise InvalidInputError(at, type(index).__name__, "number the rows 0, 1, 2 …")
    elif index.dtype != _TIMES or index.name != TIMESTAMP:
        found = f"{index.name}: {index.dtype}"
        raise InvalidInputError(at, found, f"index it by {TIMESTAMP}, datetime64[us, UTC]")
    elif index.hasnans or not index.is_unique or not index.is_monotonic_increasing:
        raise InvalidInputError(at, "out of order", "times must be there, ascending and unique")
    elif len(index) and (index[0] < _EARLIEST or index[-1] > _LATEST):
        raise InvalidInputError(at, f"{index[0]} to {index[-1]}", "times are of the years 1 to 9999")
    check_names(list(table.columns), field)
    for name, dtype in table.dtypes.items():
        if str(dtype) not in _ARROW:
            column = f"{field}.{name}"
            raise InvalidInputError(column, str(dtype), f"use one of the dtypes {', '.join(_ARROW)}")


def table_to_dict(table: pd.DataFrame) -> dict[str, Any]:
    """Return a table as values that JSON has: times as ISO texts, NaN and NA as None, infinities as texts."""
    columns = {
        str(name): {"dtype": str(column.dtype), "values": [plain_value(value) for value in column.tolist()]}
        for name, column in table.items()
    }
    times = [moment.isoformat() for moment in table.index] if table.index.name == TIMESTAMP else None
    return {TIMESTAMP: times, "rows": len(table), "columns": columns}


def table_from_dict(data: Any, field: str) -> pd.DataFrame:
    """Return the table that `table_to_dict` wrote.

    Raises:
        InvalidInputError: it is malformed; names the part.
    """
    rows, times, columns = (member(data, name, field) for name in ("rows", TIMESTAMP, "columns"))
    count = whole_number(rows, f"{field}.rows")
    if not isinstance(columns, dict):
        path = f"{field}.columns"
        raise InvalidInputError(path, brief(columns), "is no mapping of columns")
    check_names(list(columns), field)
    made = {name: column_of(one, count, f"{field}.{name}") for name, one in columns.items()}
    index: pd.Index[Any] = pd.RangeIndex(count)
    if times is not None:
        index = _times(time_texts(times, count, f"{field}.{TIMESTAMP}"))
    return _table(made, index, field)


def table_layout(table: pd.DataFrame) -> dict[str, Any]:
    """Return what Arrow does not keep of a table: whether it is timed, and the dtype of each column."""
    columns = {str(name): str(dtype) for name, dtype in table.dtypes.items()}
    return {"timed": table.index.name == TIMESTAMP, "columns": columns}


def table_to_arrow(table: pd.DataFrame) -> pa.ListArray[Any]:
    """Return a table as one Arrow value: a list of one struct a row."""
    arrays: dict[str, pa.Array[Any]] = {}
    if table.index.name == TIMESTAMP:
        times = np.asarray(table.index.tz_localize(None))  # type: ignore[attr-defined]
        arrays[TIMESTAMP] = pa.array(times, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    arrays |= {str(name): _arrow(column) for name, column in table.items()}
    arrays[_ROW] = pa.array(np.arange(len(table)))  # a struct needs a field
    rows = pa.StructArray.from_arrays(list(arrays.values()), names=list(arrays))
    return pa.ListArray.from_arrays(pa.array([0, len(table)], pa.int32()), rows)


def table_from_arrow(value: Any, layout: Any, field: str) -> pd.DataFrame:
    """Return the table that `table_to_arrow` wrote.

    Args:
        value: Arrow column of one row, a list of structs.
        layout: what `table_layout` said of the table.
        field: name for the error.

    Raises:
        InvalidInputError: value and layout do not belong together.
    """
    timed, dtypes = (member(layout, name, field) for name in ("timed", "columns"))
    if not pa.types.is_list(value.type) or not pa.types.is_struct(value.type.value_type) or value.null_count:
        raise InvalidInputError(field, str(value.type), "is no table of this format")
    rows = value.combine_chunks().flatten()
    if rows.null_count:
        raise InvalidInputError(
            field, f"{rows.null_count} nulls", "a row that is null is no row of this format"
        )
    names = [one.name for one in rows.type if one.name not in _RESERVED]
    if not isinstance(dtypes, dict) or list(dtypes) != names:
        raise InvalidInputError(field, names, f"has other columns than its layout, {dtypes}")
    made = {name: _column(rows.field(name), dtype, f"{field}.{name}") for name, dtype in dtypes.items()}
    index: pd.Index[Any] = pd.RangeIndex(len(rows))
    if timed:
        place = rows.type.get_field_index(TIMESTAMP)
        if place < 0 or rows.type.field(place).type != pa.timestamp("us", "UTC"):
            path = f"{field}.{TIMESTAMP}"
            raise InvalidInputError(path, str(rows.type), "needs times, timestamp[us, UTC]")
        index = _times(rows.field(place).cast(pa.timestamp("us")).to_numpy(zero_copy_only=False))
    return _table(made, index, field)


def same_tables(ours: Mapping[str, pd.DataFrame], theirs: Mapping[str, pd.DataFrame]) -> bool:
    """Tell whether two sets of tables are equal: names, dtypes, times and values; NaN equals NaN."""
    return list(ours) == list(theirs) and all(
        list(table.dtypes) == list(theirs[name].dtypes) and table.equals(theirs[name])
        for name, table in ours.items()
    )


def check_names(names: list[object], field: str) -> None:
    """Refuse columns that are there twice, or whose names are no text that Arrow writes.

    Raises:
        InvalidInputError: names the table and its columns.
    """
    if len(set(names)) < len(names) or not all(map(_is_name, names)):
        hint = f"name columns by Unicode text, each once, none of them {' or '.join(_RESERVED)}"
        raise InvalidInputError(field, names, hint)


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or name in _RESERVED:
        return False
    return not any(
        "\ud800" <= letter <= "\udfff" for letter in name
    )  # a lone surrogate, which Arrow cannot write


def _table(columns: dict[str, Any], index: pd.Index[Any], field: str) -> pd.DataFrame:
    table = pd.DataFrame(columns, index=index)
    check_table(table, field, timed=index.name == TIMESTAMP)
    return table


def _times(values: Any) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(values, utc=True), name=TIMESTAMP).as_unit("us")


def _arrow(column: pd.Series[Any]) -> pa.Array[Any]:
    kind = _ARROW[str(column.dtype)]
    if str(column.dtype) == "Int64":
        return pa.array(column, kind)
    return pa.array(column.to_numpy(), kind, from_pandas=False)  # NaN is a value, not a null


def _column(array: Any, dtype: Any, field: str) -> Any:
    if not isinstance(dtype, str) or dtype not in _ARROW or array.type != _ARROW[dtype]:
        raise InvalidInputError(field, f"{dtype} as {array.type}", "is no column of this format")
    if dtype == "Int64":
        return pd.array(array.to_pylist(), dtype="Int64")
    if array.null_count:
        raise InvalidInputError(field, f"{array.null_count} nulls", f"a column of {dtype} has none")
    return array.to_numpy(zero_copy_only=False)
