"""What Parquet lacks of the time since both sides are written, from the database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pandas as pd

from datalayer.repositories.candles import CandleRepository
from datalayer.repositories.coverage import CoverageRepository
from datalayer.rollout.parquet_candles import VALUES, same_rows
from datalayer.rollout.phase_state import RolloutState

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.domain.timeframe import Timeframe
    from datalayer.rollout.parquet_candles import ParquetCandles


async def repair_parquet(engine: AsyncEngine, parquet: ParquetCandles) -> dict[tuple[str, str], int]:
    """Write to Parquet what the database has, and Parquet lacks or has otherwise, since both sides are written.

    Returns:
        Rows that were written, by symbol and timeframe.

    Raises:
        DatabaseError: the server refuses, or the connection is lost.
        OSError: a file cannot be written.
    """
    written = {}
    async with engine.connect() as conn:
        began = await RolloutState(conn).began_at()
        if began is None:
            return {}
        for symbol, timeframe in await _stored_series(conn):
            start = timeframe.floor(began)
            stored = await CandleRepository(conn).query_ohlcv_data(
                symbol, timeframe, start=start, source="stored"
            )
            lacking = await asyncio.to_thread(_lacking, parquet, symbol, timeframe, start, stored)
            if len(lacking):
                await asyncio.to_thread(parquet.write, symbol, timeframe, lacking)
                written[symbol, timeframe.label] = len(lacking)
    return written


def _lacking(
    parquet: ParquetCandles, symbol: str, timeframe: Timeframe, start: datetime, stored: pd.DataFrame
) -> pd.DataFrame:
    wanted = stored[[*VALUES, "trade_count"]]
    there = parquet.query_ohlcv_data(symbol, timeframe, start=start).reindex(wanted.index)
    if not same_rows(there, wanted)[1]:
        return wanted.iloc[:0]
    differs = pd.Series(data=False, index=wanted.index)
    for name in VALUES:
        differs |= there[name] != wanted[name]
    return wanted[differs.to_numpy()]


async def _stored_series(conn: AsyncConnection) -> list[tuple[str, Timeframe]]:
    ranges = await CoverageRepository(conn).list_stored_ranges()
    return [(found.symbol, found.timeframe) for found in ranges if found.timeframe is not None]
