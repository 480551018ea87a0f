"""Connections to read by, and what is said when there is nothing to read."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import NoDataError
from datalayer.repositories import CoverageRepository, InstrumentRepository
from datalayer.repositories.candle_reads import CandleReader
from datalayer.repositories.last_events import read_last_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.domain.coverage import StoredRange
    from datalayer.domain.imbalances import OrderBookImbalances
    from datalayer.domain.instrument import Instrument
    from datalayer.domain.order_book import OrderBook


class SnapshotInstruments(InstrumentRepository):
    """Instruments of one state of the database, in which each stays what it is: looked up once."""

    def __init__(self, conn: AsyncConnection) -> None:
        super().__init__(conn)
        self._seen: dict[str, Instrument] = {}

    async def get(self, symbol: str) -> Instrument:
        """Return the instrument; see `InstrumentRepository.get`."""
        if symbol not in self._seen:
            self._seen[symbol] = await super().get(symbol)
        return self._seen[symbol]


class SymbolSnapshot:
    """What is stored of a symbol, in one state of the database; what does not change in that is asked for once.

    Args:
        conn: in a transaction as from `Reads.begin`.
        symbol: canonical.
    """

    def __init__(self, conn: AsyncConnection, symbol: str) -> None:
        self._conn = conn
        self._symbol = symbol
        self._instruments = SnapshotInstruments(conn)
        self.candles = CandleReader(conn, self._instruments, symbol, in_snapshot=True)

    async def last_events(
        self, start: datetime, as_of: datetime
    ) -> tuple[OrderBook | None, OrderBookImbalances | None]:
        """Return the last order book and imbalances; see `read_last_events`."""
        return await read_last_events(self._conn, self._instruments, self._symbol, start, as_of)


class Reads:
    """Read-only transactions on a database.

    Args:
        database: an open connection manager, or an engine.
    """

    def __init__(self, database: DatabaseConnectionManager | AsyncEngine) -> None:
        self.database = database

    @property
    def engine(self) -> AsyncEngine:
        """The engine of the open database.

        Raises:
            ConfigurationError: it is not open.
        """
        return self.database if isinstance(self.database, AsyncEngine) else self.database.engine

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Return a transaction in which every statement sees the same state of the database."""
        with driver_errors_translated():
            async with self.engine.connect() as plain:
                conn = await plain.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                yield conn

    async def no_data(self, symbol: str, asked: str) -> NoDataError:
        """Return the error that says what is stored instead.

        Args:
            symbol: canonical.
            asked: what there is nothing of, in words.
        """
        async with self.begin() as conn:
            ranges = await CoverageRepository(conn).list_stored_ranges([symbol])
        return NoDataError(symbol, asked, tuple(map(_line, ranges)))


def span_text(start: datetime | None, end: datetime | None, as_of: datetime) -> str:
    """Return a range of times in words."""
    first = "" if start is None else f" from {start.isoformat()}"
    last = "" if end is None else f" before {end.isoformat()}"
    return f"{first}{last} as of {as_of.isoformat()}"


def _line(found: StoredRange) -> str:
    kind = found.kind.replace("_", " ")
    name = kind if found.timeframe is None else f"{kind} {Timeframe(found.timeframe).label}"
    return f"{name} {found.first.isoformat()} to {found.last.isoformat()}"
