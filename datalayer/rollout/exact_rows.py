"""Rows that are written, changed and taken out only if everything is exactly as expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.db.copy_columns import Column
from datalayer.db.copy_transfer import copy_in, copy_out, driver_connection
from datalayer.db.driver_errors import driver_operation
from datalayer.db.literals import sql_literal
from datalayer.db.staged_write import SQL_TYPES, UNIQUE_VIOLATION, time_bounds
from datalayer.errors import DatabaseError
from datalayer.rollout.row_sets import row_count, unpacked, unpacked_stream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType
    from datalayer.rollout.record_kinds import RecordKind
    from datalayer.rollout.row_sets import Rows

# Whole pieces are touched on purpose; they are bounded.
_UNLIMITED: Final = "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"


@dataclass(frozen=True, slots=True)
class Series:
    """The rows of one instrument in one hypertable; of candles those of one timeframe.

    Attributes:
        conn: connection inside the caller's transaction.
        kind: of the records.
        constants: the columns that are the same in all of them, with type and value.
    """

    conn: AsyncConnection
    kind: RecordKind
    constants: Mapping[str, tuple[PgType, int]]

    async def read(self, first: datetime, last: datetime) -> Rows:
        """Return what is stored from `first` to `last`, both included, ascending by key."""
        query = (
            f"SELECT {self.kind.select} FROM {self.kind.target.table} WHERE {self._mine('')}"
            f" AND {self._between('', first, last)} ORDER BY {', '.join(self.kind.key)}"
        )
        return await copy_out(self.conn, query, self.kind.types)

    async def insert(self, rows: Rows) -> bool:
        """Write rows that are new.

        Returns:
            False: somebody has written one of them meanwhile. Nothing was written then.

        Raises:
            DatabaseError: the server refuses for another reason.
        """
        same = [
            Column(name, pg_type, np.broadcast_to(np.int64(value), row_count(rows)))
            for name, (pg_type, value) in self.constants.items()
        ]
        await self._execute(_UNLIMITED)
        try:
            async with self.conn.begin_nested():
                await copy_in(self.conn, self.kind.target.table, [*self.kind.writable(rows), *same])
        except DatabaseError as exc:
            if exc.sqlstate == UNIQUE_VIOLATION:
                return False
            raise
        return True

    async def delete(self, rows: bytes, factors: Mapping[str, int]) -> int:
        """Take out those rows that are stored just so.

        Args:
            rows: packed.
            factors: by column, what its values are to be multiplied by.

        Returns:
            How many were taken out; the others are gone already, or say something else by now.
        """
        between = await self._stage("taken_out", rows)
        table = self.kind.target.table
        return await self._execute(f"""
            DELETE FROM {table} AS stored USING pg_temp.taken_out AS was
            WHERE {self._mine("stored.")} AND {between} AND {self._same("was", factors)}
        """)

    async def replace(self, before: bytes, after: bytes, factors: Mapping[str, int]) -> int:
        """Give rows that are stored just as in `before` the values of `after`.

        Args:
            before: packed.
            after: packed, with the same keys.
            factors: by column, what the values of both are to be multiplied by.

        Returns:
            How many were changed; the others are gone, or say something else by now.
        """
        between = await self._stage("was", before)
        await self._stage("becomes", after)
        values = ", ".join(f"{name} = {self._value('becomes', name, factors)}" for name in self.kind.values)
        keys = " AND ".join(f"becomes.{name} = was.{name}" for name in self.kind.key)
        return await self._execute(f"""
            UPDATE {self.kind.target.table} AS stored SET {values}
            FROM pg_temp.was AS was JOIN pg_temp.becomes AS becomes ON {keys}
            WHERE {self._mine("stored.")} AND {between} AND {self._same("was", factors)}
        """)

    async def _stage(self, name: str, packed_rows: bytes) -> str:
        """Put rows into a temporary table, and return the condition of their times on `stored`."""
        types = self.kind.types
        times = [unpacked(packed_rows, types)[self.kind.target.time]]
        definition = ", ".join(f"{column} {SQL_TYPES[kind]}" for column, kind in types.items())
        await self._execute(f"DROP TABLE IF EXISTS pg_temp.{name}")
        await self._execute(f"CREATE TEMPORARY TABLE {name} ({definition}) ON COMMIT DROP")
        driver = await driver_connection(self.conn)
        async with driver_operation(self.conn):
            await driver.copy_to_table(
                name, schema_name="pg_temp", columns=list(types), source=_once(packed_rows), format="binary"
            )
        await self._execute(f"ANALYZE pg_temp.{name}")
        await self._execute(_UNLIMITED)
        return self._between("stored.", *time_bounds(self.kind.target.time, times))

    def _mine(self, prefix: str) -> str:
        return " AND ".join(
            f"{prefix}{name} = {sql_literal(value)}" for name, (_, value) in self.constants.items()
        )

    def _between(self, prefix: str, first: datetime, last: datetime) -> str:
        return f"{prefix}{self.kind.target.time} BETWEEN {sql_literal(first)} AND {sql_literal(last)}"

    def _same(self, alias: str, factors: Mapping[str, int]) -> str:
        keys = [f"stored.{name} = {alias}.{name}" for name in self.kind.key]
        stored = ", ".join(f"stored.{name}" for name in self.kind.values)
        values = ", ".join(self._value(alias, name, factors) for name in self.kind.values)
        return " AND ".join([*keys, f"({stored}) IS NOT DISTINCT FROM ({values})"])

    def _value(self, alias: str, name: str, factors: Mapping[str, int]) -> str:
        known = f"nullif({alias}.{name}, -1)" if name in self.kind.nullable else f"{alias}.{name}"
        factor = sql_literal(factors.get(name, 1))
        if factor == "1":
            return known
        if self.kind.types[name] == "int8[]":
            return f"ARRAY(SELECT level * {factor} FROM unnest({known}) WITH ORDINALITY AS l (level, n) ORDER BY n)"
        return f"{known} * {factor}"

    async def _execute(self, statement: str) -> int:
        driver = await driver_connection(self.conn)
        async with driver_operation(self.conn):
            status: str = await driver.execute(statement)
        return int(status.rpartition(" ")[2]) if status.startswith(("DELETE", "UPDATE")) else 0


async def _once(packed_rows: bytes) -> Any:
    yield unpacked_stream(packed_rows)
