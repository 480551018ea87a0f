"""Declarative models of the tables; what is in the database is decided by the revisions in `alembic/versions`."""

from datalayer.models.base import Base
from datalayer.models.candles import Candle
from datalayer.models.dirty_ranges import DirtyRange
from datalayer.models.imbalances import OrderBookImbalance
from datalayer.models.instruments import Instrument
from datalayer.models.order_books import OrderBook
from datalayer.models.rejected_records import RejectedRecord
from datalayer.models.trades import Trade

__all__ = [
    "Base",
    "Candle",
    "DirtyRange",
    "Instrument",
    "OrderBook",
    "OrderBookImbalance",
    "RejectedRecord",
    "Trade",
]
