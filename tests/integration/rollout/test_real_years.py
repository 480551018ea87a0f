"""Both real years as a cache keeps them: split, overlapping, in several spellings, with the published days in changing units."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datalayer import UnitOfWork
from datalayer.rollout.manager import DataMigrationManager
from tests.cache_folders import spelled, write_file
from tests.market_files import market_file, market_frame

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

COLUMNS = ["open", "high", "low", "close", "volume"]
DAYS = ("2024-08-08", "2024-08-09", "2024-12-31", "2025-01-01")


def published(days: tuple[str, ...]) -> pa.Table:
    """Published days one after the other, with their times as they are: milliseconds, and microseconds from 2025 on."""
    frames = []
    for day in days:
        with gzip.open(market_file(f"vision_daily_csv/BTCUSDT-1m-{day}.csv.gz")) as file:
            frames.append(pd.read_csv(file, header=None).iloc[:, [0, 1, 2, 3, 4, 5, 8]])
    names = ["open_time", *COLUMNS, "number_of_trades"]
    return pa.Table.from_pandas(pd.concat(frames).set_axis(names, axis=1), preserve_index=False)


@pytest.mark.native
async def test_both_years_and_the_published_days(engine: AsyncEngine, tmp_path: Path) -> None:
    years = {
        year: market_frame(f"ohlcv/binance_spot_BTCUSDT_1m_{year}.parquet")[COLUMNS] for year in (2018, 2024)
    }
    write_file(tmp_path / "BTCUSDT_1m_2018.parquet", spelled(years[2018].iloc[:300_000], "ms"))
    write_file(tmp_path / "BTC-USDT_1m_historical.parquet", spelled(years[2018].iloc[290_000:], "naive ns"))
    write_file(tmp_path / "BTCUSDT/1m_2024.parquet", spelled(years[2024].iloc[:250_000], "int s"))
    write_file(tmp_path / "btcusdt_1m.parquet", spelled(years[2024].iloc[249_000:], "index"))
    write_file(tmp_path / "BTCUSDT_1m_published.parquet", published(DAYS))
    migration = DataMigrationManager(engine, tmp_path)
    plan = await migration.plan()
    assert len(plan.overlaps) == 3
    spellings = {file.found.name: file.scan.spelling for file in plan.files}
    assert spellings["BTCUSDT_1m_published.parquet"] == "numbers: ms, us"

    report = await migration.migrate()
    assert report.is_right, [file.failure for file in report.files]
    new_year = published(("2025-01-01",)).to_pandas()
    async with UnitOfWork(engine) as uow:
        frame = await uow.candles.query_ohlcv_data("BTC/USDT", "1m", source="stored")
    expected = pd.concat([years[2018], years[2024]])
    assert len(frame) == 521_623 + 527_040 + 1_440
    old = frame.iloc[: len(expected)]
    assert (old.index == expected.index).all()
    assert np.array_equal(old[COLUMNS].to_numpy(), expected.to_numpy())
    assert np.array_equal(frame.iloc[len(expected) :][COLUMNS].to_numpy(), new_year[COLUMNS].to_numpy())
    verified = {file.noted.path: file.verification for file in report.files if file.verification}
    assert (
        sum(found.gaps for path, found in verified.items() if "2018" in path or "historical" in path) == 3_977
    )

    assert report.run is not None
    undone = await migration.rollback(report.run.id)
    assert sum(done.removed for done in undone.values()) == len(frame)
    async with UnitOfWork(engine) as uow:
        assert (await uow.candles.query_ohlcv_data("BTC/USDT", "1m", source="stored")).empty
