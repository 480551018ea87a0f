"""Sending rejected records in again, after a rule or a scale was mended."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.validation import DataValidator, Rule
from datalayer.domain.validation.result import shown
from datalayer.errors import DatabaseError, InvalidInputError
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.reject_kinds import Candles, OrderBooks, Trades
from datalayer.repositories.reject_rows import RejectReason
from datalayer.repositories.rejects import RejectRepository

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.validation import ValidationLimits
    from datalayer.repositories.reject_kinds import RecordKind
    from datalayer.repositories.reject_payload import RejectPayload
    from datalayer.repositories.reject_rows import Reject, RejectFilter

BATCH: Final = 1_000
"""Records that are looked at in one transaction."""

# Data exceptions and broken constraints: the fault of a record, not of the connection.
_OF_A_RECORD: Final = ("22", "23")


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of one batch of records.

    Attributes:
        stored: ids of the records that are stored now, or were already.
        refused: by id, ascending, why a record stays open.
        last_id: the largest id that was looked at, from which to go on; None: there was none left.
    """

    stored: tuple[int, ...]
    refused: Mapping[int, RejectReason]
    last_id: int | None


async def retry_rejects(
    conn: AsyncConnection,
    wanted: RejectFilter | None = None,
    *,
    after_id: int = 0,
    limit: int = BATCH,
    limits: ValidationLimits | None = None,
    now: datetime | None = None,
) -> Retried:
    """Validate open records again, write those that are accepted now, and mark them as retried.

    Writing and marking are one transaction, the caller's: a crash leaves both undone, and a repetition does both. A record
    never replaces what is stored, unless it is a later state of the same forming candle. It counts as stored if the same,
    or a later state of it, is stored already; if what is stored contradicts it, it stays open.

    Args:
        conn: connection inside the caller's transaction.
        wanted: which records, of those that are open; None: all. Records that others are retrying are left out.
        after_id: only those with a larger id.
        limit: at most so many, in the order of their ids.
        limits: what is plausible.
        now: the clock, aware; None: that of this machine.

    Raises:
        InvalidInputError: the symbol of the filter names no pair, or `now` is naive.
        DatabaseError: the server refuses or is gone; the transaction is aborted.
    """
    rejects = RejectRepository(conn)
    batch = await rejects.lock_rejects(wanted, after_id=after_id, limit=limit)
    retry = _Retry(conn, limits, now)
    await retry.run(batch)
    await rejects.resolve(sorted(retry.stored), "retried")
    known = {reject.id: reject for reject in batch}
    for reject_id, reason in retry.refused.items():
        if reason != RejectReason.of_reject(known[reject_id]):
            await rejects.set_reason(reject_id, reason)
    refused = dict(sorted(retry.refused.items()))
    return Retried(tuple(sorted(retry.stored)), refused, batch[-1].id if batch else None)


@dataclass(frozen=True, slots=True)
class _Item:
    id: int
    record: dict[str, Any]


@dataclass(slots=True)
class _Retry:
    conn: AsyncConnection
    limits: ValidationLimits | None
    now: datetime | None
    stored: set[int] = field(default_factory=set)
    refused: dict[int, RejectReason] = field(default_factory=dict)

    async def run(self, batch: Sequence[Reject]) -> None:
        groups: dict[tuple[str, str, Timeframe | None], list[_Item]] = defaultdict(list)
        for reject in batch:
            try:
                payload = reject.decoded()
                key = (canonical_symbol(reject.symbol or ""), reject.kind, _timeframe(reject, payload))
                groups[key].append(_Item(reject.id, payload.record))
            except InvalidInputError as exc:
                self.refused[reject.id] = RejectReason.of_error(exc)
        # In the order of symbols, so that two retries at once cannot wait for each other.
        for (symbol, kind, timeframe), items in sorted(groups.items(), key=lambda group: str(group[0])):
            await self._run_group(symbol, kind, timeframe, items)

    async def _run_group(
        self, symbol: str, kind: str, timeframe: Timeframe | None, items: list[_Item]
    ) -> None:
        try:
            instrument = await InstrumentRepository(self.conn).get_for_write(symbol)
            records = self._records(DataValidator(instrument, self.limits), kind, timeframe)
        except InvalidInputError as exc:
            self.refused |= dict.fromkeys([item.id for item in items], RejectReason.of_error(exc))
            return
        await self._settle(records, items)

    def _records(self, validator: DataValidator, kind: str, timeframe: Timeframe | None) -> RecordKind:
        if kind == "candle" and timeframe is not None:
            return Candles(self.conn, validator, timeframe, self.now)
        if kind == "trade":
            return Trades(self.conn, validator, self.now)
        if kind == "order_book":
            return OrderBooks(self.conn, validator, self.now)
        raise InvalidInputError("kind", kind, "records of this kind cannot be sent in again")

    async def _settle(self, records: RecordKind, items: Sequence[_Item]) -> None:
        result = records.validate([item.record for item in items])
        for row in result.rejected:
            self.refused[items[row.row].id] = RejectReason.of_row(row)
        accepted = [items[row] for row in result.accepted_rows.tolist()]
        fault = await self._write(records, result.accepted) if accepted else None
        if fault is None:
            self.stored |= {item.id for item in accepted}
        elif len(accepted) == 1:
            await self._settle_with_stored(records, accepted[0], fault)
        else:
            # Something in there meets what is stored. Halves lead to it in few writes.
            middle = len(accepted) // 2
            await self._settle(records, accepted[:middle])
            await self._settle(records, accepted[middle:])
        for row in result.dropped_rows.tolist():
            await self._settle_with_stored(records, items[row], fault or _CONTRADICTS)

    async def _write(self, records: RecordKind, accepted: Any) -> RejectReason | None:
        """Write, and take it back if a stored row was replaced or passed over; return why."""
        try:
            async with self.conn.begin_nested() as savepoint:
                counts = await records.write(accepted)
                if not records.changed(counts):
                    return None
                await savepoint.rollback()
                return _CONTRADICTS
        except InvalidInputError as exc:
            return RejectReason.of_error(exc)
        except DatabaseError as exc:
            if not (exc.sqlstate or "").startswith(_OF_A_RECORD):
                raise
            return RejectReason("database", None, None, shown(str(exc)))

    async def _settle_with_stored(self, records: RecordKind, item: _Item, fault: RejectReason) -> None:
        result = records.validate([item.record])
        stored = await records.stored(result.accepted) if result.is_clean else None
        if stored is None:
            self.refused[item.id] = fault
        elif records.continues(stored, item.record):
            # The same, or a later state of a forming candle.
            await records.write(result.accepted)
            self.stored.add(item.id)
        elif records.continues(item.record, stored):
            self.stored.add(item.id)
        else:
            self.refused[item.id] = fault


_CONTRADICTS: Final = RejectReason(
    Rule.NO_CONFLICT.value,
    None,
    None,
    "another record of the same key is stored and says something else; discard this one, or write it by hand if it is right",
)


def _timeframe(reject: Reject, payload: RejectPayload) -> Timeframe | None:
    if reject.kind != "candle":
        return None
    return Timeframe.parse(payload.timeframe or payload.record.get("timeframe") or "")
