"""What tests of migrations ask of a database."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import text

from datalayer import UnitOfWork
from datalayer.rollout.manager import DataMigrationManager

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.rollout.migration_report import MigrationReport

SYMBOL = "BTC/USDT"
PIECE = 700
COLUMNS = ["open", "high", "low", "close", "volume"]


def manager(engine: AsyncEngine, folder: Path, **options: Any) -> DataMigrationManager:
    return DataMigrationManager(engine, folder, rows_per_piece=PIECE, **options)


async def stored(engine: AsyncEngine, timeframe: str = "1m", symbol: str = SYMBOL) -> pd.DataFrame:
    async with UnitOfWork(engine) as uow:
        return (await uow.candles.query_ohlcv_data(symbol, timeframe, source="stored"))[COLUMNS]


async def rolled_up(engine: AsyncEngine) -> pd.DataFrame:
    async with UnitOfWork(engine) as uow:
        return (await uow.candles.query_ohlcv_data(SYMBOL, "1m", source="aggregate"))[COLUMNS]


async def store(engine: AsyncEngine, frame: pd.DataFrame, timeframe: str = "1m") -> None:
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(SYMBOL, 2, 5)
        await uow.candles.upsert_candles(SYMBOL, timeframe, frame)
        await uow.commit()


async def everything(engine: AsyncEngine) -> list[Any]:
    """All candles, as rows."""
    async with engine.connect() as conn:
        rows = await conn.execute(text("SELECT c.* FROM candles AS c ORDER BY instrument_id, timeframe, ts"))
        return [tuple(row) for row in rows]


def number(report: MigrationReport) -> int:
    assert report.run is not None
    return report.run.id


def totals(report: MigrationReport) -> Counter[str]:
    counts = Counter[str]()
    for file in report.files:
        counts.update(file.counts)
    return +counts


def assert_same(frame: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert (frame.index == expected.index).all()
    assert np.array_equal(frame.to_numpy(), expected[COLUMNS].to_numpy())
