"""Every SELECT and every bulk write of market data."""

from datalayer.domain.write_counts import WriteCounts
from datalayer.repositories.candles import CandleRepository
from datalayer.repositories.coverage import CoverageRepository
from datalayer.repositories.history import MarketHistory
from datalayer.repositories.imbalances import ImbalanceRepository
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.order_books import OrderBookRepository
from datalayer.repositories.trades import TradeRepository

__all__ = [
    "CandleRepository",
    "CoverageRepository",
    "ImbalanceRepository",
    "InstrumentRepository",
    "MarketHistory",
    "OrderBookRepository",
    "TradeRepository",
    "WriteCounts",
]
