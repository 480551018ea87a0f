"""The market-data layer of a trading system on TimescaleDB."""

from datalayer.config import Settings
from datalayer.db.connection import DatabaseConnectionManager, connect
from datalayer.domain.instrument import Instrument
from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.write_counts import WriteCounts
from datalayer.embedded import EmbeddedTimescale
from datalayer.repositories import (
    CandleRepository,
    InstrumentRepository,
    OrderBookRepository,
    TradeRepository,
)

__all__ = [
    "CandleRepository",
    "DatabaseConnectionManager",
    "EmbeddedTimescale",
    "Instrument",
    "InstrumentRepository",
    "OrderBookColumns",
    "OrderBookRepository",
    "Settings",
    "Timeframe",
    "TradeRepository",
    "WriteCounts",
    "canonical_symbol",
    "connect",
]
