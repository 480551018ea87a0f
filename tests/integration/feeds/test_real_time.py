"""The recording at its own speed, as if it happened now, with inference every second.

DATALAYER_TEST_REAL_TIME_S=300 pytest -s tests/integration/feeds/test_real_time.py
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from datalayer import DataCacheManager, UnifiedDataProvider
from datalayer.errors import NoDataError
from datalayer.integrations.feeds import FeedSettings
from tests.exchange_server.binance import BinanceServer
from tests.exchange_server.market import load_market, shifted
from tests.integration.feeds.feeding import BTC, binance, check_trades, feeding, stored_gaps, timeframes

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

SECONDS = float(os.environ.get("DATALAYER_TEST_REAL_TIME_S", "0"))
MINUTE_MS = 60_000
TICK_S = 0.01


async def watch(lateness: list[float]) -> None:
    """Note by how much the event loop is late."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK_S
        await asyncio.sleep(TICK_S)
        lateness.append(loop.time() - due)


@pytest.mark.skipif(not SECONDS, reason="DATALAYER_TEST_REAL_TIME_S is not set")
@pytest.mark.timeout(SECONDS + 300)
async def test_inference_every_second(
    engine: AsyncEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = load_market()
    ahead_ms = time.time() * 1_000 - recorded.steps[0].receive_ms
    market = shifted(recorded, int(-(-ahead_ms // MINUTE_MS)) * MINUTE_MS)
    end = next(
        (
            n
            for n, step in enumerate(market.steps)
            if step.receive_ms > market.steps[0].receive_ms + SECONDS * 1_000
        ),
        len(market.steps),
    )
    cache, lateness, ages = DataCacheManager(), list[float](), list[float]()
    durations: list[float] = []
    async with (
        BinanceServer([market]) as server,
        feeding(
            engine,
            tmp_path / "o",
            binance(server),
            cache=cache,
            candles=timeframes(),
            settings=FeedSettings(),
        ) as feed,
        UnifiedDataProvider(engine, cache=cache, symbols=[BTC]) as provider,
    ):
        await asyncio.sleep(market.steps[0].receive_ms / 1_000 - time.time())
        silent = feed.statistics.connections[0].reconnects  # up to a minute without a message is too long
        playing = asyncio.create_task(server.play(end=end, speed=1.0))
        watching = asyncio.create_task(watch(lateness))
        started = time.monotonic()
        while not playing.done():
            await asyncio.sleep(1 - (time.monotonic() - started) % 1)
            begun = time.perf_counter()
            try:
                answer = await provider.get_inference_data(BTC)
            except NoDataError:
                continue  # in the first seconds nothing has come
            durations.append(time.perf_counter() - begun)
            ages.append(answer.quality.staleness_s.get("order_book", float("nan")))
        watching.cancel()
        await playing
        await asyncio.sleep(2)
        statistics = feed.statistics
    late = np.percentile(np.array(lateness) * 1_000, [50, 99, 99.9, 100])
    took = np.percentile(np.array(durations) * 1_000, [50, 99, 100])
    told = (
        f"{len(durations)} answers in {SECONDS:g} s; ms: p50 {took[0]:.1f}, p99 {took[1]:.1f}, most {took[2]:.1f}",
        f"loop late by ms: p50 {late[0]:.2f}, p99 {late[1]:.1f}, p99.9 {late[2]:.1f}, most {late[3]:.1f}",
        f"order book old by s: p50 {np.nanmedian(ages):.2f}, most {np.nanmax(ages):.2f}; {statistics}",
    )
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(told) + "\n")
    assert statistics.is_healthy
    assert statistics.connections[0].reconnects == silent
    assert len(durations) >= SECONDS * 0.9
    assert await stored_gaps(engine) == []
    played = [step.data["t"] for step in market.steps[:end] if step.kind == "trade"]
    market.trades = [trade for trade in market.trades if trade["t"] <= played[-1]]
    assert await check_trades(engine, market, []) == len(played)
