"""The beginning and the end of a provider, and what it is made of."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from datalayer.cache import DataCacheManager
from datalayer.cache.guarded_store import wall_clock
from datalayer.db import migrations
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import ConfigurationError, DatabaseError, InvalidInputError, ProviderClosedError
from datalayer.provider.lateness import LatenessWatch
from datalayer.provider.reads import Reads
from datalayer.provider.settings import ProviderSettings
from datalayer.provider.symbol_catalog import SymbolCatalog
from datalayer.repositories import InstrumentRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.config import Settings
    from datalayer.domain.indicators import Indicator
    from datalayer.provider.subscription import Subscription

logger = logging.getLogger(__name__)

_UNDEFINED_TABLE = "42P01"


class ProviderLifecycle:
    """The side of `UnifiedDataProvider` that opens and closes; see there."""

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        *,
        cache: DataCacheManager | None = None,
        symbols: Iterable[str] | None = None,
        timeframes: Iterable[Timeframe | str] = tuple(Timeframe),
        indicators: Sequence[Indicator] = (),
        settings: ProviderSettings | None = None,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        self.settings = settings or ProviderSettings()
        self._cache = DataCacheManager(clock=clock) if cache is None else cache
        self._catalog = SymbolCatalog(symbols, timeframes)
        self._indicators = tuple(indicators)
        self._reads = Reads(database)
        self._loading = asyncio.Lock()
        self._owned: DatabaseConnectionManager | None = None
        self._subscriptions: set[Subscription] = set()
        self._lateness = LatenessWatch()
        self._unwatch: Callable[[], None] | None = None
        self._is_open = False

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        symbols: Iterable[str] | None = None,
        timeframes: Iterable[Timeframe | str] = tuple(Timeframe),
        indicators: Sequence[Indicator] = (),
        cache: DataCacheManager | None = None,
        provider_settings: ProviderSettings | None = None,
        clock: Callable[[], datetime] = wall_clock,
    ) -> Self:
        """Return a provider that opens and closes the database by itself.

        Args:
            settings: of the database; `database_url` must be set. An embedded one gets its schema when it is opened.
            symbols: as for the class, as are those that follow.
            timeframes: likewise.
            indicators: likewise.
            cache: likewise.
            provider_settings: likewise, its `settings`.
            clock: likewise.

        Raises:
            ConfigurationError: `settings.database_url` is not set.
            InvalidInputError: as for the class.
        """
        database = DatabaseConnectionManager(settings)
        made = cls(
            database,
            cache=cache,
            symbols=symbols,
            timeframes=timeframes,
            indicators=indicators,
            settings=provider_settings,
            clock=clock,
        )
        made._owned = database
        return made

    @property
    def database(self) -> DatabaseConnectionManager | AsyncEngine:
        """What it reads from, for a `DataIngestionPipeline`, a `UnitOfWork` or a `MarketHistory`."""
        return self._reads.database

    @property
    def cache(self) -> DataCacheManager:
        """The latest data, for a `DataIngestionPipeline` to fill."""
        return self._cache

    @property
    def symbols(self) -> tuple[str, ...]:
        """What may be asked for, canonical and ascending: what it was made for, else what is registered."""
        return self._catalog.symbols

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """What may be asked for, ascending."""
        return self._catalog.timeframes

    async def open(self) -> Self:
        """Make sure that the database answers and has the schema, and load the symbols into the cache. May be repeated.

        Of the symbols that it was made for, those that are registered are loaded; `warm_up` does so again.

        Raises:
            DatabaseError: the database does not answer.
            ConfigurationError: it has no schema; says what to run.
        """
        if self._is_open:
            return self
        try:
            if self._owned is not None:
                await self._owned.open()
                if self._owned.embedded is not None:
                    await migrations.upgrade_engine(self._owned.engine, self._owned.settings)
            registered = await self._registered()
            self._is_open = True
            self._unwatch = self._cache.add_listener(self._watch)
            if self._catalog.is_fixed:
                await self.warm_up(symbol for symbol in self.symbols if symbol in registered)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """End all subscriptions, and close what `open()` opened. May be repeated."""
        self._is_open = False
        if self._unwatch is not None:
            self._unwatch()
        for subscription in tuple(self._subscriptions):
            subscription.close()
        if self._owned is not None:
            await self._owned.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def warm_up(self, symbols: Iterable[str] | None = None) -> None:
        """Load symbols from the database into the cache; see `DataCacheManager.warm_up`.

        Args:
            symbols: in any known spelling. None: those that it was made for, else all that are registered.

        Raises:
            InvalidInputError: a symbol is none of the provider's, or not registered.
            DatabaseError: the server refuses.
        """
        chosen = self.symbols if symbols is None else [await self._known(symbol) for symbol in symbols]
        async with self._reads.begin() as conn:
            await self._cache.warm_up(conn, chosen)

    async def _registered(self) -> set[str]:
        try:
            async with self._reads.begin() as conn:
                found = {instrument.symbol for instrument in await InstrumentRepository(conn).list_all()}
        except DatabaseError as exc:
            if exc.sqlstate != _UNDEFINED_TABLE:
                raise
            msg = "the database has no schema of this library; run `datalayer db upgrade`"
            raise ConfigurationError(msg) from exc
        self._catalog.learn(found)
        return found

    async def _known(self, symbol: str) -> str:
        """Return the canonical symbol; looks whether it was registered meanwhile, and loads what is fed without that.

        Raises:
            InvalidInputError: it is none of the provider's.
            ProviderClosedError: the provider is not open.
        """
        self._check_open()
        found = self._catalog.find(symbol)
        if found is None and not self._catalog.is_fixed:
            await self._registered()
        found = found or self._catalog.get(symbol)
        if self._cache.needs_warm_up(found):
            await self._load_fed(found)
        return found

    async def _load_fed(self, symbol: str) -> None:
        """Load a symbol that is fed already: of the candles in which its feed began the database may have a part only."""
        async with self._loading:
            if not self._cache.needs_warm_up(symbol):
                return
            try:
                async with self._reads.begin() as conn:
                    await self._cache.warm_up(conn, [symbol])
            except (DatabaseError, InvalidInputError) as exc:
                # It is away, or the symbol not registered yet: then it has no part of those candles to give either.
                logger.warning("%s is fed and cannot be loaded yet: %s", symbol, exc)

    def _watch(self, symbol: str, item: object) -> None:
        self._lateness.came(symbol, item, self._cache.now)

    def _check_open(self) -> None:
        if not self._is_open:
            msg = "the provider is not open; use `async with`, or call open() first"
            raise ProviderClosedError(msg)
