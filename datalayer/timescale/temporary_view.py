"""A definition as a view that exists for a moment, for the server to read it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from datalayer.timescale.quoting import statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

_NAME: Final = "datalayer_timescale_view"
_WRONG_DEFINITION: Final = "42"
_NOT_ALLOWED: Final = "42501"


@contextmanager
def temporary_view(connection: Connection, definition: str) -> Iterator[str | None]:
    """Give the name of a view of `definition`; None: it reads what is not there. Nothing of it stays.

    Raises:
        DBAPIError: the server makes no view at all: it is read-only, or the role may not make temporary ones.
    """
    transaction = connection.begin_nested()
    try:
        connection.execute(statement(f"CREATE TEMPORARY VIEW {_NAME} AS {definition}"))
    except DBAPIError as exc:
        transaction.rollback()
        sqlstate = getattr(exc.orig, "sqlstate", None) or ""
        if not sqlstate.startswith(_WRONG_DEFINITION) or sqlstate == _NOT_ALLOWED:
            raise
        yield None
        return
    try:
        yield f"pg_temp.{_NAME}"
    finally:
        transaction.rollback()
