"""The ledger: which files were taken from which folder, piece by piece, and what it takes to undo that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.rollout.discovery import FoundFile
    from datalayer.rollout.source_file import FileScan

RunState: TypeAlias = Literal["running", "done", "failed", "rolled_back"]
FileState: TypeAlias = Literal["running", "migrated", "verified", "failed", "rolled_back", "archived"]

COUNTS: Final = ("inserted", "overwritten", "unchanged", "kept", "forming", "repeated", "rejected")
"""What becomes of the rows of a file; together they are all of them."""

_FILE: Final = (
    "f.id, f.run_id, f.path, f.sha256, f.kind, f.symbol, f.timeframe, f.rows_per_piece, f.as_of, f.row_count, f.first_ts,"
    " f.last_ts, f.state, f.message"
)


@dataclass(frozen=True, slots=True)
class LedgerRun:
    """A run, as `migration_runs` has it."""

    id: int
    folder: str
    on_conflict: str
    state: RunState
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """A file of a run, as `migration_files` has it; `timeframe` in seconds."""

    id: int
    run_id: int
    path: str
    sha256: str
    kind: str
    symbol: str
    timeframe: int | None
    rows_per_piece: int
    as_of: datetime
    row_count: int
    first_ts: datetime | None
    last_ts: datetime | None
    state: FileState
    message: str | None

    @property
    def length(self) -> Timeframe | None:
        """The timeframe of candles."""
        return None if self.timeframe is None else Timeframe(self.timeframe)


@dataclass(frozen=True, slots=True)
class LedgerPiece:
    """What it takes to undo a piece, as `migration_pieces` has it."""

    number: int
    price_scale: int
    size_scale: int
    first_ts: datetime | None
    last_ts: datetime | None
    inserted_rows: bytes | None
    replaced_rows: bytes | None
    replacing_rows: bytes | None


class MigrationLedger:
    """Reads and writes the ledger inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def list_runs(self) -> list[LedgerRun]:
        """Return all runs, ascending by number."""
        rows = await self._rows(
            "SELECT id, folder, on_conflict, state, started_at, finished_at FROM migration_runs ORDER BY id"
        )
        return [LedgerRun(*row) for row in rows]

    async def get_run(self, run_id: int) -> LedgerRun:
        """Return a run.

        Raises:
            InvalidInputError: there is none of this number; names those that there are.
        """
        runs = {run.id: run for run in await self.list_runs()}
        if run_id not in runs:
            there = ", ".join(map(str, runs)) or "none"
            raise InvalidInputError("run", run_id, f"there is no such run; there are: {there}")
        return runs[run_id]

    async def open_run(self, folder: str, on_conflict: str) -> LedgerRun:
        """Return the unfinished run over a folder, or a new one.

        Raises:
            InvalidInputError: the unfinished one has another policy.
        """
        for run in await self.list_runs():
            if run.state == "running" and run.folder == folder:
                if run.on_conflict != on_conflict:
                    hint = f"run {run.id} over {folder} began with {run.on_conflict}; finish it so, or roll it back"
                    raise InvalidInputError("on_conflict", on_conflict, hint)
                return run
        (row,) = await self._rows(
            "INSERT INTO migration_runs (folder, on_conflict) VALUES (:folder, :on_conflict)"
            " RETURNING id, folder, on_conflict, state, started_at, finished_at",
            folder=folder,
            on_conflict=on_conflict,
        )
        return LedgerRun(*row)

    async def set_run_state(self, run_id: int, state: RunState) -> None:
        """Say what has become of a run."""
        await self._execute(
            "UPDATE migration_runs SET state = :state, finished_at = now() WHERE id = :id",
            id=run_id,
            state=state,
        )

    async def list_files(self, run_id: int | None = None) -> list[LedgerFile]:
        """Return the files of a run, or of all, in the order in which they were begun."""
        rows = await self._rows(
            f"SELECT {_FILE} FROM migration_files AS f WHERE run_id = :run OR CAST(:run AS bigint) IS NULL ORDER BY id",
            run=run_id,
        )
        return [LedgerFile(*row) for row in rows]

    async def list_half_undone(self) -> list[LedgerFile]:
        """Return files that were being taken out when somebody was interrupted, in the order in which they were begun."""
        rows = await self._rows(
            f"SELECT {_FILE} FROM migration_files AS f WHERE state IN ('rolled_back', 'failed')"
            " AND EXISTS (SELECT FROM migration_pieces AS p WHERE p.file_id = f.id) ORDER BY id"
        )
        return [LedgerFile(*row) for row in rows]

    async def add_file(
        self, run: LedgerRun, found: FoundFile, scan: FileScan, rows_per_piece: int, as_of: datetime
    ) -> LedgerFile:
        """Note a file of a run; one that is noted already begins anew, and must have no pieces."""
        named = found.named
        (row,) = await self._rows(
            f"""
            INSERT INTO migration_files AS f (run_id, path, sha256, size_bytes, kind, symbol, timeframe, rows_per_piece,
                                              as_of, row_count, first_ts, last_ts)
            VALUES (:run, :path, :sha256, :size, :kind, :symbol, :timeframe, :piece, :as_of, :rows, :first, :last)
            ON CONFLICT (run_id, path) DO UPDATE SET
                (sha256, size_bytes, kind, symbol, timeframe, rows_per_piece, as_of, row_count, first_ts, last_ts) = (
                    excluded.sha256, excluded.size_bytes, excluded.kind, excluded.symbol, excluded.timeframe,
                    excluded.rows_per_piece, excluded.as_of, excluded.row_count, excluded.first_ts, excluded.last_ts
                ),
                (state, message, finished_at) = ('running', NULL, NULL)
            RETURNING {_FILE}
            """,
            run=run.id,
            path=found.name,
            sha256=scan.sha256,
            size=found.size_bytes,
            kind=named.kind,
            symbol=named.symbol,
            timeframe=None if named.timeframe is None else named.timeframe.value,
            piece=rows_per_piece,
            as_of=as_of,
            rows=scan.rows,
            first=scan.first,
            last=scan.last,
        )
        return LedgerFile(*row)

    async def set_file_state(self, file_id: int, state: FileState, message: str | None = None) -> None:
        """Say what has become of a file, and why."""
        await self._execute(
            "UPDATE migration_files SET state = :state, message = :message, finished_at = now() WHERE id = :id",
            id=file_id,
            state=state,
            message=message,
        )

    async def add_piece(self, file_id: int, number: int, values: dict[str, Any]) -> None:
        """Note a piece, in the transaction that writes its rows.

        Args:
            file_id: of its file.
            number: of the piece.
            values: by column of `migration_pieces`.
        """
        columns = {"file_id": file_id, "number": number, **values}
        names = ", ".join(columns)
        await self._execute(
            f"INSERT INTO migration_pieces ({names}) VALUES (:{', :'.join(columns)})",
            **columns,
        )

    async def list_piece_numbers(self, file_id: int) -> list[int]:
        """Return which pieces of a file are done, ascending."""
        rows = await self._rows(
            "SELECT number FROM migration_pieces WHERE file_id = :id ORDER BY number", id=file_id
        )
        return [row[0] for row in rows]

    async def find_piece(self, file_id: int, number: int) -> LedgerPiece | None:
        """Return what it takes to undo a piece; None: it is undone already."""
        rows = await self._rows(
            "SELECT number, price_scale, size_scale, first_ts, last_ts, inserted_rows, replaced_rows, replacing_rows"
            " FROM migration_pieces WHERE file_id = :id AND number = :number",
            id=file_id,
            number=number,
        )
        return LedgerPiece(*rows[0]) if rows else None

    async def drop_piece(self, file_id: int, number: int) -> None:
        """Forget a piece, in the transaction that undoes it."""
        await self._execute(
            "DELETE FROM migration_pieces WHERE file_id = :id AND number = :number", id=file_id, number=number
        )

    async def counts(self, file_id: int) -> dict[str, int]:
        """Return what became of the rows of a file, by the names of `COUNTS`."""
        sums = ", ".join(f"CAST(coalesce(sum({name}), 0) AS bigint)" for name in COUNTS)
        (row,) = await self._rows(f"SELECT {sums} FROM migration_pieces WHERE file_id = :id", id=file_id)
        return dict(zip(COUNTS, row, strict=True))

    async def kept_rows(self, file_id: int) -> dict[int, bytes]:
        """Return by piece the rows that were passed over, packed."""
        rows = await self._rows(
            "SELECT number, kept_rows FROM migration_pieces WHERE file_id = :id AND kept_rows IS NOT NULL",
            id=file_id,
        )
        return {row[0]: row[1] for row in rows}

    async def _rows(self, statement: str, **values: Any) -> list[Any]:
        with driver_errors_translated():
            return list(await self._conn.execute(text(statement), values))

    async def _execute(self, statement: str, **values: Any) -> None:
        with driver_errors_translated():
            await self._conn.execute(text(statement), values)
