"""Declarative models of the tables and continuous aggregates; what is in the database is decided by the revisions in `alembic/versions`."""

from datalayer.models.annotations import Annotation, AnnotationData
from datalayer.models.base import Base
from datalayer.models.candle_aggregates import Candle1d, Candle1h, Candle1m, Candle4h, Candle5m, Candle15m
from datalayer.models.candles import Candle
from datalayer.models.dirty_ranges import DirtyRange
from datalayer.models.feed_gaps import FeedGap
from datalayer.models.imbalances import OrderBookImbalance
from datalayer.models.instruments import Instrument
from datalayer.models.migration_ledger import MigrationFile, MigrationPiece, MigrationRun
from datalayer.models.order_book_aggregates import OrderBook1m, OrderBook1s
from datalayer.models.order_books import OrderBook
from datalayer.models.rejected_records import RejectedRecord
from datalayer.models.rollout_phases import RolloutPhase, ShadowRead
from datalayer.models.trades import Trade

__all__ = [
    "Annotation",
    "AnnotationData",
    "Base",
    "Candle",
    "Candle1d",
    "Candle1h",
    "Candle1m",
    "Candle4h",
    "Candle5m",
    "Candle15m",
    "DirtyRange",
    "FeedGap",
    "Instrument",
    "MigrationFile",
    "MigrationPiece",
    "MigrationRun",
    "OrderBook",
    "OrderBook1m",
    "OrderBook1s",
    "OrderBookImbalance",
    "RejectedRecord",
    "RolloutPhase",
    "ShadowRead",
    "Trade",
]
