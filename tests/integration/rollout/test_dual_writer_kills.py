"""A process that writes to both sides is killed at random moments; then every candle is counted on each of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from datalayer import UnitOfWork
from datalayer.rollout.parquet_candles import VALUES, ParquetCandles
from tests.integration.rollout.dual_feeder import REVISIONS, START, SYMBOLS

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings

SEEDS = pytest.mark.parametrize("seed", range(int(os.environ.get("DATALAYER_TEST_SEEDS", "1"))))
FEEDER = Path(__file__).with_name("dual_feeder.py")
PATIENCE_S = 120


class Writer:
    """Runs of the process, each going on behind what the one before may have sent."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.cache = folder / "cache"
        self.cache.mkdir()

    def promised(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        path = self.folder / "promises"
        for line in path.read_text().splitlines() if path.exists() else ():
            symbol, n = line.split()
            found[symbol].append(int(n))
        return found

    async def start(self, count: int, *options: str) -> asyncio.subprocess.Process:
        sent = max((max(numbers, default=-1) for numbers in self.promised().values()), default=-1)
        # The same candle goes on, by its next revision, as a feed does after a restart.
        arguments = [self.url, str(self.folder), str(sent + 1), str(count), *options]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, str(FEEDER), *arguments), cwd=FEEDER.parents[3], stderr=asyncio.subprocess.PIPE
        )

    async def until_promised(self, process: asyncio.subprocess.Process, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while sum(map(len, self.promised().values())) < count:
                assert process.returncode is None, (await process.communicate())[1].decode()
                await asyncio.sleep(0.005)

    def assert_files_are_whole(self) -> None:
        for path in self.cache.rglob("*.parquet"):
            assert pq.read_table(path).num_rows

    async def finish(self) -> None:
        process = await self.start(REVISIONS)
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()

    async def check(self, engine: AsyncEngine) -> None:
        """Every promise is on both sides once, by its last revision or one that was sent after it, and the sides are equal."""
        self.assert_files_are_whole()
        assert not list(self.cache.glob(".*partial"))
        for symbol, sent in self.promised().items():
            async with UnitOfWork(engine) as uow:
                stored = await uow.candles.query_ohlcv_data(symbol, "1m", source="stored")
            parquet = ParquetCandles(self.cache).query_ohlcv_data(symbol, "1m")
            assert stored.index.is_unique
            assert (parquet.index == stored.index).all()
            assert np.array_equal(parquet[list(VALUES)], stored[list(VALUES)])
            assert list(parquet["trade_count"]) == list(stored["trade_count"])
            last = pd.Series(sent).groupby(np.array(sent) // REVISIONS).max()
            expected = {START + pd.Timedelta(minutes=place): n for place, n in last.items()}
            assert set(stored.index) == set(expected)
            assert all(
                expected[ts] <= close - 1 < (expected[ts] // REVISIONS + 1) * REVISIONS
                for ts, close in stored["close"].items()
            )


@pytest.fixture
async def writer(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> Writer:
    async with engine.begin() as conn:  # both sides are written since before the first candle
        entered = "INSERT INTO rollout_phases (phase, note, entered_at) VALUES (1, 'test', '2024-08-01+00')"
        await conn.execute(text(entered))
    return Writer(settings.require_url().render_as_string(hide_password=False), tmp_path)


@SEEDS
async def test_killed_again_and_again(engine: AsyncEngine, writer: Writer, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (repeatable)
    for _ in range(2):
        before = sum(map(len, writer.promised().values()))
        process = await writer.start(100_000)
        await writer.until_promised(process, before + chance.randrange(1, 600))
        process.kill()
        await process.communicate()
        writer.assert_files_are_whole()
    await writer.finish()
    await writer.check(engine)


async def test_killed_while_a_file_is_written(engine: AsyncEngine, writer: Writer) -> None:
    process = await writer.start(100_000, "die-before-rename")
    _, errors = await process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert list(writer.cache.glob(".*partial"))
    writer.assert_files_are_whole()
    await writer.finish()
    await writer.check(engine)
