"""Live market data: WebSocket feeds of exchanges into a `DataIngestionPipeline`. Needs the extra `feeds`."""

from datalayer.integrations.feeds.events import Quote
from datalayer.integrations.feeds.exchange import Channel, Exchange, Limits, RestRequest, Stream
from datalayer.integrations.feeds.feed import Feed
from datalayer.integrations.feeds.settings import FeedSettings
from datalayer.integrations.feeds.statistics import ConnectionStatistics, FeedStatistics

__all__ = [
    "Channel",
    "ConnectionStatistics",
    "Exchange",
    "Feed",
    "FeedSettings",
    "FeedStatistics",
    "Limits",
    "Quote",
    "RestRequest",
    "Stream",
]
