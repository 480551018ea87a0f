"""A drop-in for the `DataProvider` that a trading system has: the old methods, answered by the unified API."""

from datalayer.integrations.data_provider.mixin import DataProviderMixin
from datalayer.integrations.data_provider.ports import CandleReads, FetchCandles, StartFeed
from datalayer.integrations.data_provider.price import CurrentPrice
from datalayer.integrations.data_provider.provider import DataProvider
from datalayer.integrations.data_provider.settings import Index, LegacySettings, Times
from datalayer.integrations.data_provider.subscriber import SubscriberStatistics

__all__ = [
    "CandleReads",
    "CurrentPrice",
    "DataProvider",
    "DataProviderMixin",
    "FetchCandles",
    "Index",
    "LegacySettings",
    "StartFeed",
    "SubscriberStatistics",
    "Times",
]
