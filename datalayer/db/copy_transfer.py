"""Binary COPY through a SQLAlchemy connection, inside the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datalayer.db.copy_decode import decode_copy
from datalayer.db.copy_encode import ROWS_PER_PIECE, encode_copy
from datalayer.db.driver_errors import driver_operation
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import Column, PgType


async def driver_connection(conn: AsyncConnection) -> Any:
    """Return the asyncpg connection under `conn`, inside the transaction that `conn` is in.

    SQLAlchemy sends BEGIN with its first statement only; what goes to the driver before that would commit by itself.

    Raises:
        InvalidInputError: `conn` is in autocommit mode.
        DatabaseError: the transaction cannot begin.
    """
    async with driver_operation(conn):
        driver: Any = (await conn.get_raw_connection()).driver_connection
        if not driver.is_in_transaction():
            await conn.exec_driver_sql("SELECT 1")
    if not driver.is_in_transaction():
        raise InvalidInputError(
            "conn", "autocommit", "open a transaction, as in `async with engine.begin() as conn`"
        )
    return driver


async def copy_in(
    conn: AsyncConnection,
    table: str,
    columns: Sequence[Column],
    *,
    schema: str | None = None,
    rows_per_piece: int = ROWS_PER_PIECE,
) -> None:
    """Append rows to a table; a key that is stored already refuses them all.

    Args:
        conn: connection inside the caller's transaction, which is aborted when this raises.
        table: name of the table, unquoted; found by the search path unless `schema` is given.
        columns: the columns to write; the others take their defaults.
        schema: schema of the table.
        rows_per_piece: rows encoded and sent at a time.

    Raises:
        DatabaseError: the server refuses a row, or the connection is lost.
        InvalidInputError: a column is malformed, or `conn` is in autocommit mode.
    """
    driver = await driver_connection(conn)
    async with driver_operation(conn):
        await driver.copy_to_table(
            table,
            schema_name=schema,
            columns=[column.name for column in columns],
            source=_pieces(columns, rows_per_piece),
            format="binary",
        )


async def copy_out(conn: AsyncConnection, query: str, types: Mapping[str, PgType]) -> dict[str, Column]:
    """Read the result of a query by columns.

    Args:
        conn: connection inside the caller's transaction.
        query: a SELECT. COPY takes no bound parameters, so values must be literals made by `datalayer.db.literals`.
        types: names and types of the query's columns in their order; no NULLs; `int8[]` last.

    Returns:
        Columns by name, as from `decode_copy`.

    Raises:
        DatabaseError: the server refuses the query, or its result is not as `types` says.
    """
    driver = await driver_connection(conn)
    stream = bytearray()

    async def gather(data: bytes) -> None:
        stream.extend(data)

    async with driver_operation(conn):
        await driver.copy_from_query(query, output=gather, format="binary")
    return decode_copy(stream, types)


async def _pieces(columns: Sequence[Column], rows_per_piece: int) -> AsyncIterator[bytes]:
    for piece in encode_copy(columns, rows_per_piece=rows_per_piece):
        yield piece
