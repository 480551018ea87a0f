"""The engine and its pool, for a server or for the embedded database."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self, cast

from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from datalayer.config import EMBEDDED_SCHEME, Settings, redact
from datalayer.db.driver_connect import connect_arguments, driver_url
from datalayer.db.driver_errors import driver_errors_translated
from datalayer.db.health import DatabaseHealth, check_health
from datalayer.db.pool import DatabasePool, PoolStatistics
from datalayer.db.pool_guards import guard_pool
from datalayer.embedded import EmbeddedTimescale
from datalayer.embedded.url import embedded_folder
from datalayer.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

logger = logging.getLogger(__name__)


def create_engine(url: URL, settings: Settings) -> AsyncEngine:
    """Return an engine on a server; nothing is connected yet.

    Its pool is a `DatabasePool`, which gives out no connection that does not answer or whose server turned read-only, and
    belongs to the event loop that first uses it.

    Args:
        url: address with an asyncpg driver; an embedded address is resolved by `DatabaseConnectionManager` first.
        settings: pool sizes, timeouts, schema, application name, encryption, kind of pooler.

    Raises:
        ConfigurationError: a certificate cannot be loaded, or address and settings contradict each other.
    """
    engine = create_async_engine(
        driver_url(url, settings),
        poolclass=DatabasePool,
        pool_size=settings.pool_max_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout_s,
        pool_recycle=settings.connection_lifetime_s,
        pool_use_lifo=True,
        connect_args=connect_arguments(settings),
    )
    guard_pool(engine, pool_of(engine), settings.ping_timeout_s)
    return engine


def pool_of(engine: AsyncEngine) -> DatabasePool:
    """Return the pool of an engine that `create_engine` made."""
    return cast("DatabasePool", engine.pool)


class DatabaseConnectionManager:
    """Owns the engine with its pool and, for an `embedded:///` address, the share in the embedded server.

        async with DatabaseConnectionManager(settings) as database:
            async with database.engine.begin() as conn:
                ...

    It belongs to the event loop that opened it, since asyncpg's connections do: used in another one, also in another
    thread, it raises `EventLoopError`. Open one in each loop.

    A connection is asked before it is given out, and replaced if it does not answer or its server has turned read-only
    since it was made. One that died, was cancelled in the middle of a statement, or met a server that refuses writes does
    not return to the pool. So the pool recovers by itself; the statement that met the fault fails, and is for
    `RetryableDBOperation` to repeat.

    Args:
        settings: where the database is and how the pool behaves; `database_url` must be set.
        on_progress: called with one line of text at each step of starting an embedded database. Default: the line is
            logged as information.

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
            await self._warm_up()
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def statistics(self) -> PoolStatistics:
        """What the pool does now, and what it has done since `open()`.

        Raises:
            ConfigurationError: the manager is not open.
        """
        return pool_of(self.engine).statistics

    async def check_health(self, timeout_s: float = 5.0) -> DatabaseHealth:
        """Ask the database how it is, through the pool. No answer is an answer too: it does not raise for that.

        Args:
            timeout_s: seconds after which no answer is one too.

        Raises:
            ConfigurationError: the manager is not open.
            EventLoopError: it was opened in another event loop.
        """
        return await check_health(self.engine, timeout_s)

    async def close(self) -> tuple[str, ...]:
        """Close the pool, then give up the share in the embedded server. May be called again.

        New connections are refused from now on. Those in use have `close_timeout_s` to come back and are cut off then:
        their transactions are rolled back. What was cut off is logged as a warning.

        Returns:
            One line for each connection that was cut off: name of the task that took it, and for how long it had it.

        Raises:
            EventLoopError: it was opened in another event loop, which still runs.
        """
        if self._engine is not None and not pool_of(self._engine).loop_is_closed:
            pool_of(self._engine).check_loop()
        engine, self._engine = self._engine, None
        embedded, self._embedded = self._embedded, None
        try:
            return () if engine is None else await self._close_pool(engine)
        finally:
            if embedded is not None:
                await asyncio.to_thread(embedded.stop)

    async def _close_pool(self, engine: AsyncEngine) -> tuple[str, ...]:
        if pool_of(engine).loop_is_closed:  # its connections went with it
            return ()
        # Not `engine.dispose()`: it would give a new pool to whoever still has the engine.
        cut = await pool_of(engine).close_in_order(self.settings.close_timeout_s)
        if cut:
            logger.warning("connections cut off, still in use at the end: %s", "; ".join(cut))
        return cut

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

    async def _warm_up(self) -> None:
        try:
            with driver_errors_translated():
                async with AsyncExitStack() as held:
                    for _ in range(max(1, self.settings.pool_min_size)):
                        conn = await held.enter_async_context(self.engine.connect())
                    await conn.exec_driver_sql("SELECT 1")
        except DatabaseError as exc:
            msg = f"no database answers at {redact(self._url)}: {exc}"
            raise DatabaseUnavailableError(msg, exc.sqlstate) from exc
