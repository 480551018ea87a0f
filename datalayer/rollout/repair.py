"""What Parquet lacks of the time since both sides are written, from the database."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.repositories.coverage import CoverageRepository
from datalayer.rollout.parquet_candles import VALUES
from datalayer.rollout.phase_state import RolloutState

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.domain.timeframe import Timeframe
    from datalayer.rollout.parquet_candles import ParquetCandles

CLOCKS_DIFFER: Final = timedelta(seconds=30)
"""How far the server's clock, by which phases are entered, may be from the exchange's, by which candles are."""


async def repair_parquet(
    database: DatabaseConnectionManager | AsyncEngine, parquet: ParquetCandles, *, absent_only: bool = False
) -> dict[tuple[str, str], int]:
    """Write to Parquet what the database has, and Parquet lacks or has otherwise, since both sides are written.

    Args:
        database: an open connection manager, or an engine.
        parquet: the cache folder.
        absent_only: leave what Parquet has otherwise: a writer in another process may have written a revision there that has
            not come to the database yet.

    Returns:
        Rows that were written, by symbol and timeframe.

    Raises:
        DatabaseError: the server refuses, or the connection is lost.
        OSError: a file cannot be read or written.
    """
    async with UnitOfWork(database) as uow:
        began = await RolloutState(uow.connection).began_at()
        ranges = await CoverageRepository(uow.connection).list_stored_ranges()
    written: dict[tuple[str, str], int] = {}
    if began is None:
        return written
    for symbol, timeframe in [(r.symbol, r.timeframe) for r in ranges if r.timeframe is not None]:
        start = timeframe.floor(began - CLOCKS_DIFFER)
        async with UnitOfWork(database) as uow:
            stored = await uow.candles.query_ohlcv_data(symbol, timeframe, start=start, source="stored")
        lacking = await asyncio.to_thread(
            _lacking, parquet, symbol, timeframe, start, stored, absent_only=absent_only
        )
        if len(lacking):
            await asyncio.to_thread(parquet.write, symbol, timeframe, lacking)
            written[symbol, timeframe.label] = len(lacking)
    return written


def _lacking(
    parquet: ParquetCandles,
    symbol: str,
    timeframe: Timeframe,
    start: datetime,
    stored: pd.DataFrame,
    *,
    absent_only: bool,
) -> pd.DataFrame:
    wanted: pd.DataFrame = stored[[*VALUES, "trade_count"]]
    there = parquet.query_ohlcv_data(symbol, timeframe, start=start).reindex(wanted.index)
    values = list(VALUES)
    differs = there["close"].isna() if absent_only else (there[values] != wanted[values]).any(axis=1)
    lacking: pd.DataFrame = wanted.loc[differs]
    return lacking
