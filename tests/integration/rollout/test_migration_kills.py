"""The migrating process is killed at random moments; it goes on where it stood, and what it brought can be taken out."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from sqlalchemy import text

from datalayer import UnitOfWork
from datalayer.rollout.manager import DataMigrationManager
from tests.cache_folders import real_candles, write_file

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings

SEEDS = pytest.mark.parametrize("seed", range(int(os.environ.get("DATALAYER_TEST_KILL_SEEDS", "1"))))
SCRIPT = Path(__file__).with_name("migrator.py")


async def killed_after(lines: int, url: str, folder: Path, what: str) -> bool:
    """Run the process, and kill it once it has told of so many transactions; returns whether it got to its end."""
    command = [sys.executable, str(SCRIPT), url, str(folder), what]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=SCRIPT.parents[3]
    )
    assert process.stdout is not None
    for _ in range(lines):
        if not await process.stdout.readline():
            assert await process.wait() == 0
            return True
    process.kill()
    await process.wait()
    return False


@SEEDS
async def test_killed_again_and_again(
    engine: AsyncEngine, settings: Settings, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 (repeatable)
    url = settings.require_url().render_as_string(hide_password=False)
    candles = real_candles(0, 1_500)
    before = candles.iloc[100:900:3].assign(volume=1.0)
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure("BTC/USDT", 2, 5)
        await uow.candles.upsert_candles("BTC/USDT", "1m", before)
        await uow.commit()
    write_file(tmp_path / "BTCUSDT_1m_a.parquet", candles.iloc[:800])
    write_file(tmp_path / "BTCUSDT_1m_b.parquet", candles.iloc[700:].sample(frac=1, random_state=seed))

    for _ in range(2):
        await killed_after(chance.randrange(1, 8), url, tmp_path, "migrate")
    assert await killed_after(1_000, url, tmp_path, "migrate")
    async with engine.connect() as conn:
        (run,) = (await conn.execute(text("SELECT id FROM migration_runs"))).scalars().all()
    assert (await DataMigrationManager(engine, tmp_path).verify(run)).is_right
    await assert_stored(engine, candles)

    await killed_after(chance.randrange(1, 6), url, tmp_path, str(run))
    assert await killed_after(1_000, url, tmp_path, str(run))
    await assert_stored(engine, before)


async def assert_stored(engine: AsyncEngine, expected: pd.DataFrame) -> None:
    async with UnitOfWork(engine) as uow:
        frame = await uow.candles.query_ohlcv_data("BTC/USDT", "1m", source="stored")
    pd.testing.assert_frame_equal(
        frame[list(expected.columns)], expected, check_index_type=False, check_freq=False, check_exact=True
    )
