"""One migration at a time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

_KEY: Final = "hashtextextended('datalayer.migration ' || current_schema(), 0)"


@asynccontextmanager
async def alone(engine: AsyncEngine) -> AsyncIterator[None]:
    """Hold the lock of all migrations; the server frees it if this process dies.

    Raises:
        InvalidInputError: another migration is at work.
        DatabaseError: the server refuses, or the connection is lost.
    """
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        with driver_errors_translated():
            if not (await conn.execute(text(f"SELECT pg_try_advisory_lock({_KEY})"))).scalar_one():
                hint = "another migration is at work on this database; wait until it has ended"
                raise InvalidInputError("database", "busy", hint)
        try:
            yield
        except BaseException:
            await conn.invalidate()  # whatever state it is in, closing it frees the lock
            raise
        await conn.execute(text(f"SELECT pg_advisory_unlock({_KEY})"))
