"""Writes rejected records to quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import DatabaseError, InvalidInputError
from datalayer.ingestion.codec import decode_reject
from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.ingestion.writer import LaneWriter
from datalayer.repositories.reject_report import RejectReporter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.ingestion.lane import Lane
    from datalayer.ingestion.outbox import OnAlarm
    from datalayer.ingestion.ports import IngestionHooks
    from datalayer.ingestion.settings import IngestionSettings
    from datalayer.ingestion.streams import Streams
    from datalayer.repositories.reject_rows import RejectReason


class RejectWriter(LaneWriter):
    """Writes rejected records, tells of them once a burst, and looks whether scales were widened meanwhile.

    Args:
        lane: see `LaneWriter`.
        database: see `LaneWriter`.
        settings: see `LaneWriter`.
        hooks: see `LaneWriter`.
        on_alarm: see `LaneWriter`.
        streams: takes scales that were widened.
    """

    def __init__(
        self,
        lane: Lane,
        database: DatabaseConnectionManager | AsyncEngine,
        settings: IngestionSettings,
        hooks: IngestionHooks,
        on_alarm: OnAlarm,
        *,
        streams: Streams,
    ) -> None:
        super().__init__(lane, database, settings, hooks, on_alarm)
        self._streams = streams
        self.reporter = RejectReporter(hooks.on_rejected)

    async def write(self, payloads: Sequence[bytes]) -> WriteCounts:
        """Write a batch."""
        rejects = [decode_reject(payload) for payload in payloads]
        async with UnitOfWork(self.database) as uow:
            counts = await uow.rejects.keep_all(rejects)
            known = {
                symbol for reject in rejects if (symbol := _canonical(reject.symbol)) in self._streams.current
            }
            held = await uow.instruments.hold_for_write(known) if known else {}
            await uow.commit()
        self._streams.follow(held.values())
        self.reporter.report(counts)
        return WriteCounts(inserted=len(rejects))

    async def quarantine(self, payload: bytes, reason: RejectReason) -> None:
        """Raise: there is no quarantine of the quarantine. The record stays in the outbox and is tried again."""
        del payload
        msg = f"a rejected record cannot be kept: {reason.message}"
        raise DatabaseError(msg)


def _canonical(symbol: str | None) -> str | None:
    try:
        return canonical_symbol(symbol or "")
    except InvalidInputError:
        return None
