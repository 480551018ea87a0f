"""The switch from Parquet to the database, phase by phase: forward when the conditions hold, back at any time before the last."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from datalayer.db.connection import DatabaseConnectionManager
from datalayer.errors import RolloutRefusedError
from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.repositories.candles import CandleRepository
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.rollout.archive import archive_run
from datalayer.rollout.ledger import MigrationLedger
from datalayer.rollout.migration_lock import alone
from datalayer.rollout.parquet_candles import VALUES, same_rows
from datalayer.rollout.phase_state import EnteredPhase, Phase, RolloutState
from datalayer.rollout.refused_rows import without_refused
from datalayer.rollout.repair import repair_parquet
from datalayer.rollout.switched_candles import SETTLE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.domain.timeframe import Timeframe
    from datalayer.rollout.manager import DataMigrationManager
    from datalayer.rollout.parquet_candles import ParquetCandles
    from datalayer.rollout.phase_state import ShadowReads

MIN_SHADOW_READS: Final = 100


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """Where the switch is.

    Attributes:
        current: the present phase.
        history: all that were entered, the oldest first.
        shadow: compared reads since the present phase began.
    """

    current: EnteredPhase
    history: tuple[EnteredPhase, ...]
    shadow: ShadowReads


class Rollout:
    """Goes through the phases; see `Phase`.

    Forward: the conditions of the next phase are checked, with the data, and it is refused with the list of what is missing.
    Back: from every phase before the last; going back to where Parquet is written brings what it missed.

    Args:
        database: an open connection manager, or an engine, not through a transaction pooler.
        manager: of the cache folder.
        parquet: the same folder.
        archive: where files go in the last phase.
        min_shadow_reads: reads that have to be compared in phases 3 and 4, all without a difference.
        settle_s: candles that closed less than so many seconds ago may have reached one side only.
        accept_rejected: rows of files that are in quarantine are no reason to refuse phases 4 and 6.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        manager: DataMigrationManager,
        parquet: ParquetCandles,
        *,
        archive: Path | None = None,
        min_shadow_reads: int = MIN_SHADOW_READS,
        settle_s: float = SETTLE_S,
        accept_rejected: bool = False,
    ) -> None:
        self._engine = database.engine if isinstance(database, DatabaseConnectionManager) else database
        self._manager = manager
        self._parquet = parquet
        self._archive = archive
        self._min_reads = min_shadow_reads
        self._accept_rejected = accept_rejected
        self._settle = timedelta(seconds=settle_s)

    async def status(self) -> RolloutStatus:
        """Return where the switch is.

        Raises:
            DatabaseError: the server refuses, or the connection is lost.
        """
        async with self._engine.connect() as conn:
            state = RolloutState(conn)
            current, history = await state.current(), await state.history()
            shadow = await state.shadow_reads(current.entered_at or datetime.now(UTC))
        return RolloutStatus(current, tuple(history), shadow)

    async def missing(self) -> list[str]:
        """Return what stands against the next phase, each in words; empty: nothing. Takes new files on the way to 4 and 6.

        Raises:
            DatabaseError: the server refuses, or the connection is lost.
        """
        current = (await self.status()).current.phase
        if current is Phase.ARCHIVE:
            return ["this is the last phase"]
        return [text async for text in self._conditions(Phase(current + 1))]

    async def advance(self) -> Phase:
        """Enter the next phase.

        Returns:
            The phase that was entered.

        Raises:
            RolloutRefusedError: its conditions do not hold; names all that do not. Or somebody else was faster.
            DatabaseError: the server refuses, or the connection is lost.
            OSError: a file cannot be read or moved.
        """
        current = (await self.status()).current.phase
        if current is Phase.ARCHIVE:
            raise RolloutRefusedError(current.label, ("this is the last phase",))
        following = Phase(current + 1)
        missing = [text async for text in self._conditions(following)]
        if missing:
            raise RolloutRefusedError(following.label, tuple(missing))
        if following is Phase.DUAL_WRITE:
            await self._manager.register_instruments()
        if following is Phase.ARCHIVE:
            async with alone(self._engine, "rollout"):
                await self._put_away(current)
                await self._enter(following, "its conditions held", before=current)
            return following
        await self._enter(following, "its conditions held", before=current)
        return following

    async def back(self) -> Phase:
        """Enter the phase before; nothing is lost by it.

        Returns:
            The phase that was entered.

        Raises:
            RolloutRefusedError: there is none, or the files are put away.
            DatabaseError: the server refuses, or the connection is lost.
            OSError: Parquet cannot be written.
        """
        current = (await self.status()).current.phase
        if current is Phase.PARQUET:
            raise RolloutRefusedError(current.label, ("there is no phase before",))
        if current is Phase.ARCHIVE:
            hint = "the files are put away; bring them back by `datalayer migrate restore` first"
            raise RolloutRefusedError(Phase.STOP_PARQUET.label, (hint,))
        before = Phase(current - 1)
        async with alone(self._engine, "rollout"):
            await self._enter(before, f"back from {current.label}", before=current)
        if current is Phase.STOP_PARQUET:
            # After the switch, so that whoever writes does both from now on, and nothing falls in between. What was revised
            # meanwhile is for that writer to bring, which knows what is on its way.
            await repair_parquet(self._engine, self._parquet, absent_only=True)
        return before

    async def _enter(self, phase: Phase, note: str, *, before: Phase) -> None:
        async with UnitOfWork(self._engine) as uow:
            state = RolloutState(uow.connection)
            if not await state.enter(phase, note, before=before):
                raise RolloutRefusedError(phase.label, (_faster((await state.current()).phase),))
            await uow.commit()

    async def _conditions(self, following: Phase) -> AsyncIterator[str]:
        checks = {
            Phase.DUAL_WRITE: [self._folder_is_there],
            Phase.MIGRATE: [self._both_sides_are_written],
            Phase.VERIFY: [self._both_sides_are_written, self._history_is_taken],
            Phase.SWITCH_READS: [self._both_sides_are_written, self._all_is_equal, self._reads_agree],
            Phase.STOP_PARQUET: [self._both_sides_are_written, self._reads_agree],
            Phase.ARCHIVE: [self._all_is_equal, self._archive_is_named],
        }
        for check in checks[following]:
            async for text in check():
                yield text

    async def _folder_is_there(self) -> AsyncIterator[str]:
        if not await asyncio.to_thread(self._parquet.folder.is_dir):
            yield f"{self._parquet.folder} is no folder"

    async def _archive_is_named(self) -> AsyncIterator[str]:
        if self._archive is None:
            yield "no folder for the archive is named; give --archive"

    async def _both_sides_are_written(self) -> AsyncIterator[str]:
        """What was written to Parquet since both sides are, has to be in the database, with the same values."""
        async with self._engine.connect() as conn:
            began = await RolloutState(conn).began_at() or datetime.now(UTC)
            series = await asyncio.to_thread(self._parquet.list_series, live_only=True)
            total = 0
            for symbol, timeframe in series:
                rows, different, detail = await self._compare_live(conn, symbol, timeframe, began)
                total += rows
                if different:
                    yield f"{symbol} {timeframe.label}: {different} of {rows} candles since dual write differ: {detail}"
        if not total:
            yield "no candle has reached both sides since dual write began; is the dual writer running?"

    async def _compare_live(
        self, conn: AsyncConnection, symbol: str, timeframe: Timeframe, began: datetime
    ) -> tuple[int, int, str | None]:
        settled = timeframe.floor(datetime.now(UTC) - self._settle - timeframe.length)
        # The server's clock says when it began, the exchange's when a candle closed.
        start = min(timeframe.ceil(began + self._settle), settled)
        parquet = await asyncio.to_thread(
            self._parquet.query_ohlcv_data, symbol, timeframe, start=start, end=settled, live_only=True
        )
        if (instrument := await InstrumentRepository(conn).find(symbol)) is None:
            return len(parquet), len(parquet), "its instrument is not registered"
        stored = await CandleRepository(conn).query_ohlcv_data(
            symbol, timeframe, start=start, end=settled, source="stored"
        )
        parquet = without_refused(parquet, stored, instrument, timeframe, datetime.now(UTC))
        return same_rows(parquet, stored[[*VALUES, "trade_count"]])

    async def _history_is_taken(self) -> AsyncIterator[str]:
        found = await self._manager.discover()
        for refused in found.not_understood:
            yield f"{refused.name}: {refused.reason}"
        async with self._engine.connect() as conn:
            runs = await MigrationLedger(conn).list_runs()
            taken = {
                file.path for file in await MigrationLedger(conn).list_files() if file.state == "verified"
            }
        for run in runs:
            mended = any(other.id > run.id and other.state == "done" for other in runs)
            if run.state == "running" or (run.state == "failed" and not mended):
                yield f"run {run.id} is {run.state}; finish it by `datalayer migrate run`"
        for file in found.files:
            if file.name not in taken:
                yield f"{file.name} is not migrated; `datalayer migrate run` does it"

    async def _all_is_equal(self) -> AsyncIterator[str]:
        """Take what has changed since, and compare every row of every file once more."""
        latest = await self._manager.migrate()
        async with self._engine.connect() as conn:
            runs = [run.id for run in await MigrationLedger(conn).list_runs() if run.state == "done"]
        earlier = [run_id for run_id in runs if latest.run is None or run_id != latest.run.id]
        for each in [latest, *[await self._manager.verify_unchanged(run_id) for run_id in earlier]]:
            for file in each.files:
                if not file.is_right:
                    findings = file.verification.findings if file.verification else []
                    yield f"{file.noted.path}: {file.failure or findings[0]}"
                elif file.verification and file.verification.rejected and not self._accept_rejected:
                    yield (
                        f"{file.noted.path}: {file.verification.rejected} rows are in quarantine, and will not be read; look at "
                        "them by `datalayer rejects list`, then give --accept-rejected"
                    )
            for check in each.aggregates:
                if check.different:
                    yield f"{check.name}: {check.different} of {check.buckets} buckets differ"

    async def _reads_agree(self) -> AsyncIterator[str]:
        status = await self.status()
        shadow = status.shadow
        if shadow.different:
            yield f"{shadow.different} of {shadow.reads} compared reads differ: {shadow.detail}"
        if shadow.reads < self._min_reads:
            yield f"{shadow.reads} reads were compared in this phase, {self._min_reads} are wanted"

    async def _put_away(self, current: Phase) -> None:
        assert self._archive is not None  # noqa: S101 (a condition of the phase)
        async with self._engine.connect() as conn:
            if (now := (await RolloutState(conn).current()).phase) is not current:
                raise RolloutRefusedError(Phase.ARCHIVE.label, (_faster(now),))
            runs = [run for run in await MigrationLedger(conn).list_runs() if run.state == "done"]
        for run in runs:
            await archive_run(self._engine, run.id, self._archive)


def _faster(now: Phase) -> str:
    return f"somebody else has entered {now.label} meanwhile; look at `datalayer rollout status`"
