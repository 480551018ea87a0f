"""Every row of a file compared with what is stored: exact values, nothing missing, nothing left over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from datalayer.db.staged_write import time_bounds
from datalayer.domain.steps import from_steps
from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.rollout.exact_rows import Series
from datalayer.rollout.file_migrator import checked_pieces
from datalayer.rollout.ledger import MigrationLedger
from datalayer.rollout.row_sets import any_differs, common, differing, picked, row_count, unpacked
from datalayer.rollout.source_file import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.domain.instrument import Instrument
    from datalayer.rollout.file_migrator import Source
    from datalayer.rollout.piece_writer import CheckedPiece
    from datalayer.rollout.row_sets import Rows

_SHOWN: int = 20


@dataclass(slots=True)
class FileVerification:
    """What the comparison of a file with the database found.

    Attributes:
        path: of the file, below the cache folder.
        symbol: of its rows.
        timeframe: of candles, as in `1m`; else the kind.
        rows: rows of the file.
        equal: rows that are stored just so.
        kept: rows that were passed over, since the stored ones said something else before.
        forming: candles that were not closed when the file was written.
        repeated: rows that repeat another, or are an earlier revision of it.
        rejected: rows in quarantine.
        missing: rows that should be stored, and are not.
        altered: rows that are stored with other values, and were not passed over.
        gaps: candles that the file itself lacks between its first and its last.
        first: first time in the file, UTC.
        last: last one.
        findings: what is wrong, in words; of rows the first few.
    """

    path: str
    symbol: str
    timeframe: str
    rows: int
    first: datetime | None
    last: datetime | None
    gaps: int
    equal: int = 0
    kept: int = 0
    forming: int = 0
    repeated: int = 0
    rejected: int = 0
    missing: int = 0
    altered: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether every row is accounted for, and those that are stored are stored exactly."""
        return not self.findings

    def find(self, text: str) -> None:
        """Note what is wrong, unless enough is noted."""
        if len(self.findings) < _SHOWN:
            self.findings.append(text)


async def verify_file(
    engine: AsyncEngine, source: Source, on_rows: Callable[[int], None]
) -> FileVerification:
    """Read a file again, and compare every row with the database.

    Args:
        engine: on the database.
        source: the file, with what the ledger says of it.
        on_rows: told after each piece how many rows of the file it was about.

    Raises:
        DatabaseError: the server refuses, or the connection is lost.
        OSError: the file cannot be read.
    """
    noted, scan = source.noted, source.scan
    label = noted.kind if noted.length is None else noted.length.label
    found = FileVerification(noted.path, noted.symbol, label, scan.rows, scan.first, scan.last, scan.missing)
    if sha256_of(source.found.path) != noted.sha256:
        found.find("the file was changed after it was migrated")
    async with engine.connect() as conn:
        instrument = await InstrumentRepository(conn).get(noted.symbol)
        ledger = MigrationLedger(conn)
        kept, counts = await ledger.kept_rows(noted.id), await ledger.counts(noted.id)
    async for number, raw, checked in checked_pieces(source, set(range(scan.pieces)), instrument):
        passed_over = unpacked(kept[number], source.kind.types) if number in kept else None
        found.forming += checked.forming
        found.repeated += checked.repeated
        found.rejected += len(checked.rejected)
        if row_count(checked.rows):
            await _compare(engine, source, instrument, (raw, checked, passed_over), found)
        on_rows(len(raw["ts"]))
    _check_sums(found, counts)
    return found


async def _compare(
    engine: AsyncEngine,
    source: Source,
    instrument: Instrument,
    piece: tuple[dict[str, Any], CheckedPiece, Rows | None],
    found: FileVerification,
) -> None:
    raw, checked, passed_over = piece
    kind = source.kind
    async with UnitOfWork(engine) as uow:
        series = Series(uow.connection, kind, kind.constants(instrument, source.noted.length))
        stored = await series.read(*time_bounds(kind.target.time, list(checked.rows.values())))
    ours, theirs = common(checked.rows, stored, kind.key)
    mine, there = picked(checked.rows, ours), picked(stored, theirs)
    wrong = differing(kind, mine, there)
    for name, column in _unlike_the_file(source, raw, checked.positions[ours], there, instrument).items():
        wrong[name] |= column
    other = any_differs(wrong)
    excused = np.zeros(len(ours), dtype=bool)
    if passed_over is not None:
        excused[common(mine, passed_over, kind.key)[0]] = True
    found.kept += int((other & excused).sum())
    _note_altered(source, mine, there, other & ~excused, found)
    found.equal += int((~other).sum())
    absent = np.ones(row_count(checked.rows), dtype=bool)
    absent[ours] = False
    _note_missing(source, picked(checked.rows, absent), found)


def _unlike_the_file(
    source: Source, raw: dict[str, Any], rows: NDArray[np.int64], there: Rows, instrument: Instrument
) -> dict[str, NDArray[np.bool_]]:
    """Compare what is stored, decoded, with the very floats of the file: past all that turned them into steps."""
    unlike = {}
    for name in source.kind.values:
        given = raw.get(name)
        if isinstance(given, np.ndarray) and given.dtype == np.float64 and given.ndim == 1:
            scale = instrument.price_scale if name in source.kind.prices else instrument.size_scale
            if name in source.kind.prices | source.kind.sizes:
                unlike[name] = from_steps(there[name].data, scale) != given[rows]
    return unlike


def _note_altered(
    source: Source, mine: Rows, there: Rows, wrong: NDArray[np.bool_], found: FileVerification
) -> None:
    last_us = None if source.scan.last is None else np.datetime64(source.scan.last.replace(tzinfo=None), "us")
    for row in np.flatnonzero(wrong).tolist():
        is_last = source.kind.name == "candle" and mine["ts"].data[row] == last_us
        if is_last and there["volume"].data[row] > mine["volume"].data[row]:
            found.forming += 1  # left out for the complete candle that is stored
            continue
        found.altered += 1
        values = [
            f"{name} {mine[name].data[row]} in the file, {there[name].data[row]} stored"
            for name in source.kind.values
            if not np.array_equal(mine[name].data[row], there[name].data[row])
        ]
        found.find(f"altered: {_key(source, mine, row)}: {'; '.join(values)} (steps)")


def _note_missing(source: Source, absent: Rows, found: FileVerification) -> None:
    found.missing += row_count(absent)
    for row in range(min(row_count(absent), _SHOWN)):
        found.find(f"missing: {_key(source, absent, row)}")


def _key(source: Source, rows: Rows, row: int) -> str:
    return ", ".join(f"{name} {rows[name].data[row]}" for name in source.kind.key)


def _check_sums(found: FileVerification, counts: dict[str, int]) -> None:
    told = found.equal + found.kept + found.forming + found.repeated + found.rejected
    if told + found.missing + found.altered != found.rows:
        found.find(f"{found.rows:,} rows in the file, and {told:,} of them are accounted for")
    written = sum(counts.values())
    if written != found.rows:
        found.find(f"the ledger accounts for {written:,} rows, the file has {found.rows:,}")
    for name in ("rejected", "repeated", "forming"):
        if counts[name] != getattr(found, name):
            found.find(f"{name}: {counts[name]:,} when it was written, {getattr(found, name):,} now")
