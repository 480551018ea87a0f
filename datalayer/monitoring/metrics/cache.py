"""Metrics of a cache, from its statistics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from datalayer.monitoring.metrics.families import counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.core import Metric

    from datalayer.cache import DataCacheManager

_KIND = ("kind",)


class CacheCollector(Collector):
    """The statistics of a cache, and how old what it has of some symbols is.

    Args:
        cache: safe to be read from any thread.
        symbols: canonical; of no others there are ages, so that labels are bounded.
    """

    def __init__(self, cache: DataCacheManager, symbols: Sequence[str]) -> None:
        self._cache, self._symbols = cache, tuple(symbols)

    def collect(self) -> Iterator[Metric]:
        """Return everything; a hit rate is `hits / (hits + misses)` of what was counted in a while."""
        found = self._cache.statistics
        kinds = found.kinds.items()
        name = "datalayer_cache_"
        yield counter(f"{name}hits", "Reads that found something.", [((k,), s.hits) for k, s in kinds], _KIND)
        yield counter(
            f"{name}misses", "Reads that found nothing.", [((k,), s.misses) for k, s in kinds], _KIND
        )
        yield counter(
            f"{name}evictions",
            "Items dropped for their age or for want of room.",
            [((k,), s.evictions) for k, s in kinds],
            _KIND,
        )
        yield gauge(f"{name}items", "Items that are kept.", [((k,), s.items) for k, s in kinds], _KIND)
        yield gauge(
            f"{name}memory_bytes",
            "Memory that the items take, about.",
            [((k,), s.memory_bytes) for k, s in kinds],
            _KIND,
        )
        yield gauge(f"{name}symbols", "Symbols that are kept.", found.symbols)
        yield counter(
            f"{name}late_candles", "1s candles that came too late to be rolled up.", found.late_candles
        )
        ages = [
            ((symbol, part), age_s)
            for symbol in self._symbols
            for part, age_s in self._cache.get_ages(symbol).items()
            if not math.isnan(age_s)
        ]
        yield gauge(
            f"{name}newest_age_seconds",
            "Age of the newest item by exchange time; of a candle since its close.",
            ages,
            ("symbol", "part"),
        )
