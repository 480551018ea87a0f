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


@contextmanager
def temporary_view(connection: Connection, definition: str) -> Iterator[str | None]:
    """Give the name of a view of `definition`; None: it reads what is not there. Nothing of it stays."""
    transaction = connection.begin_nested()
    try:
        connection.execute(statement(f"CREATE TEMPORARY VIEW {_NAME} AS {definition}"))
    except DBAPIError:
        transaction.rollback()
        yield None
        return
    try:
        yield f"pg_temp.{_NAME}"
    finally:
        transaction.rollback()
