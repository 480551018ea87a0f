"""The engine and its pool, for a server or for the embedded database."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from datalayer.config import EMBEDDED_SCHEME, Settings, redact
from datalayer.db.driver_errors import driver_errors_translated
from datalayer.embedded import EmbeddedTimescale
from datalayer.embedded.url import embedded_folder
from datalayer.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError
from datalayer.timescale.quoting import identifier

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

logger = logging.getLogger(__name__)


def search_path(schema: str) -> str:
    """Return the `search_path` that puts `schema` before `public`, where TimescaleDB's functions live."""
    return "public" if schema == "public" else f"{identifier(schema)}, public"


def create_engine(url: URL, settings: Settings) -> AsyncEngine:
    """Return an engine on a server; nothing is connected yet.

    Args:
        url: address with an asyncpg driver; an embedded address is resolved by `DatabaseConnectionManager` first.
        settings: pool sizes, timeouts, schema and application name.
    """
    return create_async_engine(
        url,
        pool_size=settings.pool_size,
        max_overflow=settings.pool_max_overflow,
        pool_timeout=settings.pool_timeout_s,
        pool_pre_ping=True,
        connect_args={
            "timeout": settings.connect_timeout_s,
            "server_settings": {
                "application_name": settings.application_name,
                # Compiling takes ten times as long as the short queries over many chunks that it is meant to speed up.
                "jit": "off",
                "search_path": search_path(settings.database_schema),
                "timezone": "UTC",
            },
        },
    )


class DatabaseConnectionManager:
    """Owns the engine and, for an `embedded:///` address, the share in the embedded server.

    Use it as an async context manager; it belongs to the event loop that opened it, as asyncpg connections do.

        async with DatabaseConnectionManager(settings) as database:
            async with database.engine.begin() as conn:
                ...

    Args:
        settings: where the database is and how the pool behaves; `database_url` must be set.
        on_progress: called with one line of text at each step of starting an embedded database.

    Raises:
        ConfigurationError: `settings.database_url` is not set.
    """

    def __init__(self, settings: Settings, *, on_progress: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self._url = settings.require_url()
        self._on_progress = on_progress
        self._embedded: EmbeddedTimescale | None = None
        self._engine: AsyncEngine | None = None

    @property
    def engine(self) -> AsyncEngine:
        """The engine of the open database.

        Raises:
            ConfigurationError: the manager is not open.
        """
        if self._engine is None:
            msg = "the database is not open; use `async with` or call open() first"
            raise ConfigurationError(msg)
        return self._engine

    @property
    def embedded(self) -> EmbeddedTimescale | None:
        """The embedded server behind this manager, or None on a real server."""
        return self._embedded

    async def open(self) -> Self:
        """Start or join the embedded server if one is meant, and make sure that the database answers.

        Raises:
            DatabaseUnavailableError: nothing answers, or it refuses the login.
            EmbeddedError: the embedded server could not be started or joined.
        """
        if self._engine is not None:
            return self
        try:
            self._engine = create_engine(await self._server_url(), self.settings)
            await self._check_answers()
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Close the pool, then give up the share in the embedded server. May be called again."""
        engine, self._engine = self._engine, None
        embedded, self._embedded = self._embedded, None
        try:
            if engine is not None:
                await engine.dispose()
        finally:
            if embedded is not None:
                await asyncio.to_thread(embedded.stop)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _server_url(self) -> URL:
        if self._url.drivername != EMBEDDED_SCHEME:
            return self._url
        self._embedded = EmbeddedTimescale(
            embedded_folder(self._url), settings=self.settings, on_progress=self._on_progress
        )
        await asyncio.to_thread(self._embedded.start)
        return make_url(self._embedded.url)

    async def _check_answers(self) -> None:
        try:
            with driver_errors_translated():
                async with self.engine.connect() as conn:
                    await conn.exec_driver_sql("SELECT 1")
        except DatabaseError as exc:
            msg = f"no database answers at {redact(self._url)}: {exc}"
            raise DatabaseUnavailableError(msg, exc.sqlstate) from exc


def connect(url: str | None = None, *, settings: Settings | None = None) -> DatabaseConnectionManager:
    """Return a database for interactive use, to be opened with `async with`.

    Args:
        url: address of the database; see `datalayer.config.parse_database_url`. Default: the one configured by
            `DATALAYER_DATABASE_URL`, else the embedded database in `settings.embedded_dir` (a warning is logged that
            names the folder).
        settings: read from the environment if not given.
    """
    settings = settings or Settings.load()
    if url is None and settings.url is None:
        logger.warning("%s", settings.embedded_notice)
    return DatabaseConnectionManager(settings.for_interactive_use(url))
