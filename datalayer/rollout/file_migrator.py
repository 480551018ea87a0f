"""One file into the database, a transaction a piece: what is committed is noted in the ledger in the same transaction."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from datalayer.db.dirty_ranges import record_ranges
from datalayer.db.retry import RetryableDBOperation
from datalayer.domain.moments import to_microseconds
from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.rollout.exact_rows import Series
from datalayer.rollout.ledger import MigrationLedger
from datalayer.rollout.piece_writer import check_piece, write_piece
from datalayer.rollout.record_kinds import KINDS, feeds_aggregates
from datalayer.rollout.source_file import read_pieces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from datetime import tzinfo

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.domain.instrument import Instrument
    from datalayer.rollout.discovery import FoundFile
    from datalayer.rollout.ledger import LedgerFile
    from datalayer.rollout.piece_writer import CheckedPiece, ConflictPolicy
    from datalayer.rollout.record_kinds import RecordKind
    from datalayer.rollout.source_file import FileScan

_RETRY: Final = RetryableDBOperation(deadline_s=600)
_WRITERS: Final = 2
"""Pieces that are written at once: the server takes the rows of one in a process, and pieces have no time in common."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file with all that is needed to read it as it was read first.

    Attributes:
        found: where it is.
        scan: what it holds.
        noted: what the ledger says of it.
        naive_zone: what timezone naive times are in.
    """

    found: FoundFile
    scan: FileScan
    noted: LedgerFile
    naive_zone: tzinfo

    @property
    def kind(self) -> RecordKind:
        """The kind of its records."""
        return KINDS[self.noted.kind]

    def pieces(self, wanted: set[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield pieces as `read_pieces` does."""
        return read_pieces(self.found, self.scan, wanted, self.naive_zone, self.noted.rows_per_piece)

    def check(self, raw: dict[str, Any], instrument: Instrument) -> CheckedPiece:
        """Check a piece as it was checked when it was written."""
        as_of, now = self.noted.as_of, datetime.now(UTC)
        return check_piece(self.kind, raw, instrument, self.noted.length, as_of=as_of, now=now)


async def checked_pieces(
    source: Source, wanted: set[int], instrument: Instrument
) -> AsyncGenerator[tuple[int, dict[str, Any], CheckedPiece]]:
    """Yield pieces of a file with what validation says of them, the next one being read while one is at work."""
    pieces = source.pieces(wanted)

    def read_next() -> tuple[int, dict[str, Any], CheckedPiece] | None:
        piece = next(pieces, None)
        return None if piece is None else (*piece, source.check(piece[1], instrument))

    following = asyncio.create_task(asyncio.to_thread(read_next))
    try:
        while (piece := await following) is not None:
            following = asyncio.create_task(asyncio.to_thread(read_next))
            yield piece
    finally:
        await asyncio.gather(following, return_exceptions=True)


async def migrate_file(
    engine: AsyncEngine, source: Source, policy: ConflictPolicy, on_rows: Callable[[int], None]
) -> None:
    """Write those pieces of a file that are not in the ledger yet; some at a time, so that they end in any order.

    Args:
        engine: on a migrated database; the instrument is registered.
        source: the file.
        policy: what happens to rows that are stored with other values.
        on_rows: told after each transaction how many rows of the file it was about.

    Raises:
        ConflictError: `policy` is "fail", and a stored row says something else. Other pieces may be stored.
        DatabaseError: the server refuses, or the connection is lost; likewise.
        OSError: the file cannot be read; likewise.
    """
    async with engine.connect() as conn:
        done = await MigrationLedger(conn).list_piece_numbers(source.noted.id)
        instrument = await InstrumentRepository(conn).get(source.noted.symbol)
    pieces = checked_pieces(source, set(range(source.scan.pieces)) - set(done), instrument)
    reading, failures = asyncio.Lock(), list[Exception]()

    async def write_on() -> None:
        while not failures:
            try:
                async with reading:
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                await _RETRY(_write, engine, source, policy, piece, instrument)
                on_rows(len(piece[1]["ts"]))
            except Exception as exc:  # noqa: BLE001 (raised below, once no other piece is under way)
                failures.append(exc)

    try:
        await asyncio.gather(*(write_on() for _ in range(_WRITERS)))
    finally:
        await pieces.aclose()
    if failures:
        raise failures[0]


async def record_dirty(
    conn: AsyncConnection,
    source_kind: RecordKind,
    noted: LedgerFile,
    changed: tuple[datetime, datetime] | None,
    *,
    taken_out: bool = False,
) -> None:
    """Say in the transaction that wrote them, or took them out, that rows were changed which aggregates are made of."""
    if changed is None or source_kind.family is None or not feeds_aggregates(source_kind, noted.length):
        return
    await record_ranges(conn, source_kind.family, [changed[0]], [changed[1]], taken_out=taken_out)


async def _write(
    engine: AsyncEngine,
    source: Source,
    policy: ConflictPolicy,
    piece: tuple[int, dict[str, Any], CheckedPiece],
    assumed: Instrument,
) -> None:
    number, raw, checked = piece
    kind, noted = source.kind, source.noted
    async with UnitOfWork(engine) as uow:
        ledger = MigrationLedger(uow.connection)
        if number in await ledger.list_piece_numbers(noted.id):
            return  # the answer to an earlier COMMIT was lost
        instrument = await uow.instruments.get_for_write(noted.symbol)
        if instrument != assumed:  # widened since
            checked = await asyncio.to_thread(source.check, raw, instrument)
        series = Series(uow.connection, kind, kind.constants(instrument, noted.length))
        last_us = -1 if source.scan.last is None else to_microseconds(source.scan.last)
        written = await write_piece(series, checked.rows, policy, last_us)
        await uow.rejects.keep(checked.rejected, source=noted.path, timeframe=noted.length)
        await record_dirty(uow.connection, kind, noted, written.changed)
        values = {
            "inserted": written.inserted,
            "overwritten": written.overwritten,
            "unchanged": written.unchanged,
            "kept": written.kept,
            "forming": checked.forming + written.forming,
            "repeated": checked.repeated,
            "rejected": len(checked.rejected),
            "price_scale": instrument.price_scale,
            "size_scale": instrument.size_scale,
            "first_ts": written.changed and written.changed[0],
            "last_ts": written.changed and written.changed[1],
            "inserted_rows": written.inserted_rows,
            "replaced_rows": written.replaced_rows,
            "replacing_rows": written.replacing_rows,
            "kept_rows": written.kept_rows,
        }
        await ledger.add_piece(noted.id, number, values)
        await uow.commit()
