"""What the benchmarks share: a migrated database of their own, interleaved runs, medians and a Markdown table."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from datalayer.config import Settings, parse_database_url
from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.embedded import EmbeddedTimescale
from datalayer.repositories import InstrumentRepository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

SYMBOL = "BTC/USDT"
YEAR_2024 = Path(__file__).parents[2] / "shared/data/ohlcv/binance_spot_BTCUSDT_1m_2024.parquet"


@dataclass
class Comparison:
    """Ways of doing the same thing; each run does all of them in turn, so that a slow moment of the machine hits all.

    A way returns the seconds that count, so that preparing and checking stay outside of them.
    """

    title: str
    rows: int
    baseline: str
    ways: dict[str, Callable[[], Awaitable[float]]]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    async def run(self, runs: int) -> None:
        for _ in range(runs):
            for name, way in self.ways.items():
                self.seconds.setdefault(name, []).append(await way())

    def table(self) -> str:
        base = statistics.median(self.seconds[self.baseline])
        lines = [
            f"\n{self.title}\n",
            f"| way | ms | rows/s | speed, {self.baseline} = 1 |",
            "|---|---:|---:|---:|",
        ]
        for name, seconds in self.seconds.items():
            median = statistics.median(seconds)
            lines.append(
                f"| {name} | {median * 1e3:,.1f} | {self.rows / median:,.0f} | {base / median:.2f} |"
            )
        return "\n".join(lines)


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="2,000 rows and one run: shows that it works, says nothing"
    )
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rows, chosen.runs = 2_000, 1
    return chosen


class Stopwatch:
    """Seconds between `with` and its end."""

    seconds = 0.0

    def __enter__(self) -> Self:
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begin


@asynccontextmanager
async def benchmark_engine() -> AsyncIterator[AsyncEngine]:
    """An engine on a database of its own, migrated: on the server of DATALAYER_TEST_URL, else embedded."""
    configured = os.environ.get("DATALAYER_TEST_URL")
    if configured is None:
        with EmbeddedTimescale() as embedded:
            async with _migrated(embedded.url) as engine:
                yield engine
        return
    server, name = parse_database_url(configured), f"datalayer_bench_{uuid.uuid4().hex[:8]}"
    await _administer(server.render_as_string(hide_password=False), f'CREATE DATABASE "{name}"')
    try:
        async with _migrated(server.set(database=name).render_as_string(hide_password=False)) as engine:
            yield engine
    finally:
        await _administer(
            server.render_as_string(hide_password=False), f'DROP DATABASE "{name}" WITH (FORCE)'
        )


@asynccontextmanager
async def _migrated(url: str) -> AsyncIterator[AsyncEngine]:
    settings = Settings.load(database_url=url)
    await migrations.upgrade(settings)
    engine = create_engine(make_url(url), settings)
    try:
        async with engine.begin() as conn:
            await InstrumentRepository(conn).ensure(SYMBOL, 2, 6)
            server = await conn.scalar(text("SELECT version()"))
            extension = await conn.scalar(
                text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
            )
        print(
            f"{str(server).split(' on ')[0]}, TimescaleDB {extension}, {os.cpu_count()} cores, {platform.machine()}"
        )
        yield engine
    finally:
        await engine.dispose()


async def _administer(url: str, statement: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as conn:
            await conn.execute(text(statement))
    finally:
        await engine.dispose()


def candles(rows: int) -> pd.DataFrame:
    """Real BTC/USDT 1m candles of 2024 where they are beside the checkout, else a walk of the same digits.

    More than a year are that year again, as the ones before it.
    """
    if YEAR_2024.exists():
        year = pd.read_parquet(YEAR_2024).set_index("timestamp")
        earlier = range(-(-rows // len(year)) - 1, -1, -1)
        return pd.concat([year.set_axis(year.index - n * pd.Timedelta(days=366)) for n in earlier]).iloc[
            :rows
        ]
    print("the real candles of 2024 are not beside this checkout; a random walk stands in for them")
    random = np.random.default_rng(2024)
    close = (42_000 + random.normal(0, 20, rows).cumsum()).round(2)
    opened = np.concatenate([close[:1], close[:-1]])
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) + 1,
        "low": np.minimum(opened, close) - 1,
        "close": close,
        "volume": random.exponential(20, rows).round(5),
    }
    frame = pd.DataFrame(columns, index=pd.date_range("2024-01-01", periods=rows, freq="1min", tz="UTC"))
    return frame.round({"high": 2, "low": 2})
