"""Reads of the latest candles from memory while a thread writes, and what a write costs, beside the alternatives.

    python -m benchmarks.cache_reads [--reads N] [--runs K] [--writes-per-s W] [--quick]

Every way holds the same candles of one symbol behind a lock and gives the last 300 of them; what it gives is its caller's own. The
writer puts in one 1s candle after the other, each at its close by a clock of its own, `W` a second; "full speed" is without a
pause. p50 and p99 are over the reads of a run, and of these the medians over the runs.

Expected, before the first line was written: our arrays 8 µs (p99 20 µs), our DataFrame 130 µs (p99 250 µs), nearly all of it
pandas; a deque of objects made into a DataFrame 600 µs; a finished DataFrame in a TTLCache 20 µs a read, since it is only
copied, but 300 µs a write, where ours takes 4 µs. What was found stands in docs/adr/0011-cache.md.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from cachetools import TTLCache

from datalayer.cache import DataCacheManager
from datalayer.domain.candle import Candle
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable

SYMBOL = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WANTED = 300
KEPT = 500
FILLED = 18_300
NAMES = ["open", "high", "low", "close", "volume", "trade_count"]


class Store(ABC):
    """A way to hold the latest candles."""

    @abstractmethod
    def write(self, candle: Candle) -> None: ...

    @abstractmethod
    def read(self) -> Any: ...


class Ours(Store):
    def __init__(self, timeframe: Timeframe = Timeframe.S1, *, arrays: bool, forming: bool = False) -> None:
        self._now = START
        self._cache = DataCacheManager(clock=lambda: self._now)
        self._get = self._cache.get_latest_ohlcv_arrays if arrays else self._cache.get_latest_ohlcv
        self._asked = (SYMBOL, timeframe, WANTED)
        self._forming = forming

    def write(self, candle: Candle) -> None:
        self._now = candle.closed_at
        self._cache.put_candle(candle)

    def read(self) -> Any:
        return self._get(*self._asked, include_forming=self._forming)


class DequeOfObjects(Store):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Candle] = deque(maxlen=KEPT)

    def write(self, candle: Candle) -> None:
        with self._lock:
            self._kept.append(candle)

    def read(self) -> pd.DataFrame:
        with self._lock:
            last = list(self._kept)[-WANTED:]
        columns = {name: [getattr(candle, name) for candle in last] for name in NAMES}
        index = pd.DatetimeIndex([candle.ts for candle in last], name="timestamp")
        return pd.DataFrame(columns, index=index).astype({"trade_count": "Int64"})


class DequeOfTuples(Store):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[tuple[Any, ...]] = deque(maxlen=KEPT)

    def write(self, candle: Candle) -> None:
        row = (candle.ts, *(getattr(candle, name) for name in NAMES))
        with self._lock:
            self._kept.append(row)

    def read(self) -> pd.DataFrame:
        with self._lock:
            last = list(self._kept)[-WANTED:]
        return pd.DataFrame(last, columns=["timestamp", *NAMES]).set_index("timestamp")


class DequeOfArrays(Store):
    """Numbers one by one in deques, arrays when they are read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[deque[Any]] = [deque(maxlen=KEPT) for _ in range(7)]

    def write(self, candle: Candle) -> None:
        row = (candle.ts.timestamp(), *(getattr(candle, name) for name in NAMES))
        with self._lock:
            for column, value in zip(self._kept, row, strict=True):
                column.append(value)

    def read(self) -> list[Any]:
        with self._lock:
            return [np.array(column)[-WANTED:] for column in self._kept]


class CachedFrame(Store):
    """A finished DataFrame in a TTLCache: each write makes a new one by `pandas.concat`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: TTLCache[str, pd.DataFrame] = TTLCache(100, 300)

    def write(self, candle: Candle) -> None:
        index = pd.DatetimeIndex([candle.ts], name="timestamp")
        row = pd.DataFrame({name: [getattr(candle, name)] for name in NAMES}, index=index)
        with self._lock:
            before = self._kept.get(SYMBOL)
            self._kept[SYMBOL] = row if before is None else pd.concat([before, row]).iloc[-KEPT:]

    def read(self) -> pd.DataFrame:
        with self._lock:
            return self._kept[SYMBOL].iloc[-WANTED:].copy()


WAYS: dict[str, Callable[[], Store]] = {
    "ours, arrays, 1s": lambda: Ours(arrays=True),
    "ours, arrays, 1m": lambda: Ours(Timeframe.M1, arrays=True),
    "ours, arrays, 1m and forming": lambda: Ours(Timeframe.M1, arrays=True, forming=True),
    "ours, DataFrame, 1s": lambda: Ours(arrays=False),
    "ours, DataFrame, 1m": lambda: Ours(Timeframe.M1, arrays=False),
    "deques of numbers, arrays": DequeOfArrays,
    "deque of objects, DataFrame": DequeOfObjects,
    "deque of tuples, DataFrame": DequeOfTuples,
    "TTLCache of a DataFrame": CachedFrame,
}
FULL_SPEED = ("ours, arrays, 1s", "ours, DataFrame, 1s", "deque of objects, DataFrame")


def candle(number: int) -> Candle:
    price = 60_000 + number * 7_919 % 997 / 100
    ts = START + number * SECOND
    return Candle(SYMBOL, Timeframe.S1, ts, price, price + 1, price - 1, price, 0.123, number % 50)


def filled(make: Callable[[], Store]) -> Store:
    """Fill it with seconds up to `FILLED`, so that there are 300 minutes; the pandas way gets the last of them."""
    store = make()
    for number in range(FILLED - KEPT if make is CachedFrame else 0, FILLED):
        store.write(candle(number))
    return store


def write_cost_us(make: Callable[[], Store]) -> float:
    store = filled(make)
    more = [candle(FILLED + n) for n in range(500 if make is CachedFrame else 10_000)]
    begin = time.perf_counter()
    for one in more:
        store.write(one)
    return (time.perf_counter() - begin) / len(more) * 1e6


def read_us(make: Callable[[], Store], reads: int, pause_s: float) -> np.ndarray[Any, Any]:
    """Return the microseconds of each read while a thread writes."""
    store = filled(make)
    done = threading.Event()

    def write() -> None:
        for number in count(FILLED):
            store.write(candle(number))
            if done.is_set():
                return
            if pause_s:
                time.sleep(pause_s)

    writer = threading.Thread(target=write)
    writer.start()
    taken = np.empty(reads)
    for n in range(reads):
        begin = time.perf_counter()
        store.read()
        taken[n] = time.perf_counter() - begin
        if n % 16 == 0:
            time.sleep(0)
    done.set()
    writer.join()
    return taken * 1e6


def table(title: str, found: dict[str, list[tuple[float, ...]]], heads: list[str], baseline: str) -> str:
    medians = {
        name: [statistics.median(run) for run in zip(*runs, strict=True)] for name, runs in found.items()
    }
    lines = [
        f"\n{title}\n",
        f"| way | {' | '.join(heads)} | {heads[0]}, {baseline} = 1 |",
        "|---" * (len(heads) + 2) + "|",
    ]
    for name, values in medians.items():
        shown = " | ".join(f"{value:,.1f}" for value in values)
        lines.append(f"| {name} | {shown} | {values[0] / medians[baseline][0]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="reads from the cache beside writes")
    parser.add_argument("--reads", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--writes-per-s", type=float, default=1_000)
    parser.add_argument(
        "--quick", action="store_true", help="few reads and one run: shows that it works, says nothing"
    )
    chosen = parser.parse_args()
    reads, runs = (200, 1) if chosen.quick else (chosen.reads, chosen.runs)
    paced: dict[str, list[tuple[float, ...]]] = {}
    hot: dict[str, list[tuple[float, ...]]] = {}
    writes: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(runs):
        for name, make in WAYS.items():
            taken = read_us(make, reads, 1 / chosen.writes_per_s)
            paced.setdefault(name, []).append(tuple(np.percentile(taken, [50, 99, 99.9])))
            if name in FULL_SPEED:
                taken = read_us(make, reads, 0.0)
                hot.setdefault(name, []).append(tuple(np.percentile(taken, [50, 99, 99.9])))
            writes.setdefault(name, []).append((write_cost_us(make),))
    heads = ["p50, µs", "p99, µs", "p99.9, µs"]
    print(
        table(
            f"reads of {WANTED} candles, {chosen.writes_per_s:,.0f} writes/s beside",
            paced,
            heads,
            "ours, DataFrame, 1s",
        )
    )
    print(table("the same, a thread writing at full speed beside", hot, heads, "ours, DataFrame, 1s"))
    print(table("one write", writes, ["µs"], "ours, DataFrame, 1s"))


if __name__ == "__main__":
    main()
