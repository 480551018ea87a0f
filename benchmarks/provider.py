"""Answers of the provider from a warm cache. Those of moments in the past are in `benchmarks.provider_history`.

    python -m benchmarks.provider [--rows N] [--runs K] [--profile] [--quick]

Seven timeframes of 100 candles, order book, imbalances, and five indicators computed over 480 candles, asked for after each
new order book (ten a second of market time) and after each new 1s candle, which changes six timeframes. "With features" adds
`to_numpy` of 40 of them. Expected, before the first line was written: 1 ms (p99 2 ms). What was found stands in
docs/adr/0015-provider.md.

Beside each median stands the processor time of this process: on a machine that others use as well it is what can be compared.
`--profile` says where the time goes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import event, text

from benchmarks.harness import SYMBOL, benchmark_engine
from benchmarks.made_market import END, compress, fill
from datalayer.cache import DataCacheManager
from datalayer.domain.candle import Candle
from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.indicators import Atr, BollingerBands, Ema, Macd, Rsi
from datalayer.domain.order_book import OrderBook
from datalayer.domain.timeframe import Timeframe
from datalayer.provider import UnifiedDataProvider

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.domain.inference_frame import InferenceDataFrame

INDICATORS = (Ema(20), Rsi(14), Atr(14), Macd(), BollingerBands())
LEVELS = np.arange(20.0)
BOOKS_PER_SECOND = 10
FEATURES = [
    f"{t.label}.{name}" for t in Timeframe for name in ("close", "volume", "ema_20", "rsi_14", "atr_14")
]
FEATURES += [
    "order_book.mid",
    "order_book.spread",
    "order_book.bid_size_0",
    "book_imbalance_5s",
    "volume_imbalance_60s",
]

IMBALANCES = """
    INSERT INTO order_book_imbalances (instrument_id, ts, book_imbalance_1s)
    SELECT instrument_id, ts, 0.25 FROM order_books
"""


async def store(engine: AsyncEngine, rows: int) -> None:
    """Store so many 1s candles, half a day of order books, and imbalances at each."""
    await fill(engine, rows, 86_400)
    async with engine.begin() as conn:
        await conn.execute(text(IMBALANCES))
    await compress(engine)


class Feed:
    """Puts made-up market data into a cache, by its own clock."""

    def __init__(self) -> None:
        self.now = END
        self.cache = DataCacheManager(clock=lambda: self.now)
        self._second = END

    def add_second(self) -> None:
        n = int((self._second - END).total_seconds())
        price = 60_000 + n * 7_919 % 997 / 100
        self.cache.put_candle(
            Candle(SYMBOL, Timeframe.S1, self._second, price, price + 1, price - 1, price, 0.123, n)
        )
        self._second += timedelta(seconds=1)

    def add_book(self, place: int) -> None:
        """Let a part of a second pass and put in the book at its end; the second before it is known by then."""
        self.now = self._second + timedelta(seconds=place / BOOKS_PER_SECOND, milliseconds=50)
        bids = 60_000 - LEVELS - place % 7
        book = OrderBook(SYMBOL, self.now, bids, LEVELS + 1, bids[0] + 1 + LEVELS, LEVELS + 1, place)
        self.cache.put_orderbook(book)
        self.cache.put_imbalances(OrderBookImbalances(SYMBOL, self.now, *[0.25] * 8))


Times = list[tuple[float, float]]
"""Milliseconds that went by, and of the processor."""


async def live(engine: AsyncEngine, seconds: int, feed: Feed) -> dict[str, Times]:
    found: dict[str, Times] = {"after a 1s candle": [], "after an order book": [], "with features": []}
    async with UnifiedDataProvider(
        engine, cache=feed.cache, symbols=[SYMBOL], indicators=INDICATORS
    ) as provider:
        statements = counted(engine)
        for _ in range(seconds):
            feed.add_second()
            for place in range(BOOKS_PER_SECOND):
                feed.add_book(place)
                begin = now()
                answer = await provider.get_inference_data(SYMBOL)
                answered = now()
                answer.to_numpy(FEATURES)
                found["after an order book" if place else "after a 1s candle"].append(since(begin, answered))
                found["with features"].append(since(begin, now()))
        assert statements == [], "a warm cache asks the database for nothing"
    check(answer)
    return found


def now() -> tuple[float, float]:
    return time.perf_counter() * 1e3, time.thread_time() * 1e3


def since(begin: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    return end[0] - begin[0], end[1] - begin[1]


def check(answer: InferenceDataFrame) -> None:
    assert answer.order_book is not None
    assert len(answer.candles) == len(answer.indicators) == len(Timeframe)
    assert all(len(table) for table in answer.candles.values())


def counted(engine: AsyncEngine) -> list[None]:
    """Return a list that grows with every connection that is taken from the pool from now on: no statement goes without."""
    taken: list[None] = []

    @event.listens_for(engine.sync_engine, "engine_connect")
    def note(*_: Any) -> None:
        taken.append(None)

    return taken


def line(name: str, ms: Times) -> str:
    wall, processor = np.array(ms).T
    p50, p95, p99 = np.percentile(wall, [50, 95, 99])
    c50, c99 = np.percentile(processor, [50, 99])
    return f"| {name} | {len(ms)} | {p50:.2f} | {p95:.2f} | {p99:.2f} | {c50:.2f} | {c99:.2f} |"


def profiled(profile: cProfile.Profile, title: str) -> None:
    print(f"\n{title}\n")
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


async def main() -> None:
    parser = argparse.ArgumentParser(description="answers of the provider")
    parser.add_argument("--rows", type=int, default=3_000_000, help="1s candles in the database")
    parser.add_argument("--runs", type=int, default=300, help="seconds of live answers")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument(
        "--quick", action="store_true", help="few rows and runs: shows that it works, says nothing"
    )
    chosen = parser.parse_args()
    rows, runs = (100_000, 3) if chosen.quick else (chosen.rows, chosen.runs)
    async with benchmark_engine() as engine:
        await store(engine, rows)
        found = await live(engine, runs, Feed())
        print(f"\n{rows:,} 1s candles in the database\n")
        print("| answer | number | p50, ms | p95, ms | p99, ms | processor p50, ms | p99, ms |")
        print("|---" + "|---:" * 6 + "|")
        for name, ms in found.items():
            print(line(f"live, {name}", ms))
        if chosen.profile:
            with cProfile.Profile() as profile:
                await live(engine, runs, Feed())
            profiled(profile, "live")


if __name__ == "__main__":
    asyncio.run(main())
