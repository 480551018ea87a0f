"""PostgreSQL's binary COPY format to numpy columns.

Columns of fixed width come first in a row and arrays last, so a row is one fixed head and some arrays with a length each.
Where all rows have equal length, the start of every row is known; else one pass over the array lengths finds them. From
there on everything goes by columns.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from datalayer.db.copy_columns import (
    COPY_HEADER,
    COPY_TRAILER,
    INFINITY_US,
    MINUS_INFINITY_US,
    POSTGRES_EPOCH_US,
    WIRE_TYPES,
    Column,
)
from datalayer.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from datalayer.db.copy_columns import PgType

_SIZE: Final = 4
_ARRAY_HEAD: Final = 20
_ELEMENT: Final = 12
_ELEMENT_SIZE: Final = 4
_CUT_OFF: Final = "the COPY stream ends inside a row; the query's columns are not those that were asked for"
_read_size: Final = struct.Struct(">i").unpack_from


def decode_copy(stream: bytes | bytearray, types: Mapping[str, PgType]) -> dict[str, Column]:
    """Return the columns of a stream of `COPY (…) TO STDOUT (FORMAT binary)`.

    Args:
        stream: the whole stream, header and trailer included.
        types: names and types of the query's columns in their order; `int8[]` last.

    Returns:
        Columns by name, in the order of the stream; native byte order; timestamptz as datetime64[us] in UTC.

    Raises:
        DatabaseError: a value is NULL (let the query COALESCE it), a timestamp is infinite, or the stream is of
            another shape than `types`.
    """
    scalars = [name for name, pg_type in types.items() if pg_type != "int8[]"]
    arrays = [name for name, pg_type in types.items() if pg_type == "int8[]"]
    if list(types) != scalars + arrays:
        msg = f"columns of fixed width must come before arrays: {', '.join(types)}"
        raise DatabaseError(msg)
    head = _head_dtype(scalars, types)
    # Framed by bytes, so that an empty stream needs no case of its own and a window never passes the end.
    body = np.frombuffer(stream, np.uint8)[len(COPY_HEADER) : -len(COPY_TRAILER)]
    starts = _row_starts(body, head.itemsize, len(arrays))
    heads = (
        _gather(body, starts, head) if arrays else body[: len(body) - len(body) % head.itemsize].view(head)
    )
    _check_head(heads, scalars, types)
    if not arrays and len(body) % head.itemsize:
        raise DatabaseError(_CUT_OFF)
    columns = {name: Column(name, types[name], _scalar(heads, name, types[name])) for name in scalars}
    position = starts + head.itemsize
    for name in arrays:
        size = _gather(body, position, np.dtype(">i4")).astype(np.int64)
        columns[name] = _array(body, position + _SIZE, size, name)
        position = position + _SIZE + np.maximum(size, 0)
    if arrays and not np.array_equal(position, [*starts[1:], len(body)] if len(starts) else []):
        raise DatabaseError(_CUT_OFF)
    return columns


def _head_dtype(scalars: list[str], types: Mapping[str, PgType]) -> np.dtype[Any]:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name in scalars:
        fields += [(f"size {name}", ">i4"), (name, WIRE_TYPES[types[name]])]
    return np.dtype(fields)


def _row_starts(body: NDArray[np.uint8], head: int, arrays: int) -> NDArray[np.int64]:
    if not len(body):
        return np.zeros(0, np.int64)
    if not arrays:
        return np.arange(0, len(body), head, dtype=np.int64)
    return (
        _equal_starts(body, head, arrays)
        if _rows_are_equal(body, head, arrays)
        else _scan(body, head, arrays)
    )


def _end_of_row(body: Any, start: int, head: int, arrays: int) -> int:
    end = start + head
    for _ in range(arrays):
        if end + _SIZE > len(body):
            raise DatabaseError(_CUT_OFF)
        end += _SIZE + max(_read_size(body, end)[0], 0)
    return end


def _equal_starts(body: NDArray[np.uint8], head: int, arrays: int) -> NDArray[np.int64]:
    return np.arange(0, len(body), _end_of_row(body.data, 0, head, arrays), dtype=np.int64)


def _rows_are_equal(body: NDArray[np.uint8], head: int, arrays: int) -> bool:
    """Tell whether every row has the array lengths of the first."""
    length = _end_of_row(body.data, 0, head, arrays)
    if len(body) % length:
        return False
    rows = body.reshape(-1, length)
    position = head
    for _ in range(arrays):
        sizes = rows[:, position : position + _SIZE]
        if (sizes != sizes[0]).any():
            return False
        position += _SIZE + max(_read_size(body.data, position)[0], 0)
    return True


def _scan(body: NDArray[np.uint8], head: int, arrays: int) -> NDArray[np.int64]:
    """Walk the lengths of the arrays; the only loop over rows, and it touches four bytes an array."""
    view, starts, position = memoryview(body.data), [], 0
    while position < len(body):
        starts.append(position)
        position = _end_of_row(view, position, head, arrays)
    return np.array(starts, dtype=np.int64)


def _gather(body: NDArray[np.uint8], offsets: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the values of `dtype` that begin at `offsets` (of any shape), whatever their alignment."""
    if not offsets.size:
        return np.zeros(offsets.shape, dtype)
    if offsets.min() < 0 or offsets.max() + dtype.itemsize > len(body):
        raise DatabaseError(_CUT_OFF)
    windows = sliding_window_view(body, dtype.itemsize)
    values: NDArray[Any] = windows[offsets].view(dtype)[..., 0]
    return values


def _check_head(heads: NDArray[Any], scalars: list[str], types: Mapping[str, PgType]) -> None:
    if (heads["fields"] != len(types)).any():
        msg = f"the COPY stream has another number of columns than {len(types)}"
        raise DatabaseError(msg)
    for name in scalars:
        size = np.dtype(WIRE_TYPES[types[name]]).itemsize
        wrong = heads[f"size {name}"] != size
        if wrong.any():
            msg = (
                f"{name} is NULL or no {types[name]} in row {int(np.argmax(wrong))}; COALESCE it in the query"
            )
            raise DatabaseError(msg)


def _scalar(heads: NDArray[Any], name: str, pg_type: PgType) -> NDArray[Any]:
    wire = heads[name]
    values: NDArray[Any] = wire.astype(wire.dtype.newbyteorder("="))
    if pg_type != "timestamptz":
        return values
    infinite = (values == INFINITY_US) | (values == MINUS_INFINITY_US)
    if infinite.any():
        msg = f"{name} is infinite in row {int(np.argmax(infinite))}, which is no time of a market"
        raise DatabaseError(msg)
    return (values + POSTGRES_EPOCH_US).view("datetime64[us]")


def _array(body: NDArray[np.uint8], start: NDArray[np.int64], size: NDArray[np.int64], name: str) -> Column:
    lengths = np.maximum(size - _ARRAY_HEAD, 0) // _ELEMENT
    width = int(lengths.max()) if len(lengths) else 0
    present = np.arange(width) < lengths[:, None]
    element = start[:, None] + _ARRAY_HEAD + _ELEMENT * np.arange(width)
    sizes = _gather(body, element[present], np.dtype(">i4"))
    if (size < 0).any() or (sizes != np.dtype(np.int64).itemsize).any():
        msg = f"{name} is NULL or has a NULL element, or is no bigint[]"
        raise DatabaseError(msg)
    values = np.zeros(present.shape, np.int64)
    values[present] = _gather(body, element[present] + _ELEMENT_SIZE, np.dtype(">i8"))
    return Column(name, "int8[]", values, lengths=lengths)
