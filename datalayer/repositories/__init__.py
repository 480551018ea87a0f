"""Every SELECT and every bulk write of market data."""

from datalayer.domain.write_counts import WriteCounts
from datalayer.repositories.annotations import AnnotationRepository
from datalayer.repositories.candles import CandleRepository
from datalayer.repositories.coverage import CoverageRepository
from datalayer.repositories.dirty_ranges import DirtyRangeRepository
from datalayer.repositories.feed_gaps import FeedGapRepository
from datalayer.repositories.history import MarketHistory
from datalayer.repositories.imbalances import ImbalanceRepository
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.order_books import OrderBookRepository
from datalayer.repositories.refresh_report import RefreshReport
from datalayer.repositories.refresher import AggregateRefresher
from datalayer.repositories.trades import TradeRepository

__all__ = [
    "AggregateRefresher",
    "AnnotationRepository",
    "CandleRepository",
    "CoverageRepository",
    "DirtyRangeRepository",
    "FeedGapRepository",
    "ImbalanceRepository",
    "InstrumentRepository",
    "MarketHistory",
    "OrderBookRepository",
    "RefreshReport",
    "TradeRepository",
    "WriteCounts",
]
