"""A process that writes candles through a `DualWriter` until it is killed; it notes each candle once that has taken it in.

    python dual_feeder.py DATABASE_URL FOLDER FIRST COUNT [die-before-rename]

Below FOLDER are `cache`, `outbox` and `promises`. For n = FIRST, FIRST + 1, … each symbol gets revision n of the candle n // 3,
whose close says n. `die-before-rename` kills it where a Parquet file is written, and not in its place yet, for the fifth time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.engine import make_url

from datalayer import Candle, DataIngestionPipeline, Settings, Timeframe
from datalayer.db.connection import create_engine
from datalayer.domain.scales import Scales
from datalayer.ingestion import IngestionSettings
from datalayer.rollout.dual_writer import DualWriter
from datalayer.rollout.parquet_candles import ParquetCandles

SYMBOLS = ("AAA/USDT", "BBB/USDT")
START = datetime(2024, 8, 8, tzinfo=UTC)
REVISIONS = 3
SETTINGS = IngestionSettings(
    flush_after_s=0.02,
    unknown_instruments="register",
    scales=dict.fromkeys(SYMBOLS, Scales(0, 0)),
    retry_wait_max_s=0.5,
)


def candle(symbol: str, n: int) -> Candle:
    ts = START + timedelta(minutes=n // REVISIONS)
    return Candle(symbol, Timeframe.M1, ts, 1.0, float(n + 1), 1.0, float(n + 1), 1.0, n)


def die_before_rename() -> None:
    calls = itertools.count(1)
    whole = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial") and next(calls) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(path, target)

    Path.replace = replace  # type: ignore[method-assign,assignment]


async def main(url: str, below: str, first: str, count: str, *options: str) -> None:
    if "die-before-rename" in options:
        die_before_rename()
    folder = Path(below)
    engine = create_engine(make_url(url), Settings.load(database_url=url, connect_timeout_s=5))
    promises = os.open(folder / "promises", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with (
        DataIngestionPipeline(engine, outbox=folder / "outbox", settings=SETTINGS) as pipeline,
        DualWriter(engine, pipeline, ParquetCandles(folder / "cache"), flush_after_s=0.02) as writer,
    ):
        for n in range(int(first), int(first) + int(count)):
            for symbol in SYMBOLS:
                await writer.ingest_ohlcv_candle(candle(symbol, n))
                os.write(promises, f"{symbol} {n}\n".encode())
            await asyncio.sleep(0.002)
        await pipeline.flush()
        await writer.flush()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
