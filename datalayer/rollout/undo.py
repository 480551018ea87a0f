"""A file taken out again: exactly the rows that it brought, unless somebody has changed them since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.rollout.aggregate_check import refresh_dirty
from datalayer.rollout.exact_rows import Series
from datalayer.rollout.file_migrator import record_dirty
from datalayer.rollout.ledger import MigrationLedger
from datalayer.rollout.record_kinds import KINDS, feeds_aggregates
from datalayer.rollout.row_sets import row_count, unpacked

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.domain.instrument import Instrument
    from datalayer.rollout.ledger import FileState, LedgerFile, LedgerPiece
    from datalayer.rollout.record_kinds import RecordKind


@dataclass(frozen=True, slots=True)
class Undone:
    """What a rollback did.

    Attributes:
        removed: rows that the file had brought, and that are gone now.
        restored: rows that the file had overwritten, and that say what they said before.
        left: rows that somebody has changed or deleted since; they are as that somebody left them.
    """

    removed: int = 0
    restored: int = 0
    left: int = 0

    def __add__(self, other: Undone) -> Undone:
        return Undone(self.removed + other.removed, self.restored + other.restored, self.left + other.left)

    def __str__(self) -> str:
        changed = f", {self.left:,} left since somebody changed them" if self.left else ""
        return f"{self.removed:,} rows taken out, {self.restored:,} brought back{changed}"


async def undo_file(
    engine: AsyncEngine, noted: LedgerFile, state: FileState, reason: str | None = None
) -> Undone:
    """Take out what a file brought, and bring back what it overwrote; a transaction a piece, the last piece first.

    A row counts as the file's as long as it says exactly what the file said. The file has its new state before the first
    piece goes: whoever migrates next finishes what was interrupted (`finish_undoing`), and does not take it for migrated. What
    the aggregates are to forget is on the list of the refresher in the transaction of each piece.

    Args:
        engine: on a migrated database.
        noted: the file, as the ledger has it.
        state: what it is afterwards.
        reason: why, kept with it.

    Raises:
        DatabaseError: the server refuses, or the connection is lost. The pieces that were undone are undone.
    """
    undone = Undone()
    await _set_state(engine, noted, state, reason)
    async with engine.connect() as conn:
        numbers = await MigrationLedger(conn).list_piece_numbers(noted.id)
    for number in reversed(numbers):
        undone += await _undo_piece(engine, noted, number)
    if feeds_aggregates(KINDS[noted.kind], noted.length):
        await refresh_dirty(engine)
    await _set_state(engine, noted, state, str(undone) if reason is None else f"{reason}; {undone}")
    return undone


async def finish_undoing(engine: AsyncEngine) -> list[tuple[LedgerFile, Undone]]:
    """Take out what is left of files whose taking out was interrupted, and return which those are, the last one first.

    Raises:
        DatabaseError: as `undo_file`.
    """
    async with engine.connect() as conn:
        begun = await MigrationLedger(conn).list_half_undone()
    return [(noted, await undo_file(engine, noted, noted.state, noted.message)) for noted in reversed(begun)]


async def _set_state(engine: AsyncEngine, noted: LedgerFile, state: FileState, message: str | None) -> None:
    async with UnitOfWork(engine) as uow:
        await MigrationLedger(uow.connection).set_file_state(noted.id, state, message)
        await uow.commit()


async def _undo_piece(engine: AsyncEngine, noted: LedgerFile, number: int) -> Undone:
    kind = KINDS[noted.kind]
    async with UnitOfWork(engine) as uow:
        instrument = await uow.instruments.get_for_write(noted.symbol)
        ledger = MigrationLedger(uow.connection)
        piece = await ledger.find_piece(noted.id, number)
        if piece is None:
            return Undone()
        series = Series(uow.connection, kind, kind.constants(instrument, noted.length))
        factors = _factors(kind, piece, instrument)
        removed = restored = 0
        if piece.inserted_rows is not None:
            removed = await series.delete(piece.inserted_rows, factors)
        if piece.replaced_rows is not None and piece.replacing_rows is not None:
            restored = await series.replace(piece.replacing_rows, piece.replaced_rows, factors)
        changed = None if piece.first_ts is None or piece.last_ts is None else (piece.first_ts, piece.last_ts)
        await record_dirty(uow.connection, kind, noted, changed, taken_out=True)
        await ledger.drop_piece(noted.id, number)
        await uow.commit()
    brought = _rows(kind, piece.inserted_rows) + _rows(kind, piece.replacing_rows)
    return Undone(removed, restored, brought - removed - restored)


def _factors(kind: RecordKind, piece: LedgerPiece, instrument: Instrument) -> dict[str, int]:
    """Return by column what rows of then are to be multiplied by, if a scale was widened since; it never narrows."""
    price = 10 ** (instrument.price_scale - piece.price_scale)
    size = 10 ** (instrument.size_scale - piece.size_scale)
    return dict.fromkeys(kind.prices, price) | dict.fromkeys(kind.sizes, size)


def _rows(kind: RecordKind, packed_rows: bytes | None) -> int:
    return 0 if packed_rows is None else row_count(unpacked(packed_rows, kind.types))
