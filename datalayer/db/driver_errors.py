"""Errors of the driver as errors of this library, decided by SQLSTATE."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
from sqlalchemy.exc import DBAPIError

from datalayer.db.sqlstate import reason_of, sqlstate_of
from datalayer.errors import DatabaseError, DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

# Connection exceptions, the server shutting down or starting, too many connections.
_UNAVAILABLE: Final = ("08", "57P01", "57P02", "57P03", "53300")
# InternalClientError is what asyncpg makes of a COPY on a connection that is just being closed.
_CLIENT_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


@contextmanager
def driver_errors_translated() -> Iterator[None]:
    """Raise what asyncpg or SQLAlchemy raise inside as errors of this library, with the original as the cause.

    Raises:
        DatabaseUnavailableError: the connection is gone, or the server takes none.
        DatabaseError: anything else; carries the SQLSTATE, and names the constraint that refused.
    """
    try:
        yield
    except DBAPIError as exc:
        raise _translated(exc, reason_of(exc), sqlstate_of(exc)) from exc
    except (asyncpg.PostgresError, *_CLIENT_ERRORS) as exc:
        raise _translated(exc, str(exc) or type(exc).__name__, getattr(exc, "sqlstate", None)) from exc


@asynccontextmanager
async def driver_operation(conn: AsyncConnection) -> AsyncIterator[None]:
    """Do as `driver_errors_translated` for what is done with the driver under SQLAlchemy.

    A connection that is gone, or whose operation was cancelled half-way, is thrown away: SQLAlchemy does not see what
    happens in the driver, would send ROLLBACK into it, and that error would hide the first one.

    Args:
        conn: the connection whose driver is used inside.

    Raises:
        DatabaseUnavailableError: the connection is gone, or the server takes none.
        DatabaseError: anything else; carries the SQLSTATE, and names the constraint that refused.
    """
    try:
        with driver_errors_translated():
            yield
    except (DatabaseUnavailableError, asyncio.CancelledError):
        await conn.invalidate()
        raise


def _translated(exc: Exception, reason: str, sqlstate: str | None) -> DatabaseError:
    original = getattr(getattr(exc, "orig", None), "__cause__", None) or exc
    constraint: str | None = getattr(original, "constraint_name", None)
    message = reason if not constraint or constraint in reason else f"{reason} (constraint {constraint})"
    if sqlstate is None or sqlstate.startswith(_UNAVAILABLE):
        return DatabaseUnavailableError(message, sqlstate)
    return DatabaseError(message, sqlstate)
