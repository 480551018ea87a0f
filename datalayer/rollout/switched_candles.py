"""Candles from the side that the phase says; in between from both, compared."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from datalayer.domain.moments import utc_moment
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import DatabaseError
from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.rollout.parquet_candles import VALUES, same_rows
from datalayer.rollout.phase_state import RolloutState
from datalayer.rollout.phase_watch import PhaseWatch
from datalayer.rollout.refused_rows import without_refused

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.rollout.parquet_candles import ParquetCandles

logger = logging.getLogger(__name__)

SETTLE_S: Final = 30.0
"""Candles that closed less than so many seconds ago may have reached one side only, and are not compared."""

COLUMNS: Final = [*VALUES, "trade_count"]


class _Asked(NamedTuple):
    symbol: str
    length: Timeframe
    start: datetime | None
    end: datetime | None
    limit: int | None
    as_of: datetime


class SwitchedCandles:
    """Reads candles by one API through all phases, so that the code that calls it changes once.

    Up to phase 3 they come from Parquet, from phase 4 on from the database. In phases 3 and 4 the other side is read too, and
    compared; what differs is logged and noted for `datalayer rollout advance`. The caller gets the side of the phase all the same,
    and a failure of the other side is noted as a difference; a row that the rules refuse is none. While the database is away the phase stays what it was: reads from
    Parquet go on.

    Args:
        database: an open connection manager, or an engine.
        parquet: the cache folder.
        settle_s: see `SETTLE_S`.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        parquet: ParquetCandles,
        *,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._database = database
        self._phases = PhaseWatch(database)
        self._parquet = parquet
        self._settle = timedelta(seconds=settle_s)

    async def query_ohlcv_data(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        as_of: datetime | None = None,
    ) -> pd.DataFrame:
        """Return closed candles as they are stored, with open times in `[start, end)`.

        Args:
            symbol: a registered instrument, in any known spelling.
            timeframe: length of the candles; nothing is rolled up.
            start: first open time, aware, included; None: from the first.
            end: aware, excluded; None: to the last visible one.
            limit: only the last so many.
            as_of: what was closed at this time, aware. None: now.

        Returns:
            A frame indexed by open time `timestamp` (datetime64[us, UTC], ascending, unique) with columns open, high, low,
            close in the quote asset, volume in the base asset (float64) and trade_count (Int64; NA: unknown).

        Raises:
            InvalidInputError: symbol unknown, or a time is naive.
            DatabaseError: the phase was never known and cannot be read, or from phase 4 on the candles.
            OSError: up to phase 3: a file of this series cannot be read.
        """
        name, length = canonical_symbol(symbol), Timeframe.parse(timeframe)
        moment = datetime.now(UTC) if as_of is None else utc_moment(as_of, "as_of")
        phase = await self._phases.current()
        asked = _Asked(name, length, start, end, limit, moment)
        sides = (self._from_parquet, self._from_database)
        read, shadow = sides[::-1] if phase.reads_database else sides
        found = await read(asked)
        if phase.compares:
            try:
                other = await shadow(asked)
            except (DatabaseError, OSError, LookupError, ValueError) as exc:
                await self._note(name, length, (len(found), len(found), f"the other side failed: {exc}"))
            else:
                pair = (other, found) if phase.reads_database else (found, other)
                await self._note(name, length, await self._compared(*pair, asked))
        return found

    async def _from_parquet(self, asked: _Asked) -> pd.DataFrame:
        return await asyncio.to_thread(
            self._parquet.query_ohlcv_data,
            *(asked.symbol, asked.length),
            start=asked.start,
            end=asked.end,
            limit=asked.limit,
            as_of=asked.as_of,
        )

    async def _from_database(self, asked: _Asked) -> pd.DataFrame:
        async with UnitOfWork(self._database) as uow:
            frame = await uow.candles.query_ohlcv_data(
                *(asked.symbol, asked.length),
                start=asked.start,
                end=asked.end,
                limit=asked.limit,
                as_of=asked.as_of,
                source="stored",
            )
        return frame[COLUMNS]

    async def _compared(
        self, parquet: pd.DataFrame, stored: pd.DataFrame, asked: _Asked
    ) -> tuple[int, int, str | None]:
        """Compare what has settled; of the last so many, a candle that one side has not yet shifts the beginning."""
        now = datetime.now(UTC)
        if not parquet.index.equals(stored.index):
            async with UnitOfWork(self._database) as uow:
                instrument = await uow.instruments.find(asked.symbol)
            parquet = without_refused(parquet, stored, instrument, asked.length, now)
        settled = now - self._settle - asked.length.length
        one, other = (frame[frame.index <= settled] for frame in (parquet, stored))
        if asked.limit is not None and len(one) and len(other):
            first = max(one.index[0], other.index[0])
            one, other = one[one.index >= first], other[other.index >= first]
        return same_rows(one, other)

    async def _note(self, symbol: str, length: Timeframe, compared: tuple[int, int, str | None]) -> None:
        rows, different, detail = compared
        if different:
            logger.warning("%s %s: %d of %d rows differ: %s", symbol, length.label, different, rows, detail)
        try:
            async with UnitOfWork(self._database) as uow:
                state = RolloutState(uow.connection)
                await state.note_shadow_read(symbol, length.value, rows, different, detail)
                await uow.commit()
        except DatabaseError:
            logger.warning("a compared read could not be noted", exc_info=True)
