"""`DataIngestionPipeline`: market data in, record by record, and nothing is lost."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Self

from datalayer.ingestion.core import PipelineCore
from datalayer.ingestion.events import EventKind
from datalayer.ingestion.intakes import CandleIntake, OrderBookIntake, TradeIntake
from datalayer.ingestion.ports import IngestionHooks
from datalayer.ingestion.settings import IngestionSettings
from datalayer.ingestion.statistics import IngestionStatistics
from datalayer.repositories.reject_rows import KeptReject, RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.domain.candle import Candle
    from datalayer.domain.order_book import OrderBook
    from datalayer.domain.trade import Trade
    from datalayer.errors import InvalidInputError
    from datalayer.ingestion.intake import Intake
    from datalayer.ingestion.outcomes import Ingested
    from datalayer.ingestion.ports import LiveCache

# A batch gives way to other tasks each time that so many of its records are in; a record costs about 10 µs, and one that
# the rules have to look at half a millisecond.
_PER_TURN: Final = 256
_SLOW_PER_TURN: Final = 10


class DataIngestionPipeline:
    """Takes market data in: validates, puts into the cache at once, keeps safe, and writes to the database in batches.

        async with DataIngestionPipeline(database, outbox=Path("market.outbox"), cache=cache) as pipeline:
            await pipeline.ingest_ohlcv_candle(candle)

    *Accepted* means: when a call returns `Ingested.ACCEPTED`, the record is in the outbox and survives the death of the
    process; it will be in the database, once, with the last of its revisions. A call that is cancelled or raises may or may
    not have taken its record in: repeat it. Without an outbox, accepted means in memory.

    *Rejected* records go to quarantine, as safely; what the database refuses is isolated, goes there too, and is taken
    out of the cache again. *Forming* candles go to the cache only: they are no history.

    *Order.* Records of one kind are written in the order in which they were accepted; of two candles of one key the later
    one wins, of trades and books of one key the first.

    *Pressure.* While the database is slow or away, `settings.buffer_events` of each kind wait in memory; further ones stay in
    the outbox, or callers wait (`settings.when_full`). A full outbox or disk keeps callers waiting. Failures that pass are
    tried again without end.

    It belongs to one event loop. Records are the values of this library, mappings, or objects with their attributes; the
    rules are those of `DataValidator`. All times are aware; prices are in the quote asset, sizes in the base asset.

    Args:
        database: an open connection manager, or an engine. It must stay open until the pipeline is closed.
        outbox: file of the outbox, made if it is not there; it belongs to one process. None: there is none.
        cache: takes what is accepted, before it is safe.
        settings: how it works.
        hooks: metrics and alarms.
        clock: seconds since 1970 UTC, to tell times that are in the future.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        *,
        outbox: Path | None,
        cache: LiveCache | None = None,
        settings: IngestionSettings | None = None,
        hooks: IngestionHooks | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or IngestionSettings()
        self._database = database
        self._core = PipelineCore(database, outbox, cache, self.settings, hooks or IngestionHooks())

        def now_us() -> int:
            return int(clock() * 1_000_000)

        self._candles = CandleIntake(self._core, now_us)
        self._trades = TradeIntake(self._core, now_us)
        self._books = OrderBookIntake(self._core, now_us)
        self._unreadable = 0
        self._intakes = (self._candles, self._trades, self._books)

    async def open(self) -> Self:
        """Open the outbox, begin to write what it still holds, and take records in.

        Raises:
            OutboxInUseError: another pipeline has the outbox open.
            OutboxCorruptError: the outbox is damaged; it is left as it is.
            OutboxError: the file is no outbox.
        """
        await self._core.open()
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def ingest_ohlcv_candle(
        self, candle: Candle | Mapping[str, Any] | object, *, received: bytes | str | None = None
    ) -> Coroutine[Any, Any, Ingested]:
        """Take a candle in.

        Args:
            candle: symbol, timeframe, ts (open time), open, high, low, close, volume, and, where known, trade_count and
                is_forming.
            received: exactly as it came, for quarantine.

        Raises:
            IngestionClosedError: the pipeline is not open.
        """
        return self._ingest(self._candles, candle, received)

    def ingest_trade(
        self, trade: Trade | Mapping[str, Any] | object, *, received: bytes | str | None = None
    ) -> Coroutine[Any, Any, Ingested]:
        """Take a trade in; it counts in the imbalances of the books after it.

        Args:
            trade: symbol, ts, trade_id, price, size, side (1: the aggressor bought, -1: sold, 0: unknown).
            received: exactly as it came, for quarantine.

        Raises:
            IngestionClosedError: the pipeline is not open.
        """
        return self._ingest(self._trades, trade, received)

    def ingest_orderbook_snapshot(
        self, book: OrderBook | Mapping[str, Any] | object, *, received: bytes | str | None = None
    ) -> Coroutine[Any, Any, Ingested]:
        """Take a snapshot in, and the imbalances at it (`datalayer.domain.imbalances`), as far as events since the start tell.

        Args:
            book: symbol, ts, bid_prices, bid_sizes, ask_prices, ask_sizes (best level first), and, where known,
                last_update_id.
            received: exactly as it came, for quarantine.

        Raises:
            IngestionClosedError: the pipeline is not open.
        """
        return self._ingest(self._books, book, received)

    async def ingest_ohlcv_candles(
        self, candles: Iterable[Candle | Mapping[str, Any] | object]
    ) -> Counter[Ingested]:
        """Take candles in, one after the other; as `ingest_ohlcv_candle`. Returns how many had which outcome."""
        return await self._ingest_all(self._candles, candles)

    async def ingest_trades(self, trades: Iterable[Trade | Mapping[str, Any] | object]) -> Counter[Ingested]:
        """Take trades in, one after the other; as `ingest_trade`. Returns how many had which outcome."""
        return await self._ingest_all(self._trades, trades)

    async def ingest_orderbook_snapshots(
        self, books: Iterable[OrderBook | Mapping[str, Any] | object]
    ) -> Counter[Ingested]:
        """Take snapshots in, one after the other; as `ingest_orderbook_snapshot`. Returns how many had which outcome."""
        return await self._ingest_all(self._books, books)

    async def reject_message(self, received: bytes | str, error: InvalidInputError) -> None:
        """Send a message to quarantine that cannot even be read as a record; returns when it is safe.

        Args:
            received: exactly as it came.
            error: what is wrong with it.

        Raises:
            IngestionClosedError: the pipeline is not open.
        """
        self._core.check_open()
        given = received.encode(errors="surrogatepass") if isinstance(received, str) else received
        reason, source = RejectReason.of_error(error), self.settings.source
        await self._core.send_reject(
            KeptReject.of_record("message", {}, reason, source=source, received=given)
        )
        self._unreadable += 1

    async def flush(self) -> None:
        """Return when everything that was accepted before is in the database, and what was refused is in quarantine there.

        Waits as long as the database is away. Cancelled, it changes nothing: everything is written all the same.

        Raises:
            IngestionClosedError: the pipeline is not open, or is closed meanwhile.
        """
        await self._core.flush()

    async def drain(self) -> None:
        """Take nothing more in, and do as `flush`. Cancelled, it still takes nothing in; call it again or `close`.

        Raises:
            IngestionClosedError: as for `flush`.
        """
        await self._core.drain()

    async def close(self, *, timeout_s: float | None = None) -> dict[EventKind, int]:
        """Drain for some seconds, and end. May be repeated.

        Cancelled, it ends at once: what is not written is still in the outbox.

        Args:
            timeout_s: seconds to wait for the database; None: `settings.close_timeout_s`.

        Returns:
            How many events of each kind are left in the outbox, which the next start writes; empty if there are none.

        Raises:
            EventsLostError: there is no outbox, and the database did not take all events in time.
        """
        return await self._core.close(self.settings.close_timeout_s if timeout_s is None else timeout_s)

    @property
    def database(self) -> DatabaseConnectionManager | AsyncEngine:
        """Where it writes to."""
        return self._database

    @property
    def statistics(self) -> IngestionStatistics:
        """A snapshot of what it has done and holds; also after its end.

        Raises:
            IngestionClosedError: it was never open.
        """
        core = self._core
        core.check_begun()
        return IngestionStatistics(
            lanes={kind: core.statistics(kind) for kind in EventKind},
            rejected=self._unreadable + sum(intake.rejected for intake in self._intakes),
            forming=self._candles.forming,
            flagged=sum(intake.flagged for intake in self._intakes),
            outbox_bytes=core.outbox.size_bytes,
            outbox_commits=core.outbox.commits,
            outbox_is_full=core.outbox.is_full,
        )

    async def _ingest(self, intake: Intake[Any, Any], record: Any, received: bytes | str | None) -> Ingested:
        core = self._core
        core.check_open()
        if not core.has_room(intake.kind):
            await core.room(intake.kind)
        outcome = intake.take(record, received)
        if outcome is None:
            outcome = await intake.introduce(record, received)
        await core.outbox.durable()
        return outcome

    async def _ingest_all(self, intake: Intake[Any, Any], records: Iterable[Any]) -> Counter[Ingested]:
        core = self._core
        core.check_open()
        outcomes: Counter[Ingested] = Counter()
        turn = slow = 0
        for record in records:
            if not core.has_room(intake.kind):
                await core.outbox.durable()
                await core.room(intake.kind)
            looked_at = intake.looked_at
            outcome = intake.take(record, None)
            outcomes[outcome if outcome is not None else await intake.introduce(record, None)] += 1
            turn, slow = turn + 1, slow + intake.looked_at - looked_at
            if turn >= _PER_TURN or slow >= _SLOW_PER_TURN:
                await core.outbox.durable()
                core.check_open()
                turn = slow = 0
        await core.outbox.durable()
        return outcomes
