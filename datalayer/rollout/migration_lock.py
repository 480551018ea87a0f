"""One migration at a time; and nobody goes back while files are put away."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

Work = Literal["migration", "rollout"]


@asynccontextmanager
async def alone(engine: AsyncEngine, work: Work = "migration") -> AsyncIterator[None]:
    """Hold the lock of all migrations, or of the switch; the server frees it if this process dies.

    Raises:
        InvalidInputError: another one is at work.
        DatabaseError: the server refuses, or the connection is lost.
    """
    key = f"hashtextextended('datalayer.{work} ' || current_schema(), 0)"
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        with driver_errors_translated():
            if not (await conn.execute(text(f"SELECT pg_try_advisory_lock({key})"))).scalar_one():
                hint = f"another {work} is at work on this database; wait until it has ended"
                raise InvalidInputError("database", "busy", hint)
        try:
            yield
        except BaseException:
            await conn.invalidate()  # whatever state it is in, closing it frees the lock
            raise
        await conn.execute(text(f"SELECT pg_advisory_unlock({key})"))
