"""Numpy columns to PostgreSQL's binary COPY format, without a loop over rows.

Format: https://www.postgresql.org/docs/current/sql-copy.html (binary format). Every row is laid out at its greatest
width in a matrix of bytes; a mask of the bytes that a row does not have (the value of a NULL, the missing elements of a
shorter array) then flattens the matrix to the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.db.copy_columns import COPY_HEADER, COPY_TRAILER, INT8_OID, POSTGRES_EPOCH_US, WIRE_TYPES
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from datalayer.db.copy_columns import Column

# About 5 MB of candles: encoding a piece holds the event loop for a few milliseconds only.
ROWS_PER_PIECE: Final = 50_000

_ARRAY_HEAD: Final = 20
_ELEMENT: Final = 12
_NULL: Final = -1


def encode_copy(columns: Sequence[Column], *, rows_per_piece: int = ROWS_PER_PIECE) -> Iterator[bytes]:
    """Yield the stream of `COPY … FROM STDIN (FORMAT binary)`, header and trailer included, in bounded pieces.

    Args:
        columns: at least one; all of the same number of rows, in the order of the COPY command's column list.
        rows_per_piece: rows encoded at a time.

    Raises:
        InvalidInputError: a timestamp is NaT, or columns differ in length.
    """
    rows = len(columns[0].data)
    for column in columns:
        if len(column.data) != rows:
            raise InvalidInputError(column.name, len(column.data), f"every column needs {rows} rows")
    yield COPY_HEADER
    for start in range(0, rows, rows_per_piece):
        yield _encode_piece([column.rows(slice(start, start + rows_per_piece)) for column in columns])
    yield COPY_TRAILER


def _encode_piece(columns: Sequence[Column]) -> bytes:
    rows = np.zeros(len(columns[0].data), dtype=_row_dtype(columns))
    rows["fields"] = len(columns)
    # None as long as every row has all of its bytes, which is the usual and the fastest case.
    keep: NDArray[np.bool_] | None = None
    for position, column in enumerate(columns):
        _fill(rows, position, column)
        missing = _missing(column)
        if missing is not None:
            keep = np.ones((len(rows), rows.dtype.itemsize), dtype=bool) if keep is None else keep
            start = _offset(rows.dtype, f"value{position}")
            keep[:, start : start + missing.shape[1]] = ~missing
    if keep is None:
        return rows.tobytes()
    return rows.view(np.uint8).reshape(keep.shape)[keep].tobytes()


def _row_dtype(columns: Sequence[Column]) -> np.dtype[Any]:
    fields: list[Any] = [("fields", ">i2")]
    for position, column in enumerate(columns):
        fields += [(f"size{position}", ">i4"), (f"value{position}", _value_dtype(column))]
    return np.dtype(fields)


def _value_dtype(column: Column) -> Any:
    if column.lengths is None:
        return WIRE_TYPES[column.pg_type]
    element = [("size", ">i4"), ("value", ">i8")]
    head = [(name, ">i4") for name in ("dimensions", "has_null", "element_type", "length", "lower_bound")]
    return [*head, ("elements", element, (column.data.shape[1],))]


def _offset(dtype: np.dtype[Any], field: str) -> int:
    return 0 if dtype.fields is None else int(dtype.fields[field][1])


def _fill(rows: NDArray[Any], position: int, column: Column) -> None:
    if column.lengths is not None:
        _fill_arrays(rows[f"size{position}"], rows[f"value{position}"], column.data, column.lengths)
        return
    value = rows[f"value{position}"]
    value[:] = _wire_values(column)
    size = value.dtype.itemsize
    rows[f"size{position}"] = size if column.valid is None else np.where(column.valid, size, _NULL)


def _wire_values(column: Column) -> NDArray[Any]:
    if column.pg_type != "timestamptz":
        return column.data
    if np.isnat(column.data).any():
        row = int(np.argmax(np.isnat(column.data)))
        raise InvalidInputError(column.name, "NaT", f"row {row} has no time; leave it out or mend it")
    return column.data.astype("datetime64[us]").astype(np.int64) - POSTGRES_EPOCH_US


def _fill_arrays(
    size: NDArray[Any], array: NDArray[Any], values: NDArray[Any], lengths: NDArray[np.int64]
) -> None:
    # An empty array has no dimension, and then neither a length nor a lower bound.
    size[:] = np.where(lengths > 0, _ARRAY_HEAD + _ELEMENT * lengths, _ARRAY_HEAD - 8)
    array["dimensions"] = lengths > 0
    array["element_type"] = INT8_OID
    array["length"] = lengths
    array["lower_bound"] = 1
    array["elements"]["size"] = 8
    array["elements"]["value"] = values


def _missing(column: Column) -> NDArray[np.bool_] | None:
    """Return the bytes of the value that the stream leaves out, `[n, bytes]`, or None for none."""
    if column.lengths is not None:
        return _missing_elements(column.lengths, column.data.shape[1])
    if column.valid is None or column.valid.all():
        return None
    width = np.dtype(WIRE_TYPES[column.pg_type]).itemsize
    return np.broadcast_to(~column.valid[:, None], (len(column.valid), width))


def _missing_elements(lengths: NDArray[np.int64], width: int) -> NDArray[np.bool_] | None:
    if width and (lengths == width).all():
        return None
    missing = np.zeros((len(lengths), _ARRAY_HEAD + _ELEMENT * width), dtype=bool)
    missing[:, _ARRAY_HEAD - 8 : _ARRAY_HEAD] = (lengths == 0)[:, None]
    beyond = np.arange(width) >= lengths[:, None]
    missing[:, _ARRAY_HEAD:] = np.repeat(beyond, _ELEMENT, axis=1)
    return missing
