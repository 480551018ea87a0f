"""Which database the demo uses, and the schema in it that is the demo's own."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.config import EMBEDDED_MEMORY_URL, EMBEDDED_SCHEME, Settings, embedded_address, redact
from datalayer.db.server_gate import check_server
from datalayer.embedded.url import embedded_folder
from datalayer.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

SCHEMA: Final = "datalayer_demo"
MARKER: Final = "datalayer demo: made by `datalayer demo`, removed by `datalayer demo --drop`"

_COMMENT = text(
    "SELECT COALESCE(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = :schema"
)


def demo_settings(settings: Settings, folder: Path | None) -> Settings:
    """Return settings that name the demo's database and schema.

    Args:
        settings: as configured.
        folder: of a persistent embedded database; it wins over a configured address. None: the configured address,
            else an embedded database in memory.
    """
    address = None if folder is None else embedded_address(folder)
    if address is None and settings.database_url is None:
        address = EMBEDDED_MEMORY_URL
    return settings.model_copy(update={"database_schema": SCHEMA}).for_interactive_use(address)


def describe_place(settings: Settings) -> str:
    """Return where the demo's data goes, in one sentence without secrets."""
    url = settings.require_url()
    if url.drivername != EMBEDDED_SCHEME:
        return f"the server at {redact(url)}, schema {SCHEMA}"
    folder = embedded_folder(url)
    where = "in memory, gone at the end" if folder is None else f"in {folder}"
    return (
        f"an embedded TimescaleDB {where}; it serves one machine and one developer, production wants a server "
        "(DATALAYER_DATABASE_URL)"
    )


def removal_hint(settings: Settings) -> str | None:
    """Return how to remove what the demo leaves, or None where nothing stays."""
    url = settings.require_url()
    if url.drivername != EMBEDDED_SCHEME:
        return f"The data stays in schema {SCHEMA}; `datalayer demo --drop` removes it."
    folder = embedded_folder(url)
    return (
        None
        if folder is None
        else f"The data stays in {folder}; `datalayer demo --drop --path {quote(str(folder))}` removes it."
    )


async def claim_schema(engine: AsyncEngine) -> bool:
    """Create the demo's schema, or take up the one that an earlier run left.

    Returns:
        True if it was there already.

    Raises:
        ConfigurationError: there is a schema of this name that the demo did not make; nothing was changed.
        UnsupportedServerError: the server will not do; nothing was changed.
    """
    async with engine.connect() as conn:
        await conn.run_sync(check_server)
    async with engine.begin() as conn:
        if await _is_ours(conn):
            return True
        await conn.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        await conn.execute(text(f"COMMENT ON SCHEMA {SCHEMA} IS '{MARKER}'"))
    return False


async def drop_schema(engine: AsyncEngine) -> bool:
    """Remove the demo's schema with all data in it.

    Returns:
        False if there was none.

    Raises:
        ConfigurationError: there is a schema of this name that the demo did not make; it stays.
    """
    async with engine.begin() as conn:
        if not await _is_ours(conn):
            return False
        await conn.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
    return True


async def _is_ours(conn: AsyncConnection) -> bool:
    comment = await conn.scalar(_COMMENT, {"schema": SCHEMA})
    if comment is None or comment == MARKER:
        return comment is not None
    msg = f"the schema {SCHEMA} of this database was not made by the demo and is left alone; rename it, or use another database"
    raise ConfigurationError(msg)
