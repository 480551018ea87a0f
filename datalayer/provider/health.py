"""How a provider is."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from datalayer.provider.freshness import stale_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from datalayer.cache import CacheStatistics, DataCacheManager
    from datalayer.db.health import DatabaseHealth
    from datalayer.provider.lateness import LateData


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """How a provider is at one moment.

    Attributes:
        at: the moment, UTC.
        database: whether the database answers.
        cache: figures of the cache.
        ages_s: by symbol, how old the newest data of each part in the cache are, in seconds; see
            `DataCacheManager.get_ages`. Only symbols that the provider was made for.
        stale: by symbol, the parts that are in the cache and older than they should be.
        late: by symbol, what came too late for live answers that this provider has given; absent: nothing did.
        subscribers: number of open subscriptions.
    """

    at: datetime
    database: DatabaseHealth
    cache: CacheStatistics
    ages_s: Mapping[str, Mapping[str, float]]
    stale: Mapping[str, frozenset[str]]
    late: Mapping[str, LateData]
    subscribers: int

    @property
    def is_healthy(self) -> bool:
        """Whether the database answers and nothing is stale."""
        return self.database.answers and not any(self.stale.values())


def cache_ages(cache: DataCacheManager, symbols: Iterable[str], stale_after_s: float) -> dict[str, Any]:
    """Return `ages_s` and `stale` of some symbols."""
    ages = {symbol: cache.get_ages(symbol) for symbol in symbols}
    there = {
        symbol: {part: age for part, age in one.items() if not isnan(age)} for symbol, one in ages.items()
    }
    return {
        "ages_s": ages,
        "stale": {symbol: stale_parts(one, stale_after_s) for symbol, one in there.items()},
    }
