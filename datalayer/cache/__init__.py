"""The latest market data in memory."""

from datalayer.cache.candle_arrays import CandleArrays
from datalayer.cache.manager import DataCacheManager
from datalayer.cache.settings import CacheSettings
from datalayer.cache.snapshot import CacheSnapshot
from datalayer.cache.statistics import CacheStatistics, KindStatistics

__all__ = [
    "CacheSettings",
    "CacheSnapshot",
    "CacheStatistics",
    "CandleArrays",
    "DataCacheManager",
    "KindStatistics",
]
