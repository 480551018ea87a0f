"""Quarantine: what a rule refused is kept with all that is needed to look at it and to send it in again."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories.reject_rows import (
    COLUMNS,
    KeptReject,
    Reject,
    RejectFilter,
    RejectKey,
    RejectReason,
    RejectStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.validation import RejectedRow

_ROWS_PER_INSERT: Final = 1_000
_KEPT: Final = {
    "kind": "text",
    "symbol": "text",
    "ts": "timestamptz",
    "source": "text",
    "rule": "text",
    "field": "text",
    "value": "text",
    "message": "text",
    "payload": "bytea",
}
# A feed that reconnects and a job that is started again send the same once more. Only what is recent is compared, by
# the index: a quarantine may grow large.
_INSERT: Final = text(f"""
    INSERT INTO rejected_records ({", ".join(_KEPT)})
    SELECT {", ".join("new." + name for name in _KEPT)}
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _KEPT.items())})
        WITH ORDINALITY AS new ({", ".join(_KEPT)}, place)
    WHERE NOT EXISTS (
        SELECT FROM rejected_records AS kept
        WHERE kept.status = 'open' AND kept.received_at > now() - INTERVAL '1 day'
          AND (kept.kind, kept.source, kept.payload) = (new.kind, new.source, new.payload)
    )
    ORDER BY place
""")
_SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM rejected_records"


class RejectRepository:
    """Keeps rejected records and reads them inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def keep(
        self, rejected: Iterable[RejectedRow], *, source: str, timeframe: Timeframe | str | None = None
    ) -> Counter[RejectKey]:
        """Keep rejected rows. Repeating it within a day adds nothing while the records are open.

        Args:
            rejected: as validation hands them back.
            source: feed or file that they came from.
            timeframe: of candles; needed to validate them again, unless each record says it.

        Returns:
            How many rows were handed in, by source, kind and rule: for `RejectReporter`, once the transaction is
            committed.

        Raises:
            InvalidInputError: the timeframe is unknown.
            DatabaseError: the server refuses; the transaction is aborted.
        """
        label = None if timeframe is None else Timeframe.parse(timeframe).label
        return await self.keep_all(KeptReject.of_row(row, source, label) for row in rejected)

    async def keep_all(self, rejects: Iterable[KeptReject]) -> Counter[RejectKey]:
        """Keep rejected records, of any kinds and sources; otherwise as `keep`.

        Raises:
            DatabaseError: the server refuses; the transaction is aborted.
        """
        counts: Counter[RejectKey] = Counter()
        rows = iter(rejects)
        while batch := list(islice(rows, _ROWS_PER_INSERT)):
            counts.update(reject.key for reject in batch)
            distinct = {(reject.source, reject.kind, reject.payload): reject for reject in reversed(batch)}
            first = list(reversed(distinct.values()))
            with driver_errors_translated():
                await self._conn.execute(
                    _INSERT, {name: [getattr(reject, name) for reject in first] for name in _KEPT}
                )
        return counts

    async def list_rejects(
        self, wanted: RejectFilter | None = None, *, after_id: int = 0, limit: int = 100
    ) -> list[Reject]:
        """Return records, ascending by id.

        Args:
            wanted: which ones; None: all open ones.
            after_id: only those with a larger id, to read on page by page.
            limit: at most so many.
        """
        return await self._select(wanted or RejectFilter(), "", after_id, limit)

    async def lock_rejects(
        self, wanted: RejectFilter | None = None, *, after_id: int = 0, limit: int = 100
    ) -> list[Reject]:
        """Do as `list_rejects`, and keep the records from others until the transaction ends; leaves out what others hold."""
        return await self._select(wanted or RejectFilter(), "FOR UPDATE SKIP LOCKED", after_id, limit)

    async def get(self, reject_id: int) -> Reject:
        """Return one record.

        Raises:
            InvalidInputError: there is none of this id.
        """
        found = await self._select(RejectFilter(ids=(reject_id,), status=None), "", 0, 1)
        if not found:
            raise InvalidInputError("id", reject_id, "there is no such rejected record")
        return found[0]

    async def resolve(self, ids: Sequence[int], status: RejectStatus) -> int:
        """Mark open records as retried or discarded; others stay as they are. Returns how many were open."""
        statement = text(
            "UPDATE rejected_records SET status = :status, resolved_at = now()"
            " WHERE id = ANY (CAST(:ids AS bigint[])) AND status = 'open'"
        )
        if status == "open":
            raise InvalidInputError("status", status, "use retried or discarded")
        with driver_errors_translated():
            result = await self._conn.execute(statement, {"status": status, "ids": list(ids)})
        return int(result.rowcount)

    async def set_reason(self, reject_id: int, reason: RejectReason) -> None:
        """Replace the reason of an open record by what refuses it now; its payload stays."""
        statement = text(
            "UPDATE rejected_records SET rule = :rule, field = :field, value = :value, message = :message"
            " WHERE id = :id AND status = 'open'"
        )
        with driver_errors_translated():
            await self._conn.execute(statement, asdict(reason) | {"id": reject_id})

    async def _select(self, wanted: RejectFilter, lock: str, after_id: int, limit: int) -> list[Reject]:
        condition, parameters = wanted.where()
        statement = text(f"{_SELECT} WHERE {condition} AND id > :after ORDER BY id LIMIT :limit {lock}")
        with driver_errors_translated():
            rows = await self._conn.execute(statement, parameters | {"after": after_id, "limit": limit})
        return [Reject(*row) for row in rows]
