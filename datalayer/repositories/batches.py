"""The rows of one write: in the order of their key, each key once, then stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from datalayer.db.direct_write import copy_into_empty_range
from datalayer.db.staged_write import write_staged
from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import Column, PgType
    from datalayer.db.staged_write import WriteTarget


async def write_batch(
    conn: AsyncConnection,
    target: WriteTarget,
    columns: Sequence[Column],
    constants: Mapping[str, tuple[PgType, int]],
) -> WriteCounts:
    """Write rows in any order; those that repeat another entirely count as unchanged.

    Args:
        conn: connection inside the caller's transaction.
        target: where to.
        columns: the columns that differ from row to row, at least one row.
        constants: the columns that are the same in every row: name, type and value.

    Raises:
        InvalidInputError: two rows have the same key and different values. Nothing is written.
        DatabaseError: the server refuses; the transaction is aborted.
    """
    kept = unique_by_key(columns, [name for name in target.key if name not in constants])
    counts = await copy_into_empty_range(conn, target, kept, constants)
    if counts is None:
        counts = await write_staged(conn, target, kept, constants)
    return counts + WriteCounts(unchanged=len(columns[0].data) - len(kept[0].data))


def unique_by_key(columns: Sequence[Column], key: Sequence[str]) -> list[Column]:
    """Return the rows ascending by key; rows that repeat another entirely are left out.

    Raises:
        InvalidInputError: two rows have the same key and different values, so one of them must be wrong; names the key
            and the column in which they differ.
    """
    key_values = [column.data for column in columns if column.name in key]
    ordered = (
        [column.rows(order) for column in columns]
        if (order := _order(key_values)) is not None
        else [*columns]
    )
    repeats = _repeats([column.data for column in ordered if column.name in key])
    if not repeats.any():
        return ordered
    for column in ordered:
        differs = repeats & _differs(column)
        if differs.any():
            row = int(np.argmax(differs)) + 1
            named = ", ".join(f"{other.name}={other.data[row]}" for other in ordered if other.name in key)
            pair = [_value(column, row - 1), _value(column, row)]
            raise InvalidInputError(
                column.name, pair, f"two rows with the same key {named} differ; keep the right one"
            )
    first = np.concatenate([[True], ~repeats])
    return [column.rows(first) for column in ordered]


def _order(key: Sequence[NDArray[Any]]) -> NDArray[np.int64] | None:
    """Return the row numbers in order of the key, or None when they are in order already."""
    if len(key) == 1 and (key[0][1:] >= key[0][:-1]).all():
        return None
    return np.lexsort(tuple(reversed(key)))


def _repeats(key: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Tell of each row but the first whether its key is that of the row before it."""
    equal: NDArray[np.bool_] = np.ones(max(len(key[0]) - 1, 0), dtype=bool)
    for values in key:
        equal &= values[1:] == values[:-1]
    return equal


def _differs(column: Column) -> NDArray[np.bool_]:
    """Tell of each row but the first whether its value differs from that of the row before it."""
    values, valid, lengths = column.data, column.valid, column.lengths
    same: NDArray[np.bool_] = values[1:] == values[:-1]
    if lengths is not None:
        beyond = np.arange(values.shape[1]) >= lengths[1:, None]
        same = np.equal(lengths[1:], lengths[:-1]) & np.all(same | beyond, axis=1)
    if valid is not None:
        same = np.where(valid[1:] & valid[:-1], same, valid[1:] == valid[:-1])
    return ~same


def _value(column: Column, row: int) -> object:
    if column.lengths is not None:
        return column.data[row, : column.lengths[row]].tolist()
    return None if column.valid is not None and not column.valid[row] else column.data[row].item()
