"""The inside of the pipeline: outbox, lanes and writers, and their beginning and end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from datalayer.errors import EventsLostError, IngestionClosedError
from datalayer.ingestion.codec import encode_reject
from datalayer.ingestion.contained import ContainedCache, contained_hooks
from datalayer.ingestion.directory import InstrumentDirectory
from datalayer.ingestion.events import EventKind
from datalayer.ingestion.lane import Lane
from datalayer.ingestion.no_outbox import NoOutbox
from datalayer.ingestion.outbox import Outbox
from datalayer.ingestion.reject_writer import RejectWriter
from datalayer.ingestion.statistics import LaneStatistics
from datalayer.ingestion.stores import CandleStore, ImbalanceStore, OrderBookStore, TradeStore
from datalayer.ingestion.streams import Streams
from datalayer.ingestion.writer import LaneWriter, MarketDataWriter

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.ingestion.ports import IngestionHooks, LiveCache
    from datalayer.ingestion.settings import IngestionSettings
    from datalayer.repositories.reject_rows import KeptReject

logger = logging.getLogger(__name__)

_ENTAILED = {
    EventKind.CANDLE: (EventKind.CANDLE, EventKind.REJECT),
    EventKind.TRADE: (EventKind.TRADE, EventKind.REJECT),
    EventKind.ORDER_BOOK: (EventKind.ORDER_BOOK, EventKind.IMBALANCE, EventKind.REJECT),
}
_STORES = (CandleStore, TradeStore, OrderBookStore, ImbalanceStore)


class PipelineCore:
    """What all kinds of events share. See `DataIngestionPipeline`.

    Args:
        database: where events go.
        outbox: path of the outbox; None: there is none.
        cache: what is refused is taken out of it.
        settings: how it works.
        hooks: what is told.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        outbox: Path | None,
        cache: LiveCache | None,
        settings: IngestionSettings,
        hooks: IngestionHooks,
    ) -> None:
        self.settings, self.hooks = settings, contained_hooks(hooks)
        self.cache = None if cache is None else ContainedCache(cache)
        self._database, self._path = database, outbox
        self._tasks: list[asyncio.Task[None]] = []
        self._taking_in = False
        self._begun: dict[EventKind, int] = {}

    async def open(self) -> None:
        """Open the outbox, and begin to write what it still holds."""
        self.outbox = await self._open_outbox()
        try:
            self._begin()
        except BaseException:
            await self.outbox.close()
            raise
        self._taking_in = True

    def _begin(self) -> None:
        self.lanes = {kind: self._lane(kind) for kind in EventKind}
        self.streams = Streams(self.outbox, self.settings.limits)
        self.directory = InstrumentDirectory(
            self._database, self.streams, self.settings, check_open=self.check_open
        )
        self.writers = {writer.lane.kind: writer for writer in self._make_writers()}
        for kind, lane in self.lanes.items():
            lane.resume(self.outbox.acknowledged(kind), self.outbox.last(kind))
            self._begun[kind] = lane.settled
            self._tasks.append(asyncio.create_task(self.writers[kind].run(), name=f"ingestion {kind.label}"))
        left = {kind.label: lane.spilled for kind, lane in self.lanes.items() if lane.spilled}
        if left:
            logger.warning("outbox %s still holds events, which are written now: %s", self._path, left)

    def check_open(self) -> None:
        """Make sure that events are taken in.

        Raises:
            IngestionClosedError: not yet, or no longer.
        """
        if not self._taking_in:
            msg = "the pipeline is not open, or is being drained or closed; it takes no events"
            raise IngestionClosedError(msg)

    def check_begun(self) -> None:
        """Make sure that there is something to tell of.

        Raises:
            IngestionClosedError: the pipeline was never open.
        """
        if not self._begun:
            msg = "the pipeline is not open yet"
            raise IngestionClosedError(msg)

    def check_running(self) -> None:
        """Make sure that events are written.

        Raises:
            IngestionClosedError: not yet, or no longer.
        """
        if not self._tasks:
            msg = "the pipeline is not open, or is closed; it writes nothing"
            raise IngestionClosedError(msg)

    def put(self, kind: EventKind, payload: bytes) -> None:
        """Hand an event to the outbox; it is accepted when `outbox.durable()` returns."""
        self.lanes[kind].entering += 1
        self.outbox.put(kind, payload)

    def has_room(self, kind: EventKind) -> bool:
        """Whether there is room for an event of a kind, and for what it may entail."""
        for other in _ENTAILED[kind]:  # noqa: SIM110 (twice as fast as all(), for each event)
            if not self.lanes[other].has_room:
                return False
        return True

    async def room(self, kind: EventKind) -> None:
        """Wait until there is room for an event of a kind, and for what it may entail.

        Raises:
            IngestionClosedError: there is none any more.
        """
        while not self.has_room(kind):
            for other in _ENTAILED[kind]:
                await self.lanes[other].room()
        self.check_open()

    async def send_reject(self, kept: KeptReject) -> None:
        """Send a record to quarantine, and return when that is safe."""
        await self.lanes[EventKind.REJECT].room()
        self.put(EventKind.REJECT, encode_reject(kept))
        await self.outbox.durable()

    async def flush(self) -> None:
        """Return when all that was accepted until now is in the database or in quarantine there.

        Raises:
            IngestionClosedError: the pipeline is not open, or is closed meanwhile.
        """
        self.check_running()
        await self.outbox.durable()
        data = [lane for kind, lane in self.lanes.items() if kind is not EventKind.REJECT]
        await asyncio.gather(*(_flush(lane) for lane in data))
        await _flush(self.lanes[EventKind.REJECT])  # after those whose records it may have got

    async def drain(self) -> None:
        """Take nothing more in, and flush.

        Raises:
            IngestionClosedError: as for `flush`.
        """
        self._taking_in = False
        await self.flush()

    async def close(self, timeout_s: float) -> dict[EventKind, int]:
        """Drain for a while, and end; return how many events of each kind are left in the outbox.

        Raises:
            EventsLostError: events are left, and there is no outbox.
        """
        if not self._tasks:
            return {}
        try:
            async with asyncio.timeout(timeout_s):
                await self.drain()
        except TimeoutError:
            logger.warning("not everything could be written in %g s", timeout_s)
        finally:
            left = await self._stop()
        if left and self._path is None:
            raise EventsLostError({kind.label: count for kind, count in left.items()})
        return left

    def statistics(self, kind: EventKind) -> LaneStatistics:
        """Return what became of the events of a kind."""
        lane, writer = self.lanes[kind], self.writers[kind]
        return LaneStatistics(
            accepted=lane.accepted - self._begun[kind],
            stored=writer.counts,
            quarantined=writer.quarantined,
            buffered=lane.buffered,
            spilled=lane.spilled,
            retries=writer.retries,
            oldest_age_s=max(lane.age_s, 0.0),
        )

    async def _stop(self) -> dict[EventKind, int]:
        self._taking_in = False
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for lane in self.lanes.values():
            lane.close()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._reject_writer.reporter.flush()
            await self.outbox.close()
        left = {kind: lane.accepted - lane.settled for kind, lane in self.lanes.items()}
        left = {kind: count for kind, count in left.items() if count}
        if left:
            logger.warning("left in outbox %s for the next start: %s", self._path, _named(left))
        return left

    async def _open_outbox(self) -> Outbox | NoOutbox:
        if self._path is None:
            return NoOutbox(self._accepted)
        outbox = Outbox(
            self._path,
            max_bytes=self.settings.outbox_max_bytes,
            fsync=self.settings.outbox_fsync,
            on_durable=self._accepted,
            on_alarm=self.hooks.on_alarm,
        )
        return await outbox.open()

    def _accepted(self, kind: EventKind, first: int, payloads: list[bytes]) -> None:
        self.lanes[kind].add(first, payloads)

    def _lane(self, kind: EventKind) -> Lane:
        return Lane(
            kind,
            capacity=self.settings.buffer_events,
            flush_rows=self.settings.flush_rows,
            flush_after_s=self.settings.flush_after_s,
            read=self.outbox.read if isinstance(self.outbox, Outbox) else None,
            may_spill=self.settings.when_full == "spill",
        )

    def _make_writers(self) -> list[LaneWriter]:
        lanes, hooks = self.lanes, self.hooks
        alarm = hooks.on_alarm or _no_alarm
        common = (self._database, self.settings, hooks, alarm)
        self._reject_writer = RejectWriter(lanes[EventKind.REJECT], *common, streams=self.streams)
        writers: list[LaneWriter] = [
            MarketDataWriter(
                lanes[store.kind],
                *common,
                store=store(),
                streams=self.streams,
                cache=self.cache,
                send=self.send_reject,
            )
            for store in _STORES
        ]
        writers.append(self._reject_writer)
        for writer in writers:
            kind = writer.lane.kind
            writer.on_settled = lambda number, kind=kind: self.outbox.acknowledge(kind, number)  # type: ignore[misc]
        return writers


async def _flush(lane: Lane) -> None:
    lane.hurry()
    await lane.until_settled(lane.accepted)


def _named(counts: dict[EventKind, int]) -> dict[str, int]:
    return {kind.label: count for kind, count in counts.items()}


def _no_alarm(message: str, *, active: bool) -> None:
    del message, active
