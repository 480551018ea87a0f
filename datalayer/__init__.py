"""The market-data layer of a trading system on TimescaleDB."""

from datalayer.cache import DataCacheManager
from datalayer.config import Settings
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.db.retry import RetryableDBOperation
from datalayer.domain.annotation import Annotation
from datalayer.domain.candle import Candle
from datalayer.domain.coverage import CoverageReport, LatestTimestamps, StoredRange
from datalayer.domain.imbalance_tracker import ImbalanceTracker
from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.inference_frame import InferenceDataFrame
from datalayer.domain.instrument import Instrument
from datalayer.domain.order_book import OrderBook, OrderBookColumns
from datalayer.domain.order_book_frame import OrderBookDataFrame
from datalayer.domain.order_book_heat_map import OrderBookHeatMap
from datalayer.domain.replay_event import ReplayEvent
from datalayer.domain.sliding_windows import SlidingWindows, WindowBlock
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Trade
from datalayer.domain.validation import DataValidator
from datalayer.domain.write_counts import WriteCounts
from datalayer.embedded import EmbeddedTimescale
from datalayer.ingestion import DataIngestionPipeline, UnitOfWork
from datalayer.provider import UnifiedDataProvider, connect
from datalayer.repositories import (
    AggregateRefresher,
    AnnotationRepository,
    CandleRepository,
    CoverageRepository,
    DirtyRangeRepository,
    ImbalanceRepository,
    InstrumentRepository,
    MarketHistory,
    OrderBookRepository,
    RefreshReport,
    TradeRepository,
)
from datalayer.rollout.manager import DataMigrationManager

__all__ = [
    "AggregateRefresher",
    "Annotation",
    "AnnotationRepository",
    "Candle",
    "CandleRepository",
    "CoverageReport",
    "CoverageRepository",
    "DataCacheManager",
    "DataIngestionPipeline",
    "DataMigrationManager",
    "DataValidator",
    "DatabaseConnectionManager",
    "DirtyRangeRepository",
    "EmbeddedTimescale",
    "ImbalanceRepository",
    "ImbalanceTracker",
    "InferenceDataFrame",
    "Instrument",
    "InstrumentRepository",
    "LatestTimestamps",
    "MarketHistory",
    "OrderBook",
    "OrderBookColumns",
    "OrderBookDataFrame",
    "OrderBookHeatMap",
    "OrderBookImbalances",
    "OrderBookRepository",
    "RefreshReport",
    "ReplayEvent",
    "RetryableDBOperation",
    "Settings",
    "SlidingWindows",
    "StoredRange",
    "Timeframe",
    "Trade",
    "TradeRepository",
    "UnifiedDataProvider",
    "UnitOfWork",
    "WindowBlock",
    "WriteCounts",
    "canonical_symbol",
    "connect",
]
