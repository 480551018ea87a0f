"""Candles to both sides, as the phase says: the database through its outbox, Parquet in batches, each repaired from the other."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import pandas as pd
import pyarrow as pa

from datalayer.errors import DatabaseUnavailableError, DataLayerError
from datalayer.ingestion.outcomes import Ingested
from datalayer.rollout.parquet_candles import VALUES
from datalayer.rollout.phase_state import Phase
from datalayer.rollout.phase_watch import PHASE_EVERY_S, PhaseWatch
from datalayer.rollout.repair import repair_parquet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.domain.candle import Candle
    from datalayer.domain.timeframe import Timeframe
    from datalayer.ingestion.pipeline import DataIngestionPipeline
    from datalayer.rollout.parquet_candles import ParquetCandles

logger = logging.getLogger(__name__)

_MOST_WAITING: Final = 100_000


class DualWriter:
    """Writes candles where the phase of the switch says: to Parquet, to both sides, or to the database.

    A candle is safe when `ingest_ohlcv_candle` has returned: it is in the outbox of the pipeline, which brings it to the database
    whatever happens. Parquet is written from memory a moment later, whether the database is there or not. What Parquet missed,
    because the disk was full or this process was killed, it gets from the database: at the start, and after each failure.

        async with DataIngestionPipeline(database, outbox=path) as pipeline, DualWriter(database, pipeline, parquet) as writer:
            await writer.ingest_ohlcv_candle(candle)

    In phase 0, in which the database is not written, a candle is safe when `flush` has returned. While the database is away
    the phase stays what it was; if it is away from the start, both sides are written until the phase is known.

    Args:
        database: an open connection manager, or an engine.
        pipeline: open; the writer does not close it.
        parquet: the cache folder.
        flush_after_s: seconds until what came in is in Parquet.
        on_alarm: told once when Parquet cannot be written, and once (None) when it can again.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        pipeline: DataIngestionPipeline,
        parquet: ParquetCandles,
        *,
        flush_after_s: float = 1.0,
        on_alarm: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._phases = PhaseWatch(database)
        self._pipeline = pipeline
        self._parquet = parquet
        self._flush_after_s = flush_after_s
        self._on_alarm = on_alarm
        self._waiting: dict[tuple[str, Timeframe], dict[Any, Candle]] = {}
        self._writing, self._repairing = asyncio.Lock(), asyncio.Lock()
        # Whether Parquet may lack something: times that this was so, and how many of them are repaired. A start is one.
        self._missed, self._repaired = 1, 0
        self._taken_meanwhile: dict[tuple[str, Timeframe], dict[Any, Candle]] | None = None
        self._has_failed = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin to write; what Parquet missed is brought as soon as the database is there.

        Raises:
            DatabaseError: the phase cannot be read, and not because the database is away.
        """
        with suppress(DatabaseUnavailableError):
            await self._phases.current()
        self._tasks = [asyncio.create_task(work()) for work in (self._serve, self._follow)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left, and end. What cannot be written is brought from the database at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._attempt(self._write_waiting)

    async def ingest_ohlcv_candle(self, candle: Candle) -> Ingested:
        """Take a candle in.

        Args:
            candle: as `DataIngestionPipeline.ingest_ohlcv_candle` takes it.

        Returns:
            What the pipeline says. A forming candle goes to neither side; one that is rejected goes to quarantine, and to
            Parquet as it always did: comparing the sides will tell.
        """
        outcome = Ingested.FORMING if candle.is_forming else Ingested.ACCEPTED
        if self._phase.writes_database:
            outcome = await self._pipeline.ingest_ohlcv_candle(candle)
        # The phase of now: who goes back brings to Parquet what was in the outbox before, and no more.
        if outcome is not Ingested.FORMING and self._phase.writes_parquet:
            for kept in (self._waiting, self._taken_meanwhile):
                if kept is not None:
                    kept.setdefault((candle.symbol, candle.timeframe), {})[candle.ts] = candle
        return outcome

    async def flush(self) -> None:
        """Write what is waiting to Parquet, and bring what it missed; the latter waits as long as the database is away.

        Raises:
            OSError: Parquet cannot be written; what was to be written waits on.
            DatabaseError: what was missed cannot be read; it is tried again.
        """
        await self._write_waiting()
        await self._repair()

    async def _write_waiting(self) -> None:
        async with self._writing:
            taken, self._waiting = self._waiting, {}
            failure: Exception | None = None
            try:
                for (symbol, timeframe), candles in list(taken.items()):
                    try:
                        await asyncio.to_thread(self._parquet.write, symbol, timeframe, _frame(candles))
                    except (OSError, pa.ArrowException) as exc:
                        failure = exc  # perhaps of this file only: the others are not to wait for it
                    else:
                        del taken[symbol, timeframe]
            finally:
                self._wait_again(taken)
            if failure is not None:
                raise failure

    def _wait_again(self, candles: dict[tuple[str, Timeframe], dict[Any, Candle]]) -> None:
        for series, older in candles.items():  # what came in meanwhile is newer
            self._waiting[series] = older | self._waiting.get(series, {})
        if self._phase.writes_database and sum(map(len, self._waiting.values())) > _MOST_WAITING:
            self._waiting.clear()  # the database has them, and memory has an end
            self._missed += 1

    async def _repair(self) -> None:
        async with self._repairing:
            phase, missed = self._phase, self._missed
            if not (self._is_behind and phase.writes_parquet and phase.writes_database):
                return
            # A revision that comes while the one before it is brought is written once more, after it.
            meanwhile = self._taken_meanwhile = {}
            try:
                await self._pipeline.flush()
                await repair_parquet(self._database, self._parquet)
            finally:
                self._taken_meanwhile = None
                self._wait_again(meanwhile)
            self._repaired = missed

    @property
    def _is_behind(self) -> bool:
        return self._repaired < self._missed

    @property
    def _phase(self) -> Phase:
        known = self._phases.known
        return Phase.DUAL_WRITE if known is None else known

    async def _follow(self) -> None:
        while True:
            before = self._phase
            try:
                after = await self._phases.current()
            except DataLayerError as exc:
                logger.warning("the phase is not known, both sides are written: %s", exc)
                after = before
            if after.writes_parquet and not before.writes_parquet:
                self._missed += 1  # somebody went back: what was not written there meanwhile is brought
            await asyncio.sleep(PHASE_EVERY_S)

    async def _serve(self) -> None:
        repair: asyncio.Task[None] | None = None
        try:
            while True:
                await self._attempt(self._write_waiting)
                # Beside it: while the database is away, Parquet is written all the same.
                if repair is None or repair.done():
                    repair = asyncio.create_task(self._attempt(self._repair))
                await asyncio.sleep(self._flush_after_s)
        finally:
            if repair is not None:
                repair.cancel()
                await asyncio.gather(repair, return_exceptions=True)

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (OSError, DataLayerError, pa.ArrowException) as exc:
            logger.warning("Parquet is behind, again in %g s: %s", self._flush_after_s, exc)
            self._missed += 1
            if not self._has_failed:
                self._on_alarm(str(exc))
            self._has_failed = True
        else:
            if self._has_failed and not self._is_behind:
                self._on_alarm(None)
                self._has_failed = False


def _frame(candles: dict[Any, Candle]) -> pd.DataFrame:
    times = sorted(candles)
    rows = {name: [float(getattr(candles[ts], name)) for ts in times] for name in VALUES}
    counts = pd.array([candles[ts].trade_count for ts in times], dtype="Int64")
    index = pd.DatetimeIndex(times, name="timestamp").tz_convert("UTC").as_unit("us")
    return pd.DataFrame(rows | {"trade_count": counts}, index=index)
