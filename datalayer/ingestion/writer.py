"""Writes the events of one kind to the database, until they are there or in quarantine."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from datalayer.db.retry import RetryableDBOperation, is_passing
from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.validation.result import shown
from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import DatabaseError, InvalidInputError, ScaleError
from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.repositories.reject_rows import KeptReject, RejectReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.db.copy_columns import Column
    from datalayer.domain.instrument import Instrument
    from datalayer.errors import FailedAttempt
    from datalayer.ingestion.lane import Lane
    from datalayer.ingestion.outbox import OnAlarm
    from datalayer.ingestion.ports import IngestionHooks, LiveCache
    from datalayer.ingestion.settings import IngestionSettings
    from datalayer.ingestion.stores import Store
    from datalayer.ingestion.streams import Streams

logger = logging.getLogger(__name__)

# Data exceptions and broken constraints: the fault of a record, not of the connection.
_OF_A_RECORD: Final = ("22", "23")
_FEWEST_ROWS: Final = 100
_FIRST_PAUSE_S: Final = 0.5


class LaneWriter(ABC):
    """Takes events from a lane, in order, and settles them.

    A batch is one transaction. What fails for a passing reason, or for one that somebody has to mend (a missing table, a
    right, a full disk of the server), is tried again without end, ever more slowly; the events stay where they are safe. Where
    the server refuses a record, halves of the batch lead to it in few transactions, and quarantine takes it.

    Args:
        lane: where events come from.
        database: where they go.
        settings: sizes and pauses.
        hooks: what is told.
    """

    def __init__(
        self,
        lane: Lane,
        database: DatabaseConnectionManager | AsyncEngine,
        settings: IngestionSettings,
        hooks: IngestionHooks,
        on_alarm: OnAlarm,
    ) -> None:
        self.lane = lane
        self.database = database
        self.settings = settings
        self.hooks = hooks
        self._on_alarm = on_alarm
        self._operation = RetryableDBOperation(deadline_s=settings.attempt_s, on_retry=self._tell_of)
        self._limit = settings.flush_rows
        self._pause_s = _FIRST_PAUSE_S
        self._is_away = False
        self.counts = WriteCounts()
        self.quarantined = self.retries = 0
        self.on_settled: Callable[[int], None] = lambda _: None

    async def run(self) -> None:
        """Write until cancelled. What was under way then is written again the next time, which changes nothing."""
        taken: list[bytes] = []
        while True:
            try:
                taken = taken or await self.lane.take(self._limit)
                while taken:
                    part = taken[: self._limit]
                    await self._settle(part)
                    del taken[: len(part)]
            except Exception as exc:  # noqa: BLE001 (nothing that happens here may end the writing)
                await self._wait(exc)
                continue
            self.lane.settle()
            self.on_settled(self.lane.settled)
            self._recovered()

    @abstractmethod
    async def write(self, payloads: Sequence[bytes]) -> WriteCounts:
        """Write a batch in a transaction of its own, and return what became of it."""

    @abstractmethod
    async def quarantine(self, payload: bytes, reason: RejectReason) -> None:
        """Send one event to quarantine."""

    async def _settle(self, payloads: Sequence[bytes]) -> None:
        started = monotonic()
        try:
            counts = await self._operation(self.write, payloads)
        except (DatabaseError, InvalidInputError) as exc:
            if not _is_of_a_record(exc):
                raise
            await self._isolate(payloads, exc)
            return
        self.counts += counts
        if self.hooks.on_stored is not None:
            self.hooks.on_stored(self.lane.kind, counts, monotonic() - started)

    async def _isolate(self, payloads: Sequence[bytes], error: DatabaseError | InvalidInputError) -> None:
        if len(payloads) > 1:
            middle = len(payloads) // 2
            await self._settle(payloads[:middle])
            await self._settle(payloads[middle:])
            return
        logger.warning("the database refuses a %s, which goes to quarantine: %s", self._label, error)
        await self.quarantine(payloads[0], reason_of_error(error))
        self.quarantined += 1

    async def _wait(self, error: Exception) -> None:
        """Tell what keeps events from being written, once as an alarm and each time in the log, and pause."""
        self.retries += 1
        known = isinstance(error, DatabaseError)
        # It may have been too much for a server that is slow; later it grows again.
        self._limit = max(min(_FEWEST_ROWS, self._limit), self._limit // 2)
        logger.log(
            logging.WARNING if known and is_passing(error) else logging.ERROR,
            "%s events wait for the database: %d in memory, %d on disk; tried again in %.1f s: %s",
            *(self._label, self.lane.buffered, self.lane.spilled, self._pause_s, error),
            exc_info=None if known else error,
        )
        if self.hooks.on_retry is not None:
            self.hooks.on_retry(self.lane.kind, str(error), getattr(error, "sqlstate", None))
        if not self._is_away:
            self._is_away = True
            self._on_alarm(f"{self._label} events cannot be written: {error}", active=True)
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, self.settings.retry_wait_max_s)

    def _tell_of(self, attempt: FailedAttempt) -> None:
        if self.hooks.on_retry is not None:
            self.hooks.on_retry(self.lane.kind, attempt.reason, attempt.sqlstate)

    def _recovered(self) -> None:
        self._pause_s = _FIRST_PAUSE_S
        self._limit = min(2 * self._limit, self.settings.flush_rows)
        if self._is_away:
            self._is_away = False
            self._on_alarm(f"{self._label} events are written again", active=False)

    @property
    def _label(self) -> str:
        return self.lane.kind.label


class MarketDataWriter(LaneWriter):
    """Writes candles, trades, order books or imbalances.

    Args:
        lane: see `LaneWriter`.
        database: see `LaneWriter`.
        settings: see `LaneWriter`.
        hooks: see `LaneWriter`.
        on_alarm: see `LaneWriter`.
        store: what is done for this kind.
        streams: what events refer to.
        cache: what is refused is taken out of it again.
        send: sends to quarantine, and returns when that is safe.
    """

    def __init__(
        self,
        lane: Lane,
        database: DatabaseConnectionManager | AsyncEngine,
        settings: IngestionSettings,
        hooks: IngestionHooks,
        on_alarm: OnAlarm,
        *,
        store: Store,
        streams: Streams,
        cache: LiveCache | None,
        send: Callable[[KeptReject], Awaitable[None]],
    ) -> None:
        super().__init__(lane, database, settings, hooks, on_alarm)
        self._store, self._streams, self._cache, self._send = store, streams, cache, send

    async def write(self, payloads: Sequence[bytes]) -> WriteCounts:
        """Write a batch; what the stored scales do not hold goes to quarantine, after the rest is committed."""
        async with UnitOfWork(self.database) as uow:
            stored = await self._hold(uow, payloads)
            columns, misfits = self._store.columns(payloads, self._streams, stored)
            counts = WriteCounts()
            if len(columns[0].data):
                counts = await self._store.write(uow.connection, columns)
            await uow.commit()
        if self.hooks.on_queryable is not None:
            self.hooks.on_queryable(self.lane.kind, _known_at(columns))
        self._streams.follow(stored.values())
        for row in misfits.nonzero()[0].tolist():
            await self.quarantine(payloads[row], self._misfit(payloads[row], stored))
            self.quarantined += 1
        fit = len(payloads) - int(misfits.sum())
        return counts + WriteCounts(unchanged=fit - counts.inserted - counts.updated - counts.unchanged)

    async def quarantine(self, payload: bytes, reason: RejectReason) -> None:
        """Send one event to quarantine, with its exact values, and take it out of the cache."""
        item = self._store.item(payload, self._streams, "float")
        if isinstance(item, OrderBookImbalances):
            logger.error("%s is refused and left out; it can be computed again: %s", item, reason.message)
        else:
            await self._keep(payload, reason)
        if self._cache is not None:
            self._cache.discard(item)

    async def _keep(self, payload: bytes, reason: RejectReason) -> None:
        exact = self._store.item(payload, self._streams, "decimal")
        record = {name: getattr(exact, name) for name in exact.__slots__}
        timeframe = record.pop("timeframe", None)
        label = None if timeframe is None else timeframe.label
        kept = KeptReject.of_record(
            self.lane.kind.label, record, reason, source=self.settings.source, timeframe=label
        )
        await self._send(kept)

    async def _hold(self, uow: UnitOfWork, payloads: Sequence[bytes]) -> dict[str, Instrument]:
        """Return the instruments, held until the transaction ends; those that are not there yet are registered."""
        numbers = set(self._store.numbers(payloads).tolist())
        streams = {self._streams[number].symbol: self._streams[number] for number in sorted(numbers)}
        stored = await uow.instruments.hold_for_write(streams)
        missing = sorted(set(streams) - set(stored))
        for symbol in missing:
            with suppress(ScaleError):  # somebody was faster, with smaller scales: those count
                await uow.instruments.ensure(symbol, *streams[symbol].scales)
        return stored | (await uow.instruments.hold_for_write(missing) if missing else {})

    def _misfit(self, payload: bytes, stored: dict[str, Instrument]) -> RejectReason:
        stream = self._streams[int(self._store.numbers([payload])[0])]
        instrument = stored[stream.symbol]
        hint = (
            f"{stream.symbol} is registered with price_scale {instrument.price_scale} and size_scale "
            f"{instrument.size_scale}, which do not hold it; `datalayer instruments widen` gives larger ones"
        )
        error = ScaleError("record", f"scales {stream.scales}", hint)
        return RejectReason.of_error(error)


def reason_of_error(error: DatabaseError | InvalidInputError) -> RejectReason:
    """Return why a record is refused, as quarantine keeps it."""
    if isinstance(error, InvalidInputError):
        return RejectReason.of_error(error)
    return RejectReason("database", None, None, shown(str(error)))


def _known_at(columns: Sequence[Column]) -> NDArray[np.datetime64]:
    """Return since when each event could be known: a candle since its close."""
    by_name = {column.name: column.data for column in columns}
    times = by_name["ts"]
    return times + by_name["timeframe"].astype("timedelta64[s]") if "timeframe" in by_name else times


def _is_of_a_record(error: DatabaseError | InvalidInputError) -> bool:
    return isinstance(error, InvalidInputError) or (error.sqlstate or "").startswith(_OF_A_RECORD)
