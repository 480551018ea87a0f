"""What metrics cost the pipeline and the reads of the cache.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.metrics_cost [--rows N] [--runs K] [--quick]

The same candles go through the whole pipeline (validation, cache, outbox, upsert) without metrics and with all of them, served and
scraped every five seconds, in turn. What counts is the processor time of this process, since others share the machine, and the ratio of
two runs one after the other; beside it the ratio of the least of all runs, which have least of the others in them.

Prediction, written down before the first run: below 1 %, since nothing is done for a record.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from benchmarks.harness import SYMBOL, arguments, benchmark_engine
from datalayer import Candle, DataCacheManager, DataIngestionPipeline, Timeframe
from datalayer.ingestion import IngestionSettings
from datalayer.monitoring.metrics import ServiceMetrics, serve_metrics

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

READS = 20_000


# In a process of its own, as Prometheus is; three times as often as that asks by default.
SCRAPER = (
    "import sys, time, urllib.request\nwhile True: urllib.request.urlopen(sys.argv[1]).read(); time.sleep(5)"
)


async def run(engine: AsyncEngine, candles: list[Candle], *, with_metrics: bool) -> tuple[float, float]:
    """Return seconds of processor time for a candle, and for a read of the cache."""
    async with engine.begin() as conn:
        await conn.execute(text("TRUNCATE candles"))
    cache = DataCacheManager()
    async with AsyncExitStack() as ending:
        folder = ending.enter_context(tempfile.TemporaryDirectory())
        metrics = ServiceMetrics()
        pipeline = await ending.enter_async_context(
            DataIngestionPipeline(
                engine,
                outbox=Path(folder) / "outbox",
                cache=cache,
                settings=IngestionSettings(when_full="backpressure"),
                hooks=metrics.hooks if with_metrics else None,
            )
        )
        if with_metrics:
            metrics.watch(cache=cache, pipeline=pipeline, symbols=[SYMBOL], folders={"outbox": Path(folder)})
            address = ending.enter_context(serve_metrics(metrics, port=0))
            scraping = await asyncio.create_subprocess_exec(sys.executable, "-c", SCRAPER, address)
            await asyncio.sleep(1)  # until it is there
        gc.collect()
        begun = time.process_time()
        for candle in candles:
            await pipeline.ingest_ohlcv_candle(candle)
        await pipeline.flush()
        written = time.process_time()
        for _ in range(READS):
            cache.get_latest_ohlcv_arrays(SYMBOL, "1m", 100)
        read = time.process_time()
        if with_metrics:
            scraping.kill()
            await scraping.wait()
    return (written - begun) / len(candles), (read - written) / READS


def line(name: str, without: list[float], with_them: list[float]) -> str:
    ratios = sorted(more / bare - 1 for bare, more in zip(without, with_them, strict=True))
    low, middle, high = (100 * ratios[len(ratios) * part // 4] for part in (1, 2, 3))
    least = min(with_them) / min(without) - 1
    return f"| {name} | {1e6 * statistics.median(without):.2f} | {middle:+.1f} % ({low:+.1f} to {high:+.1f}) | {100 * least:+.1f} % |"


async def main() -> None:
    chosen = arguments(__doc__ or "")
    async with benchmark_engine() as engine:
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=chosen.rows + 60)
        candles = [
            Candle(
                SYMBOL,
                Timeframe.S1,
                start + timedelta(seconds=n),
                61_000.0,
                61_002.0,
                60_999.0,
                61_001.0 - n % 2,
                1.5,
                3,
            )
            for n in range(chosen.rows)
        ]
        found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for n in range(chosen.runs):
            for with_metrics in (False, True) if n % 2 else (True, False):
                found[with_metrics].append(await run(engine, candles, with_metrics=with_metrics))
        print(
            "\n| processor time | µs without | more with metrics: median of the pairs (quartiles) | least to least |"
        )
        print("|---|---:|---:|---:|")
        for place, name in enumerate(("a candle through the pipeline", "a read of the cache as arrays")):
            print(line(name, *([one[place] for one in found[metrics]] for metrics in (False, True))))


if __name__ == "__main__":
    asyncio.run(main())
