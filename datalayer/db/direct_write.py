"""Rows into a range that holds nothing yet: COPY straight into the table, without a staging table and an upsert."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.db.copy_columns import Column
from datalayer.db.copy_transfer import copy_in, driver_connection
from datalayer.db.dirty_ranges import late_edge_sql, record_late
from datalayer.db.driver_errors import driver_operation
from datalayer.db.staged_write import SQL_TYPES, UNIQUE_VIOLATION, time_bounds, times_of
from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.aggregates import Family
    from datalayer.db.copy_columns import PgType
    from datalayer.db.staged_write import WriteTarget

FEWEST_ROWS: Final = 2_000
"""Fewer are not worth the question whether the range is empty."""


async def copy_into_empty_range(
    conn: AsyncConnection,
    target: WriteTarget,
    columns: Sequence[Column],
    constants: Mapping[str, tuple[PgType, int]],
) -> WriteCounts | None:
    """Append rows if nothing is stored from the first to the last of their times.

    That there is nothing is asked first, and proven by the key: a row that somebody commits in between refuses all of the COPY,
    which a savepoint undoes. No lock keeps other writers waiting.

    Args:
        conn: connection inside the caller's transaction.
        target: where to.
        columns: the columns that differ from row to row, ascending by key, no key twice.
        constants: the columns that are the same in every row; they tell whose range it is, so there must be some.

    Returns:
        The counts, or None if something is stored there; then nothing was written.

    Raises:
        DatabaseError: the server refuses a row for another reason, or the connection is lost.
        InvalidInputError: `conn` is in autocommit mode, or a time is not in the years 1 to 9999.
    """
    rows = len(columns[0].data)
    if not constants or rows < FEWEST_ROWS or not await _is_empty(conn, target, columns, constants):
        return None
    same = [
        Column(name, pg_type, np.broadcast_to(np.int64(value), rows))
        for name, (pg_type, value) in constants.items()
    ]
    try:
        async with conn.begin_nested():
            await copy_in(conn, target.table, [*columns, *same])
    except DatabaseError as exc:
        if exc.sqlstate == UNIQUE_VIOLATION:
            return None
        raise
    if target.rolled_up is not None:
        await _record_late(conn, target.rolled_up, times_of(target.time, columns))
    return WriteCounts(inserted=rows)


async def _record_late(conn: AsyncConnection, family: Family, times: NDArray[np.datetime64]) -> None:
    driver = await driver_connection(conn)
    async with driver_operation(conn):
        edge = await driver.fetchval(f"SELECT {late_edge_sql(family)}")
    late = np.sort(times[times < np.datetime64(edge.replace(tzinfo=None), "us")])
    if len(late):
        first, last = (
            moment.replace(tzinfo=UTC) for moment in late[[0, -1]].astype("datetime64[us]").tolist()
        )
        await record_late(conn, family, late, first, last)


async def _is_empty(
    conn: AsyncConnection,
    target: WriteTarget,
    columns: Sequence[Column],
    constants: Mapping[str, tuple[PgType, int]],
) -> bool:
    same = [f"{name} = ${n}::{SQL_TYPES[kind]}" for n, (name, (kind, _)) in enumerate(constants.items(), 1)]
    between = f"{target.time} BETWEEN ${len(same) + 1} AND ${len(same) + 2}"
    # The key is looked for in compressed rows around the range too, in as many as there are.
    unlimited = "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"
    query = f"SELECT NOT EXISTS (SELECT FROM {target.table} WHERE {' AND '.join([*same, between])})"
    values = [value for _, value in constants.values()]
    driver = await driver_connection(conn)
    async with driver_operation(conn):
        await driver.execute(unlimited)
        return bool(await driver.fetchval(query, *values, *time_bounds(target.time, columns)))
