"""A process that feeds a pipeline until it is killed; it writes down each event once the pipeline has accepted it.

    python feeder.py DATABASE_URL OUTBOX PROMISES FIRST COUNT [OPTION …]

Feed `f` of four sends, for n = FIRST, FIRST + 1, …, candles of its own symbol: revision n of the candle n // 3, whose close says
n; and the trade n. Each line of PROMISES is `f n`, and is there before the feed goes on. Options: `die-before-acknowledgement`
(kills itself when a batch is committed and not acknowledged yet), `signals` (closes in order at SIGTERM).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.engine import make_url

from datalayer import Candle, DataIngestionPipeline, Settings, Timeframe, Trade
from datalayer.db.connection import create_engine
from datalayer.domain.scales import Scales
from datalayer.ingestion import IngestionHooks, IngestionSettings, cancelled_by_signals
from datalayer.ingestion.outbox import Outbox

SYMBOLS = ("AAA/USDT", "BBB/USDT", "CCC/USDT", "DDD/USDT")
START = datetime(2024, 8, 8, tzinfo=UTC)
REVISIONS = 3
SETTINGS = IngestionSettings(
    flush_after_s=0.02,
    flush_rows=500,
    buffer_events=1_000,
    retry_wait_max_s=0.5,
    attempt_s=5.0,
    lookup_s=2.0,
    unknown_instruments="register",
    scales=dict.fromkeys(SYMBOLS, Scales(0, 0)),
)


def candle(feed: int, n: int) -> Candle:
    ts = START + timedelta(minutes=n // REVISIONS)
    return Candle(SYMBOLS[feed], Timeframe.M1, ts, 1.0, float(n + 1), 1.0, float(n + 1), 1.0, n)


def trade(feed: int, n: int) -> Trade:
    return Trade(SYMBOLS[feed], START + timedelta(milliseconds=n // 5), n, float(n + 1), 1.0)


async def feed(pipeline: DataIngestionPipeline, number: int, first: int, count: int, promises: int) -> None:
    for n in range(first, first + count):
        await pipeline.ingest_ohlcv_candle(candle(number, n))
        await pipeline.ingest_trade(trade(number, n))
        os.write(promises, f"{number} {n}\n".encode())
        if n % 50 == 0:
            await asyncio.sleep(0.01)


async def main(url: str, outbox: str, promised: str, first: str, count: str, *options: str) -> None:
    if "die-before-acknowledgement" in options:
        Outbox.acknowledge = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment,misc]
    settings = Settings.load(
        database_url=url, connect_timeout_s=2, ping_timeout_s=1, application_name="feeder"
    )
    engine = create_engine(make_url(url), settings)
    promises = os.open(promised, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    signals = cancelled_by_signals() if "signals" in options else nullcontext()
    with signals:
        async with DataIngestionPipeline(
            engine, outbox=Path(outbox), settings=SETTINGS, hooks=IngestionHooks()
        ) as pipeline:
            feeds = (feed(pipeline, f, int(first), int(count), promises) for f in range(len(SYMBOLS)))
            await asyncio.gather(*feeds)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
