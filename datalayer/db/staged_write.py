"""Idempotent bulk write: binary COPY into a temporary table, then one upsert from there.

Rows that are stored already with the same values are left out of the upsert by a join. They are then neither locked nor
rewritten, and compressed chunks in which nothing changes are not decompressed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from zlib import crc32

import numpy as np

from datalayer.db.copy_transfer import copy_in, driver_connection
from datalayer.db.dirty_ranges import late_edge_sql, record_late
from datalayer.db.driver_errors import driver_operation
from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import ConflictError, DatabaseError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.aggregates import Family
    from datalayer.db.copy_columns import Column, PgType

OnConflict: TypeAlias = Literal["update", "ignore", "error"]
"""What happens to a row whose key is stored: its values replace the stored ones, it is passed over, or, where it says
something else than the stored one, everything is refused."""

UNIQUE_VIOLATION: Final = "23505"

# Bounds the memory of a batch and the time that its encoding holds the event loop; larger ones are no faster.
ROWS_PER_BATCH: Final = 10_000

SQL_TYPES: Final[dict[PgType, str]] = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float8": "double precision",
    "timestamptz": "timestamptz",
    "int8[]": "bigint[]",
}


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """A hypertable and how rows meet those that it holds.

    Attributes:
        table: its name, found by the search path.
        time: its time column.
        key: columns of its primary key.
        equal_key: what happens to a row whose key is stored, if the caller does not say.
        kept_if_null: columns in which a new NULL does not replace a stored value.
        rolled_up: the family of aggregates that reads the rows; those that it may not show yet are recorded as dirty
            ranges. None: no aggregate reads them.
    """

    table: str
    time: str
    key: tuple[str, ...]
    equal_key: OnConflict
    kept_if_null: frozenset[str] = frozenset()
    rolled_up: Family | None = None

    def resolving(self, on_conflict: OnConflict | None) -> WriteTarget:
        """Return the target with another answer to stored keys; None: its own.

        Raises:
            InvalidInputError: there is no such policy.
        """
        if on_conflict not in {None, "update", "ignore", "error"}:
            raise InvalidInputError("on_conflict", on_conflict, "use one of update, ignore, error")
        return self if on_conflict is None else replace(self, equal_key=on_conflict)


async def write_staged(
    conn: AsyncConnection,
    target: WriteTarget,
    columns: Sequence[Column],
    constants: Mapping[str, tuple[PgType, int]],
) -> WriteCounts:
    """Write rows; repeating the write changes nothing.

    Args:
        conn: connection inside the caller's transaction, which is aborted when this raises.
        target: where to.
        columns: the columns that differ from row to row, ascending by key, no key twice. Ordered keys keep two writers
            of the same rows from waiting for each other.
        constants: the columns that are the same in every row: name, type and value.

    Returns:
        Exact counts, also beside concurrent writers of the same keys and into compressed chunks.

    Raises:
        ConflictError: a stored row says something else, and the target wants that refused.
        DatabaseError: the server refuses a row, or the connection is lost.
        InvalidInputError: `conn` is in autocommit mode, or a time is not in the years 1 to 9999.
    """
    batches = [
        [column.rows(slice(start, start + ROWS_PER_BATCH)) for column in columns]
        for start in range(0, len(columns[0].data), ROWS_PER_BATCH)
    ]
    ends = [time_bounds(target.time, batch) for batch in batches]
    driver = await driver_connection(conn)
    # Named by its definition, since it outlives transactions: after an upgrade, or on a connection shared by a pooler
    # or by the embedded server, a table of another shape may be there.
    definition = ", ".join(f'"{column.name}" {SQL_TYPES[column.pg_type]}' for column in columns)
    staging = f"staging_{target.table}_{crc32(definition.encode()):08x}"
    names = [column.name for column in columns]
    groups = [column for column in columns if column.name in target.key[: target.key.index(target.time)]]
    same_key = _same_key(target, constants, groups)
    upsert = _upsert_sql(target, staging, names, constants, same_key)
    conflict = _conflict_sql(target, staging, names, same_key) if target.equal_key == "error" else None
    values = [value for _, value in constants.values()]
    counts = WriteCounts()
    for batch, times in zip(batches, ends, strict=True):
        arguments = [*values, *times, *_distinct(batch, groups)]
        async with driver_operation(conn):
            await driver.execute(_prepare_sql(staging, definition))
        await copy_in(conn, staging, batch, schema="pg_temp")
        if conflict is not None:
            async with driver_operation(conn):
                _refuse_conflict(target, await driver.fetchrow(conflict, *arguments))
        try:
            async with driver_operation(conn):
                row = await driver.fetchrow(upsert, *arguments)
        except DatabaseError as exc:
            raise _conflict_of(target, exc) or exc from exc.__cause__
        if target.rolled_up is not None and row["first_late"] is not None:
            times_of_batch = times_of(target.time, batch)
            await record_late(conn, target.rolled_up, times_of_batch, row["first_late"], row["last_late"])
        unchanged = len(batch[0].data) - row["inserted"] - row["updated"]
        counts += WriteCounts(row["inserted"], row["updated"], unchanged)
    return counts


def time_bounds(name: str, batch: Sequence[Column]) -> tuple[datetime, datetime]:
    """Return the first and the last time of rows, aware.

    Args:
        name: of the time column.
        batch: the columns, at least one row.

    Raises:
        InvalidInputError: a time is not in the years 1 to 9999.
    """
    times = times_of(name, batch)
    first, last = times.min().item(), times.max().item()
    # Beyond what datetime holds numpy gives integers. Nobody could ask for such rows, and none is meant: a unit is wrong.
    if not (isinstance(first, datetime) and isinstance(last, datetime)):
        raise InvalidInputError(
            name, [str(times.min()), str(times.max())], "first and last time must be in the years 1 to 9999"
        )
    return first.replace(tzinfo=UTC), last.replace(tzinfo=UTC)


def times_of(name: str, batch: Sequence[Column]) -> NDArray[np.datetime64]:
    """Return the times of rows, as they come.

    Args:
        name: of the time column.
        batch: the columns.
    """
    return next(column.data for column in batch if column.name == name)


def _prepare_sql(staging: str, definition: str) -> str:
    # Kept across transactions: creating it anew each time costs 1.5 ms. TimescaleDB's limit on decompressed rows is for
    # statements that touch more than they know; a batch is bounded anyway.
    return f"""
        SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0;
        CREATE TEMPORARY TABLE IF NOT EXISTS {staging} ({definition}) ON COMMIT DELETE ROWS;
        TRUNCATE pg_temp.{staging}
    """


def _distinct(batch: Sequence[Column], groups: Sequence[Column]) -> list[list[int]]:
    names = [column.name for column in groups]
    return [np.unique(column.data).tolist() for column in batch if column.name in names]


def _upsert_sql(
    target: WriteTarget,
    staging: str,
    columns: Sequence[str],
    constants: Mapping[str, tuple[PgType, int]],
    same_key: str,
) -> str:
    parameter = _parameters(constants)
    all_columns = [*constants, *columns]
    values = [name for name in columns if name not in target.key]
    return f"""
        WITH written AS (
            INSERT INTO {target.table} AS stored ({", ".join(all_columns)})
            SELECT {", ".join(parameter.get(name, "s." + name) for name in all_columns)}
            FROM pg_temp.{staging} AS s
            LEFT JOIN {target.table} AS stored ON {same_key}
            WHERE stored.{target.time} IS NULL {_or_changed(target, values)}
            ORDER BY {", ".join("s." + name for name in target.key if name not in constants)}
            {_on_conflict(target, values)}
            RETURNING xmax = 0 AS is_new, stored.{target.time} AS moment
        )
        SELECT count(*) FILTER (WHERE is_new) AS inserted, count(*) FILTER (WHERE NOT is_new) AS updated{_late(target)}
        FROM written
    """


def _conflict_sql(target: WriteTarget, staging: str, columns: Sequence[str], same_key: str) -> str:
    values = [name for name in columns if name not in target.key]
    return f"""
        SELECT {", ".join("stored." + name for name in target.key)}
        FROM pg_temp.{staging} AS s JOIN {target.table} AS stored ON {same_key}
        WHERE {_changed(target, values, "s")}
        ORDER BY {", ".join("stored." + name for name in target.key)} LIMIT 1
    """


def _parameters(constants: Mapping[str, tuple[PgType, int]]) -> dict[str, str]:
    return {
        name: f"${n}::{SQL_TYPES[pg_type]}" for n, (name, (pg_type, _)) in enumerate(constants.items(), 1)
    }


def _same_key(
    target: WriteTarget, constants: Mapping[str, tuple[PgType, int]], groups: Sequence[Column]
) -> str:
    # Where rows of several instruments come together, a range of time alone would read all of the chunk.
    parameter = _parameters(constants)
    same = [f"stored.{name} = {parameter.get(name, 's.' + name)}" for name in target.key]
    earliest, latest = (f"${len(constants) + n}::timestamptz" for n in (1, 2))
    among = [
        f"stored.{column.name} = ANY (${len(constants) + n}::{SQL_TYPES[column.pg_type]}[])"
        for n, column in enumerate(groups, 3)
    ]
    return " AND ".join([*same, *among, f"stored.{target.time} BETWEEN {earliest} AND {latest}"])


def _refuse_conflict(target: WriteTarget, row: Mapping[str, Any] | None) -> None:
    if row is not None:
        raise ConflictError(target.table, dict(row), _CONFLICT)


def _conflict_of(target: WriteTarget, error: DatabaseError) -> ConflictError | None:
    """Return the conflict with a row that another writer committed just now; its key is in the server's detail."""
    if target.equal_key != "error" or error.sqlstate != UNIQUE_VIOLATION:
        return None
    return ConflictError(target.table, {"key": getattr(error.__cause__, "detail", None)}, _CONFLICT)


_CONFLICT: Final = (
    "stored with other values; write with on_conflict='update' or 'ignore', or find out which is right"
)


def _late(target: WriteTarget) -> str:
    if target.rolled_up is None:
        return ""
    is_late = f"moment < (SELECT {late_edge_sql(target.rolled_up)})"
    return ", " + ", ".join(
        f"{end}(moment) FILTER (WHERE {is_late}) AS {name}"
        for end, name in (("min", "first_late"), ("max", "last_late"))
    )


def _new_value(target: WriteTarget, name: str, source: str) -> str:
    return f"coalesce({source}.{name}, stored.{name})" if name in target.kept_if_null else f"{source}.{name}"


def _or_changed(target: WriteTarget, values: Sequence[str]) -> str:
    return f"OR {_changed(target, values, 's')}" if target.equal_key == "update" else ""


def _changed(target: WriteTarget, values: Sequence[str], source: str) -> str:
    new = ", ".join(_new_value(target, name, source) for name in values)
    return f"({', '.join('stored.' + name for name in values)}) IS DISTINCT FROM ({new})"


def _on_conflict(target: WriteTarget, values: Sequence[str]) -> str:
    """The row may still be stored by the time it is inserted, by a writer that the join could not see."""
    if target.equal_key == "error":
        return ""
    conflict = f"ON CONFLICT ({', '.join(target.key)})"
    if target.equal_key == "ignore":
        return f"{conflict} DO NOTHING"
    assignments = ", ".join(f"{name} = {_new_value(target, name, 'excluded')}" for name in values)
    return f"{conflict} DO UPDATE SET {assignments} WHERE {_changed(target, values, 'excluded')}"
