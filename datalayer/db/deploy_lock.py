"""One deploy at a time: a lock held while the schema of a database is migrated."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from datalayer.errors import MigrationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

_TRY: Final = text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK: Final = text("SELECT pg_advisory_unlock(:key)")
_LOCK_NOT_AVAILABLE: Final = "55P03"
_POLL_S: Final = 0.1


def lock_key(schema: str) -> int:
    """Return the key of the advisory lock for `schema`: a 64-bit signed integer, the same in every release."""
    digest = sha256(f"datalayer migrations of {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


@asynccontextmanager
async def deploy_lock(conn: AsyncConnection, schema: str, wait_s: float) -> AsyncIterator[None]:
    """Hold the session advisory lock on migrating `schema`; it ends with the connection at the latest.

    Asked for again and again rather than waited for: the embedded server's clients share one session, which cannot wait
    for itself.

    Args:
        conn: a connection without an open transaction; it has none inside the block either.
        schema: schema that is migrated.
        wait_s: seconds to wait for another deploy to end.

    Raises:
        MigrationError: another deploy still holds it after `wait_s`.
    """
    key = lock_key(schema)
    deadline = asyncio.get_running_loop().time() + wait_s
    while not await _ask(conn, _TRY, key):
        if asyncio.get_running_loop().time() >= deadline:
            msg = (
                f"another deploy is migrating schema {schema!r} and did not end within {wait_s:g} s; nothing was "
                "changed, try again when it has ended"
            )
            raise MigrationError(msg, _LOCK_NOT_AVAILABLE)
        await asyncio.sleep(_POLL_S)
    try:
        yield
    finally:
        # A connection that broke has lost the lock with it, and its own error is the one to be seen.
        with contextlib.suppress(DBAPIError):
            await conn.rollback()
            await _ask(conn, _UNLOCK, key)


async def _ask(conn: AsyncConnection, question: TextClause, key: int) -> bool:
    answer = await conn.scalar(question, {"key": key})
    await conn.commit()
    return bool(answer)
