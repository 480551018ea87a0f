"""Sets of rows side by side: which are in both, and which of those say the same. And as bytes, to undo a write with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from datalayer.db.copy_columns import Column
from datalayer.db.copy_decode import decode_copy
from datalayer.db.copy_encode import encode_copy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from datalayer.db.copy_columns import PgType
    from datalayer.rollout.record_kinds import RecordKind

Rows: TypeAlias = dict[str, Column]
"""Columns by name, of equal length; what is NULL is -1."""

_SIZE_BYTES: Final = 8
_CODEC: Final = "zstd"


def row_count(rows: Rows) -> int:
    """Return the number of rows."""
    return len(next(iter(rows.values())).data)


def picked(rows: Rows, selection: slice | NDArray[Any]) -> Rows:
    """Return some of the rows."""
    return {name: column.rows(selection) for name, column in rows.items()}


def common(ours: Rows, theirs: Rows, key: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of rows that are in both, by key: in ours and in theirs, ascending by key.

    Args:
        ours: each key once.
        theirs: likewise.
        key: names of the columns of the key.
    """
    count = row_count(ours)
    values = [np.concatenate([ours[name].data, theirs[name].data]) for name in key]
    order = np.lexsort((np.arange(len(values[0])), *reversed(values)))
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for column in values:
        same &= column[order][1:] == column[order][:-1]
    places = np.flatnonzero(same)
    return order[places], order[places + 1] - count


def differing(kind: RecordKind, ours: Rows, theirs: Rows) -> dict[str, NDArray[np.bool_]]:
    """Tell by column which rows say something else; both have the same keys in the same order.

    A value that ours leaves open, and that is kept then, differs from nothing.
    """
    differ = {name: _differ(ours[name], theirs[name]) for name in kind.values}
    for name in kind.target.kept_if_null:
        differ[name] &= ours[name].data != -1
    return differ


def any_differs(differ: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Tell which rows differ in any column."""
    some: NDArray[np.bool_] = np.logical_or.reduce(list(differ.values()))
    return some


def packed(rows: Rows) -> bytes | None:
    """Return rows as bytes; None if there are none."""
    if not row_count(rows):
        return None
    stream = b"".join(encode_copy(list(rows.values())))
    return len(stream).to_bytes(_SIZE_BYTES) + pa.compress(stream, codec=_CODEC, asbytes=True)


def unpacked_stream(data: bytes) -> bytes:
    """Return the binary COPY stream of packed rows."""
    size = int.from_bytes(data[:_SIZE_BYTES])
    stream: bytes = pa.decompress(data[_SIZE_BYTES:], decompressed_size=size, codec=_CODEC, asbytes=True)
    return stream


def unpacked(data: bytes, types: Mapping[str, PgType]) -> Rows:
    """Return packed rows."""
    return decode_copy(unpacked_stream(data), types)


def _differ(ours: Column, theirs: Column) -> NDArray[np.bool_]:
    if ours.lengths is None or theirs.lengths is None:
        differ: NDArray[np.bool_] = ours.data != theirs.data
        return differ
    width = max(ours.data.shape[1], theirs.data.shape[1])
    levels_differ = (_padded(ours, width) != _padded(theirs, width)).any(axis=1)
    return np.asarray((ours.lengths != theirs.lengths) | levels_differ)


def _padded(column: Column, width: int) -> NDArray[np.int64]:
    """Return levels with zeros after the last of each row."""
    values = np.zeros((len(column.data), width), np.int64)
    values[:, : column.data.shape[1]] = column.data
    assert column.lengths is not None  # noqa: S101 (an array column has them)
    values[np.arange(width) >= column.lengths[:, None]] = 0
    return values
