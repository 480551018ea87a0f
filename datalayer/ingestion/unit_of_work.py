"""One transaction over the write sides of all repositories."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self

from datalayer.db.connection import DatabaseConnectionManager
from datalayer.db.driver_errors import driver_errors_translated
from datalayer.errors import DatabaseUnavailableError, UnitOfWorkError
from datalayer.repositories import (
    AnnotationRepository,
    CandleRepository,
    FeedGapRepository,
    ImbalanceRepository,
    InstrumentRepository,
    OrderBookRepository,
    TradeRepository,
)
from datalayer.repositories.rejects import RejectRepository

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

logger = logging.getLogger(__name__)


class UnitOfWork:
    """A transaction that ends with `commit()`, or as if it had never been.

        async with UnitOfWork(database) as uow:
            await uow.candles.upsert_candles("BTC/USDT", "1m", frame)
            await uow.trades.insert_trades("BTC/USDT", trades)
            await uow.commit()

    Whatever leaves the block without `commit()` — an error, a cancellation, or nothing at all — rolls everything back. After
    `commit()` or `rollback()` it is over: it gives its connection back and refuses to be used again. One task at a time.

    What is written behind the watermark of the continuous aggregates is noted as a dirty range in the same transaction, by
    the repositories themselves.

    Args:
        database: an open connection manager, or an engine.
    """

    def __init__(self, database: DatabaseConnectionManager | AsyncEngine) -> None:
        self._database = database
        self._conn: AsyncConnection | None = None
        self._begun = False

    async def __aenter__(self) -> Self:
        """Begin the transaction.

        Raises:
            UnitOfWorkError: it began before.
            DatabaseError: no connection can be had.
        """
        if self._begun:
            raise UnitOfWorkError(_OVER)
        self._begun = True
        database = self._database
        engine = database.engine if isinstance(database, DatabaseConnectionManager) else database
        with driver_errors_translated():
            conn = await engine.connect()
            try:
                await conn.begin()
            except BaseException:
                await conn.close()
                raise
        self._conn = conn
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def connection(self) -> AsyncConnection:
        """The connection, for statements that no repository has. It must not be committed by hand.

        Raises:
            UnitOfWorkError: the unit has not begun, or is over.
        """
        if self._conn is None:
            raise UnitOfWorkError(_OVER if self._begun else _NOT_BEGUN)
        return self._conn

    @property
    def candles(self) -> CandleRepository:
        """Candles."""
        return CandleRepository(self.connection)

    @property
    def trades(self) -> TradeRepository:
        """Trades."""
        return TradeRepository(self.connection)

    @property
    def order_books(self) -> OrderBookRepository:
        """Order-book snapshots."""
        return OrderBookRepository(self.connection)

    @property
    def imbalances(self) -> ImbalanceRepository:
        """Imbalances."""
        return ImbalanceRepository(self.connection)

    @property
    def rejects(self) -> RejectRepository:
        """Quarantine."""
        return RejectRepository(self.connection)

    @property
    def annotations(self) -> AnnotationRepository:
        """Annotations, with the data that they were made on."""
        return AnnotationRepository(self.connection)

    @property
    def feed_gaps(self) -> FeedGapRepository:
        """Holes that live feeds know of."""
        return FeedGapRepository(self.connection)

    @property
    def instruments(self) -> InstrumentRepository:
        """Instruments."""
        return InstrumentRepository(self.connection)

    async def commit(self) -> None:
        """Make everything that was written last, and end the unit.

        Raises:
            UnitOfWorkError: the unit has not begun, or is over.
            DatabaseError: the server refuses, or its answer is lost. In the second case it may have committed: repeat the
                whole unit, since all writes may be repeated.
        """
        conn = self.connection
        try:
            with driver_errors_translated():
                await conn.commit()
        finally:
            await self._end()

    async def rollback(self) -> None:
        """Undo everything that was written, and end the unit.

        Raises:
            UnitOfWorkError: the unit has not begun, or is over.
        """
        _ = self.connection
        await self._end()

    async def _end(self) -> None:
        conn, self._conn = self._conn, None
        if conn is None:
            return
        try:
            with driver_errors_translated():
                await conn.close()
        except DatabaseUnavailableError:
            # Lost with its transaction, which the server undoes by itself; the pool has thrown it away.
            logger.debug("a connection was lost before its transaction was rolled back", exc_info=True)


_NOT_BEGUN: Final = "the unit of work has not begun; use `async with UnitOfWork(...) as uow:`"
_OVER: Final = "the unit of work is over; begin another one"
