"""Runs of the feeding process, and the counting afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from datalayer import DataIngestionPipeline, UnitOfWork
from tests.integration.ingestion.feeder import REVISIONS, SETTINGS, START, SYMBOLS
from tests.integration.ingestion.market import scalar

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

FEEDER = Path(__file__).with_name("feeder.py")
ROOT = Path(__file__).parents[3]
PATIENCE_S = 240
SEEDS = pytest.mark.parametrize("seed", range(int(os.environ.get("DATALAYER_TEST_SEEDS", "1"))))
"""How often what is random is tried; more than once takes minutes."""


class Feeder:
    """Runs of the process on one outbox, each going on behind the last promise of the one before."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.outbox, self._promises = url, folder / "outbox", folder / "promises"
        self.first = 0

    async def start(self, count: int, *options: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, str(FEEDER), self.url, str(self.outbox), str(self._promises)),
            *(str(self.first), str(count), *options),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )

    def promised(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = defaultdict(set)
        if self._promises.exists():
            for line in self._promises.read_text().splitlines():
                number, n = map(int, line.split())
                found[number].add(n)
        return found

    async def until_promised(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while sum(map(len, self.promised().values())) < count:  # noqa: ASYNC110 (it is another process)
                await asyncio.sleep(0.01)

    def go_on(self) -> None:
        """Make the next run begin behind what any feed may have sent."""
        self.first = max((max(sent) for sent in self.promised().values()), default=0) + 2 * REVISIONS

    async def finish(self, engine: AsyncEngine) -> None:
        """Write what the last run left."""
        async with asyncio.timeout(PATIENCE_S):
            async with DataIngestionPipeline(engine, outbox=self.outbox, settings=SETTINGS) as pipeline:
                await pipeline.flush()
            assert pipeline.statistics.rejected == 0

    async def check(self, engine: AsyncEngine) -> None:
        """Count: every promise is there once, with the last revision that was promised, or one that was sent after it."""
        for number, sent in self.promised().items():
            async with UnitOfWork(engine) as uow:
                candles = await uow.candles.query_ohlcv_data(SYMBOLS[number], "1m")
                trades = await uow.trades.query_trades(SYMBOLS[number])
            last: dict[int, int] = {}
            for n in sorted(sent):
                last[n // REVISIONS] = n
            stored = {
                round((ts - START).total_seconds() / 60): round(close) - 1
                for ts, close in candles["close"].items()
            }
            assert candles.index.is_unique
            for place, n in last.items():
                assert place in stored, f"feed {number}: candle {place} is missing"
                assert n <= stored[place] < (place + 1) * REVISIONS, f"feed {number}: candle {place}"
            ids = list(trades["trade_id"])
            assert len(ids) == len(set(ids))
            assert sent <= set(ids)
            assert list(trades["price"]) == [n + 1 for n in ids]
        assert await scalar(engine, "SELECT count(*) FROM rejected_records") == 0


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    _, errors = await process.communicate()
    return process.returncode, errors.decode()
