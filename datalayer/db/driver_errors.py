"""Errors of the driver as errors of this library, decided by SQLSTATE."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
from sqlalchemy.exc import DBAPIError

from datalayer.db.sqlstate import UNAVAILABLE, advised, connection_is_unusable, reason_of, sqlstate_of
from datalayer.errors import DatabaseError, DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

# InternalClientError is what asyncpg makes of a COPY on a connection that is just being closed.
_DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@contextmanager
def database_errors_translated() -> Iterator[None]:
    """Raise what asyncpg or SQLAlchemy raise inside as errors of this library, with the original as the cause.

    Errors of the operating system pass: they may be of files.

    Raises:
        DatabaseUnavailableError: the connection is gone, or the server takes none.
        DatabaseError: anything else; carries the SQLSTATE, and names the constraint that refused.
    """
    try:
        yield
    except DBAPIError as exc:
        raise _translated(exc, reason_of(exc), sqlstate_of(exc)) from exc
    except _DRIVER_ERRORS as exc:
        raise _translated(exc, str(exc) or type(exc).__name__, getattr(exc, "sqlstate", None)) from exc


@contextmanager
def driver_errors_translated() -> Iterator[None]:
    """Do as `database_errors_translated` for what does nothing but talk to the server: a broken network is its too.

    Raises:
        DatabaseUnavailableError: the connection is gone, or the server takes none.
        DatabaseError: anything else; carries the SQLSTATE, and names the constraint that refused.
    """
    try:
        with database_errors_translated():
            yield
    except OSError as exc:
        raise network_error(exc) from exc


@asynccontextmanager
async def driver_operation(conn: AsyncConnection) -> AsyncIterator[None]:
    """Do as `driver_errors_translated` for what is done with the driver under SQLAlchemy.

    A connection that is gone, that refuses writes, or whose operation was cancelled half-way, is thrown away: SQLAlchemy
    does not see what happens in the driver, would send ROLLBACK into it, and that error would hide the first one.

    Args:
        conn: the connection whose driver is used inside.

    Raises:
        DatabaseUnavailableError: the connection is gone, or the server takes none.
        DatabaseError: anything else; carries the SQLSTATE, and names the constraint that refused.
    """
    try:
        with driver_errors_translated():
            yield
    except asyncio.CancelledError:
        await conn.invalidate()
        raise
    except DatabaseError as exc:
        if isinstance(exc, DatabaseUnavailableError) or connection_is_unusable(exc.sqlstate):
            await conn.invalidate()
        raise


def network_error(exc: OSError) -> DatabaseUnavailableError:
    """Return an error of the operating system, a timeout among them, as one of this library."""
    return DatabaseUnavailableError(str(exc) or "the server did not answer in time")


def _translated(exc: Exception, reason: str, sqlstate: str | None) -> DatabaseError:
    original = getattr(getattr(exc, "orig", None), "__cause__", None) or exc
    constraint: str | None = getattr(original, "constraint_name", None)
    message = reason if not constraint or constraint in reason else f"{reason} (constraint {constraint})"
    message = advised(message, sqlstate)
    if sqlstate.startswith(UNAVAILABLE) if sqlstate else _lost(exc, original):
        return DatabaseUnavailableError(message, sqlstate)
    return DatabaseError(message, sqlstate)


def _lost(exc: Exception, original: BaseException) -> bool:
    """Return whether an error without SQLSTATE is one of the connection, and none of how it was used."""
    if isinstance(exc, DBAPIError) and exc.statement is not None:
        return exc.connection_invalidated
    return not isinstance(original, ValueError)
