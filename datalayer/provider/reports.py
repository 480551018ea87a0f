"""What a provider tells of what is stored, and of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.db.health import check_health
from datalayer.provider.health import ProviderHealth, cache_ages
from datalayer.provider.lifecycle import ProviderLifecycle
from datalayer.repositories import CoverageRepository, FeedGapRepository

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import pandas as pd

    from datalayer.domain.coverage import CoverageReport, StoredRange
    from datalayer.domain.feed_gap import FeedGap, GapState
    from datalayer.domain.timeframe import Timeframe


class ProviderReports(ProviderLifecycle):
    """The side of `UnifiedDataProvider` that answers questions about coverage and health."""

    async def get_coverage(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        start: datetime,
        end: datetime | None = None,
        *,
        as_of: datetime | None = None,
    ) -> CoverageReport:
        """Return what of a range is stored as traded or silent, and what is missing; see `CoverageRepository.query_coverage`."""
        name, length = await self._known(symbol), self._catalog.timeframe(timeframe)
        async with self._reads.begin() as conn:
            return await CoverageRepository(conn).query_coverage(name, length, start, end, as_of=as_of)

    async def get_missing_intervals(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        start: datetime,
        end: datetime | None = None,
        *,
        as_of: datetime | None = None,
        stored_only: bool = False,
    ) -> pd.DataFrame:
        """Return the gaps of a range in the database; see `CoverageRepository.query_missing_intervals`."""
        name, length = await self._known(symbol), self._catalog.timeframe(timeframe)
        async with self._reads.begin() as conn:
            return await CoverageRepository(conn).query_missing_intervals(
                name, length, start, end, as_of=as_of, stored_only=stored_only
            )

    async def list_stored_ranges(
        self, symbols: Iterable[str] | None = None, *, as_of: datetime | None = None, count_rows: bool = False
    ) -> list[StoredRange]:
        """Return what is stored from when to when; see `CoverageRepository.list_stored_ranges`. None: all symbols of the provider."""
        given = self.symbols if symbols is None else symbols
        names = [await self._known(symbol) for symbol in given]
        async with self._reads.begin() as conn:
            return await CoverageRepository(conn).list_stored_ranges(
                names, as_of=as_of, count_rows=count_rows
            )

    async def list_feed_gaps(
        self,
        symbols: Iterable[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        states: Iterable[GapState] = ("open", "lost"),
    ) -> list[FeedGap]:
        """Return the holes that live feeds know of; see `FeedGapRepository.list_gaps`. None: all symbols of the provider."""
        given = self.symbols if symbols is None else symbols
        names = [await self._known(symbol) for symbol in given]
        async with self._reads.begin() as conn:
            return await FeedGapRepository(conn).list_gaps(names, start, end, states=states)

    async def get_health(self, timeout_s: float = 5.0) -> ProviderHealth:
        """Return how the database, the cache and its feeds are; does not raise for what is broken.

        Args:
            timeout_s: seconds after which the database counts as silent.
        """
        self._check_open()
        database = await check_health(self._reads.engine, timeout_s)
        return ProviderHealth(
            at=self._cache.now,
            database=database,
            cache=self._cache.statistics,
            **cache_ages(self._cache, self._catalog.symbols, self.settings.stale_after_s),
            late=self._lateness.late,
            subscribers=len(self._subscriptions),
        )
