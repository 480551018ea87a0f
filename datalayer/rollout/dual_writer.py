"""Candles to both sides, as the phase says: the database through its outbox, Parquet in batches, each repaired from the other."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self

import pandas as pd
import pyarrow as pa

from datalayer.errors import DatabaseError, DataLayerError
from datalayer.ingestion.outcomes import Ingested
from datalayer.rollout.parquet_candles import VALUES
from datalayer.rollout.phase_state import Phase, RolloutState
from datalayer.rollout.repair import repair_parquet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.domain.candle import Candle
    from datalayer.domain.timeframe import Timeframe
    from datalayer.ingestion.pipeline import DataIngestionPipeline
    from datalayer.rollout.parquet_candles import ParquetCandles

logger = logging.getLogger(__name__)

_PHASE_EVERY_S: Final = 1.0


class DualWriter:
    """Writes candles where the phase of the switch says: to Parquet, to both sides, or to the database.

    A candle is safe when `ingest_ohlcv_candle` has returned: it is in the outbox of the pipeline, which brings it to the database
    whatever happens. Parquet is written from memory a moment later, whether the database is there or not. What Parquet missed,
    because the disk was full or this process was killed, it gets from the database: at the start, and after each failure.

        async with DataIngestionPipeline(database, outbox=path) as pipeline, DualWriter(engine, pipeline, parquet) as writer:
            await writer.ingest_ohlcv_candle(candle)

    In phase 0, in which the database is not written, a candle is safe when `flush` has returned.

    Args:
        engine: on the database.
        pipeline: open; the writer does not close it.
        parquet: the cache folder.
        flush_after_s: seconds until what came in is in Parquet.
        on_alarm: told once when Parquet cannot be written, and once (None) when it can again.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        pipeline: DataIngestionPipeline,
        parquet: ParquetCandles,
        *,
        flush_after_s: float = 1.0,
        on_alarm: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._pipeline = pipeline
        self._parquet = parquet
        self._flush_after_s = flush_after_s
        self._on_alarm = on_alarm
        self._waiting: dict[tuple[str, Timeframe], dict[Any, Candle]] = {}
        self._writing = asyncio.Lock()
        self._phase: Phase | None = None
        self._phase_until = 0.0
        self._is_behind = True
        self._has_failed = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to write; what Parquet missed is brought as soon as the database is there.

        Raises:
            DatabaseError: the phase cannot be read.
        """
        await self._current()
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left, and end. What cannot be written is brought from the database at the next start."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._attempt(self._write_waiting)

    async def ingest_ohlcv_candle(self, candle: Candle) -> Ingested:
        """Take a candle in.

        Args:
            candle: as `DataIngestionPipeline.ingest_ohlcv_candle` takes it.

        Returns:
            What the pipeline says. A forming candle goes to neither side; one that is rejected goes to quarantine, and to
            Parquet as it always did: comparing the sides will tell.
        """
        phase = await self._current()
        outcome = Ingested.FORMING if candle.is_forming else Ingested.ACCEPTED
        if phase.writes_database:
            outcome = await self._pipeline.ingest_ohlcv_candle(candle)
        if outcome is not Ingested.FORMING and phase.writes_parquet:
            series = self._waiting.setdefault((candle.symbol, candle.timeframe), {})
            series[candle.ts] = candle
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
            try:
                for (symbol, timeframe), candles in list(taken.items()):
                    await asyncio.to_thread(self._parquet.write, symbol, timeframe, _frame(candles))
                    del taken[symbol, timeframe]
            finally:
                for series, candles in taken.items():  # what came in meanwhile is newer
                    self._waiting[series] = candles | self._waiting.get(series, {})

    async def _repair(self) -> None:
        phase = await self._current()
        if self._is_behind and phase.writes_parquet and phase.writes_database:
            await self._pipeline.flush()
            await repair_parquet(self._engine, self._parquet)
            self._is_behind = False

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
            self._is_behind = True
            if not self._has_failed:
                self._on_alarm(str(exc))
            self._has_failed = True
        else:
            if self._has_failed and not self._is_behind:
                self._on_alarm(None)
                self._has_failed = False

    async def _current(self) -> Phase:
        """Return the phase, as it was a moment ago; while the database is away it stays as it was."""
        if self._phase is not None and monotonic() < self._phase_until:
            return self._phase
        try:
            async with self._engine.connect() as conn:
                phase = (await RolloutState(conn).current()).phase
        except DatabaseError:
            if self._phase is None:
                raise
            phase = self._phase
        if self._phase is not None and phase.writes_parquet and not self._phase.writes_parquet:
            self._is_behind = True  # somebody went back: what was not written there meanwhile is brought
        self._phase, self._phase_until = phase, monotonic() + _PHASE_EVERY_S
        return phase


def _frame(candles: dict[Any, Candle]) -> pd.DataFrame:
    times = sorted(candles)
    rows = {name: [float(getattr(candles[ts], name)) for ts in times] for name in VALUES}
    counts = pd.array([candles[ts].trade_count for ts in times], dtype="Int64")
    index = pd.DatetimeIndex(times, name="timestamp").tz_convert("UTC").as_unit("us")
    return pd.DataFrame(rows | {"trade_count": counts}, index=index)
