"""DataMigrationManager: a folder of Parquet files into the database, verified, and out of it again."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from datalayer.db.connection import DatabaseConnectionManager
from datalayer.errors import ConflictError, InvalidInputError
from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.rollout.aggregate_check import check_migrated
from datalayer.rollout.discovery import UNREADABLE_FILE, Discovery, discover, one_line
from datalayer.rollout.file_migrator import Source, migrate_file
from datalayer.rollout.ledger import LedgerFile, LedgerRun, MigrationLedger
from datalayer.rollout.migration_lock import alone
from datalayer.rollout.migration_report import FileReport, MigrationReport
from datalayer.rollout.patterns import DEFAULT_PATTERNS
from datalayer.rollout.plan import (
    MigrationPlan,
    PlannedFile,
    PlannedScales,
    needed_scales,
    overlaps_of,
    scan_all,
    stored_rows,
)
from datalayer.rollout.progress import ProgressMeter
from datalayer.rollout.source_file import ROWS_PER_PIECE, copy_of, scan_file, snapshot_of
from datalayer.rollout.undo import Undone, finish_undoing, undo_file
from datalayer.rollout.verification import FileVerification, verify_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import tzinfo

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.rollout.discovery import FoundFile, NotUnderstood
    from datalayer.rollout.patterns import FilePattern
    from datalayer.rollout.piece_writer import ConflictPolicy
    from datalayer.rollout.progress import MigrationProgress
    from datalayer.rollout.source_file import FileScan

logger = logging.getLogger(__name__)

_DONE: Final = ("migrated", "verified", "archived")
_UNDER_WAY: Final = ("running", "migrated")
_OF_THE_FILE: Final = (*UNREADABLE_FILE, ConflictError)


class DataMigrationManager:
    """Takes the history of a cache folder into the database, while trading goes on; the files are never changed.

    Each file is written in pieces, a transaction each, which the ledger (`migration_runs`, `migration_files`,
    `migration_pieces`) notes in the same transaction: a run that was killed is taken up where it stood, and one that is
    repeated does nothing. Every row is then compared with its file; a file that fails is taken out again. One migration at a
    time: a second one is refused.

    Args:
        database: an open connection manager, or an engine, on a migrated database; not through a transaction pooler.
        folder: the cache folder.
        patterns: what the names of files mean.
        naive_zone: what timezone naive timestamps are in.
        on_conflict: what happens to rows that are stored with other values; see `ConflictPolicy`.
        rows_per_piece: rows of a transaction.
        on_progress: called after each piece.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        folder: Path,
        *,
        patterns: Sequence[FilePattern] = DEFAULT_PATTERNS,
        naive_zone: tzinfo = UTC,
        on_conflict: ConflictPolicy = "keep",
        rows_per_piece: int = ROWS_PER_PIECE,
        on_progress: Callable[[MigrationProgress], None] | None = None,
    ) -> None:
        if on_conflict not in {"keep", "prefer_file", "fail"}:
            raise InvalidInputError("on_conflict", on_conflict, "use keep, prefer_file or fail")
        self._engine = database.engine if isinstance(database, DatabaseConnectionManager) else database
        self._folder = folder.absolute()
        self._patterns = tuple(patterns)
        self._zone = naive_zone
        self._policy: ConflictPolicy = on_conflict
        self._rows = rows_per_piece
        self._on_progress = on_progress

    async def discover(self) -> Discovery:
        """Return what lies in the folder: what can be migrated, and everything else with the reason.

        Raises:
            InvalidInputError: there is no such folder.
        """
        return await asyncio.to_thread(discover, self._folder, self._patterns)

    async def plan(self) -> MigrationPlan:
        """Read all files, and return what `migrate` would do; writes nothing.

        Raises:
            InvalidInputError: there is no such folder.
            DatabaseError: the server refuses, or the connection is lost.
        """
        found = await self.discover()
        scanned, refused = await self._scan(found)
        needed = await asyncio.to_thread(needed_scales, scanned, self._zone, self._rows)
        async with self._engine.connect() as conn:
            done = _finished(await MigrationLedger(conn).list_files())
            files = []
            for file, scan in scanned:
                stored = await stored_rows(conn, file, scan)
                files.append(PlannedFile(file, scan, (file.name, scan.sha256) in done, stored))
            instruments = InstrumentRepository(conn)
            scales = [
                PlannedScales(symbol, what, await instruments.find(symbol)) for symbol, what in needed.items()
            ]
        overlaps = overlaps_of(files)
        return MigrationPlan(self._folder, tuple(files), refused, tuple(scales), overlaps)

    async def register_instruments(self) -> None:
        """Register the instruments of the folder that are not, with the scales that their files need; may be repeated.

        Raises:
            InvalidInputError: there is no such folder.
            DatabaseError: the server refuses, or the connection is lost.
        """
        scanned, _ = await self._scan(await self.discover())
        await self._register(scanned)

    async def migrate(self) -> MigrationReport:
        """Take what is not taken yet, and verify it; a file that fails is taken out again, and the others go on.

        Returns:
            What became of each file. `run` is None if there was nothing to do.

        Raises:
            InvalidInputError: there is no such folder, another migration is at work, or an unfinished one has another policy.
            DatabaseError: the server refuses, or the connection is lost; a repetition goes on from there.
        """
        async with alone(self._engine):
            await finish_undoing(self._engine)
            scanned, refused = await self._scan(await self.discover())
            run, waiting = await self._open(scanned)
            report = MigrationReport(self._folder, run, refused)
            if run is None:
                return report
            await self._register(waiting)
            meter = ProgressMeter(2 * sum(scan.rows for _, scan in waiting), self._on_progress)
            for kind, work in self._work.items():
                mine = [pair for pair in waiting if pair[0].named.kind == kind]
                report.files += await work(run, mine, meter)
            report.aggregates = await check_migrated(self._engine, [file.noted for file in report.files])
            await self._finish(run, report)
            return report

    async def verify(self, run_id: int) -> MigrationReport:
        """Compare every row of a run's files with the database once more, and its aggregates; changes no rows.

        Args:
            run_id: number of the run.

        Raises:
            InvalidInputError: there is no such run.
            DatabaseError: the server refuses, or the connection is lost.
        """
        return await self._verify_run(run_id, unchanged_only=False)

    async def verify_unchanged(self, run_id: int) -> MigrationReport:
        """Do as `verify`, without those files that somebody has written to since they were migrated; a later run takes them."""
        return await self._verify_run(run_id, unchanged_only=True)

    async def _verify_run(self, run_id: int, *, unchanged_only: bool) -> MigrationReport:
        async with self._engine.connect() as conn:
            run = await MigrationLedger(conn).get_run(run_id)
            noted = [file for file in await MigrationLedger(conn).list_files(run_id) if file.state in _DONE]
        found = await self.discover()
        by_name = {file.name: file for file in found.files}
        report = MigrationReport(self._folder, run, found.not_understood)
        meter = ProgressMeter(sum(file.row_count for file in noted), self._on_progress)
        for file in noted:
            if file.path not in by_name:
                report.files.append(FileReport(file, None, {}, "its file is gone"))
                continue
            with TemporaryDirectory(prefix="datalayer-") as folder:
                try:
                    source = await self._source(by_name[file.path], file, Path(folder))
                    if unchanged_only and source.scan.sha256 != file.sha256:
                        continue
                    verification = await self._verify_migration(source, meter)
                except UNREADABLE_FILE as exc:
                    report.files.append(FileReport(file, None, {}, f"cannot be read: {one_line(exc)}"))
                    continue
            report.files.append(FileReport(file, verification, await self._counts(file)))
        report.aggregates = await check_migrated(self._engine, [file.noted for file in report.files])
        return report

    async def rollback(self, run_id: int) -> dict[str, Undone]:
        """Take out what a run brought, the last file first, and bring back what it overwrote; may be repeated.

        Rows that were stored before, came in since, or were changed since stay as they are.

        Args:
            run_id: number of the run.

        Returns:
            What was done, by path.

        Raises:
            InvalidInputError: there is no such run, or another migration is at work.
            DatabaseError: the server refuses, or the connection is lost; a repetition goes on from there.
        """
        async with alone(self._engine):
            async with self._engine.connect() as conn:
                await MigrationLedger(conn).get_run(run_id)
            begun = await finish_undoing(self._engine)
            done = {file.path: undone for file, undone in begun if file.run_id == run_id}
            async with self._engine.connect() as conn:
                files = await MigrationLedger(conn).list_files(run_id)
            for file in reversed(files):
                if file.state not in {"rolled_back", "failed"}:
                    done[file.path] = await undo_file(self._engine, file, "rolled_back")
            async with UnitOfWork(self._engine) as uow:
                await MigrationLedger(uow.connection).set_run_state(run_id, "rolled_back")
                await uow.commit()
            return done

    async def rollback_file(self, run_id: int, path: str) -> Undone:
        """Take out what one file of a run brought; otherwise as `rollback`.

        Raises:
            InvalidInputError: the run has no such file.
        """
        async with alone(self._engine):
            async with self._engine.connect() as conn:
                files = {file.path: file for file in await MigrationLedger(conn).list_files(run_id)}
            if path not in files:
                raise InvalidInputError(
                    "path", path, f"run {run_id} has no such file; it has: {', '.join(files)}"
                )
            await finish_undoing(self._engine)
            return await undo_file(self._engine, files[path], "rolled_back")

    @property
    def _work(self) -> dict[str, Any]:
        return {
            "candle": self._migrate_ohlcv_data,
            "trade": self._migrate_trade_data,
            "order_book": self._migrate_orderbook_data,
        }

    async def _migrate_ohlcv_data(
        self, run: LedgerRun, files: Sequence[tuple[FoundFile, FileScan]], meter: ProgressMeter
    ) -> list[FileReport]:
        """Take files of candles: of one series the one that ends last first, so that a half-built last candle is known."""
        return [await self._take(run, found, scan, meter) for found, scan in files]

    async def _migrate_trade_data(
        self, run: LedgerRun, files: Sequence[tuple[FoundFile, FileScan]], meter: ProgressMeter
    ) -> list[FileReport]:
        """Take files of trades."""
        return [await self._take(run, found, scan, meter) for found, scan in files]

    async def _migrate_orderbook_data(
        self, run: LedgerRun, files: Sequence[tuple[FoundFile, FileScan]], meter: ProgressMeter
    ) -> list[FileReport]:
        """Take files of order books."""
        return [await self._take(run, found, scan, meter) for found, scan in files]

    async def _verify_migration(self, source: Source, meter: ProgressMeter) -> FileVerification:
        """Compare a file with the database, row by row."""
        return await verify_file(
            self._engine, source, lambda rows: meter.add(f"verify {source.noted.path}", rows)
        )

    async def _take(
        self, run: LedgerRun, found: FoundFile, scan: FileScan, meter: ProgressMeter
    ) -> FileReport:
        with TemporaryDirectory(prefix="datalayer-") as folder:
            try:
                copied, held = await asyncio.to_thread(
                    snapshot_of, found, scan, Path(folder), self._zone, self._rows
                )
            except _OF_THE_FILE as exc:
                noted = await self._note(run, found, scan)
                await undo_file(self._engine, noted, "failed", one_line(exc))
                return FileReport(noted, None, {}, one_line(exc))
            noted = await self._note(run, copied, held)
            return await self._take_snapshot(Source(copied, held, noted, self._zone), meter)

    async def _take_snapshot(self, source: Source, meter: ProgressMeter) -> FileReport:
        noted = source.noted
        try:
            await migrate_file(self._engine, source, self._policy, lambda rows: meter.add(noted.path, rows))
            await self._set_state(noted, "migrated")
            verification = await self._verify_migration(source, meter)
        except _OF_THE_FILE as exc:
            undone = await undo_file(self._engine, noted, "failed", one_line(exc))
            return FileReport(noted, None, {}, f"{one_line(exc)}; {undone}")
        if verification.is_right:
            await self._set_state(noted, "verified")
            return FileReport(noted, verification, await self._counts(noted))
        reason = verification.findings[0]
        undone = await undo_file(self._engine, noted, "failed", reason)
        return FileReport(noted, verification, {}, f"{reason}; {undone}")

    async def _scan(
        self, found: Discovery
    ) -> tuple[list[tuple[FoundFile, FileScan]], tuple[NotUnderstood, ...]]:
        """Return what can be migrated, and everything else."""
        scanned, refused = await asyncio.to_thread(scan_all, found.files, self._zone, self._rows)
        return scanned, (*found.not_understood, *refused)

    async def _note(self, run: LedgerRun, found: FoundFile, scan: FileScan) -> LedgerFile:
        """Return what the ledger says of a file, so that it goes on where it stood; a changed one begins anew."""
        async with self._engine.connect() as conn:
            files = {file.path: file for file in await MigrationLedger(conn).list_files(run.id)}
        known = files.get(found.name)
        if known is not None and known.state in _UNDER_WAY and known.sha256 == scan.sha256:
            return known
        if known is not None:
            await undo_file(self._engine, known, "failed", "the file was changed meanwhile")
        # A file whose time of writing was lost says nothing about which candle was forming.
        told = scan.last is not None and scan.last <= found.modified_at
        as_of = found.modified_at if told else datetime.now(UTC)
        async with UnitOfWork(self._engine) as uow:
            noted = await MigrationLedger(uow.connection).add_file(run, found, scan, self._rows, as_of)
            await uow.commit()
        return noted

    async def _open(
        self, scanned: list[tuple[FoundFile, FileScan]]
    ) -> tuple[LedgerRun | None, list[tuple[FoundFile, FileScan]]]:
        """Return the run, and what it still has to take; no run if that is nothing."""
        async with UnitOfWork(self._engine) as uow:
            ledger = MigrationLedger(uow.connection)
            done = _finished(await ledger.list_files())
            waiting = [pair for pair in scanned if (pair[0].name, pair[1].sha256) not in done]
            unfinished = any(
                run.state == "running" and run.folder == str(self._folder) for run in await ledger.list_runs()
            )
            if not waiting and not unfinished:
                return None, []
            run = await ledger.open_run(str(self._folder), self._policy)
            await uow.commit()
        return run, waiting

    async def _finish(self, run: LedgerRun, report: MigrationReport) -> None:
        async with UnitOfWork(self._engine) as uow:
            await MigrationLedger(uow.connection).set_run_state(
                run.id, "done" if report.is_right else "failed"
            )
            await uow.commit()

    async def _register(self, files: list[tuple[FoundFile, FileScan]]) -> None:
        """Register the instruments that are new, with the scales that their files need."""
        async with self._engine.connect() as conn:
            known = {instrument.symbol for instrument in await InstrumentRepository(conn).list_all()}
        new = [pair for pair in files if pair[0].named.symbol not in known]
        needed = await asyncio.to_thread(needed_scales, new, self._zone, self._rows)
        async with UnitOfWork(self._engine) as uow:
            for symbol, scales in needed.items():
                await uow.instruments.ensure(symbol, scales.price, scales.size)
            await uow.commit()

    async def _source(self, found: FoundFile, noted: LedgerFile, folder: Path) -> Source:
        copied = await asyncio.to_thread(copy_of, found, folder)
        scan = await asyncio.to_thread(scan_file, copied, self._zone, noted.rows_per_piece)
        return Source(copied, scan, noted, self._zone)

    async def _counts(self, noted: LedgerFile) -> dict[str, int]:
        async with self._engine.connect() as conn:
            return await MigrationLedger(conn).counts(noted.id)

    async def _set_state(self, noted: LedgerFile, state: Any) -> None:
        async with UnitOfWork(self._engine) as uow:
            await MigrationLedger(uow.connection).set_file_state(noted.id, state)
            await uow.commit()


def _finished(files: Sequence[LedgerFile]) -> set[tuple[str, str]]:
    return {(file.path, file.sha256) for file in files if file.state in {"verified", "archived"}}
