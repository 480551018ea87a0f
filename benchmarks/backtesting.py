"""Candles to a strategy's loop, each with the window before it: from the database, and from what is in memory already.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.backtesting [--rows N] [--runs K] [--quick]

The loop looks at the last close and does nothing else, so what is measured is the way to it. Prediction for a native server, 2 quiet
cores, before the first run: a million candles/s by the clock, as fast as reading the candles in one frame; three times
`itertuples`, thirty times slices of a frame.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import datalayer.sync
from benchmarks.harness import SYMBOL, Comparison, Stopwatch, arguments, benchmark_engine, candles
from datalayer import MarketHistory
from datalayer.integrations.backtesting import BacktestSource
from datalayer.repositories import CandleRepository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

WINDOW = 60


class Loops:
    """The same loop over the same candles, from several places."""

    def __init__(self, market: datalayer.sync.UnifiedDataProvider, frame: pd.DataFrame, path: Path) -> None:
        self.market, self.frame, self.path = market, frame, path
        self.start = frame.index[0].to_pydatetime()
        self.end = frame.index[-1].to_pydatetime() + timedelta(minutes=2)

    def clock(self) -> float:
        total = 0.0
        with BacktestSource(self.market, [SYMBOL], {"1m": WINDOW}, start=self.start, end=self.end) as source:
            window = source.series(SYMBOL, "1m").window
            for _ in source:
                total += window()[-1, 3]
        return total

    def clock_with_hours(self) -> float:
        total = 0.0
        windows: dict[Any, int] = {"1m": WINDOW, "1h": 24}
        with BacktestSource(self.market, [SYMBOL], windows, start=self.start, end=self.end) as source:
            minutes, hours = (source.series(SYMBOL, label).window for label in ("1m", "1h"))
            for _ in source:
                hours()
                total += minutes()[-1, 3]
        return total

    def window_blocks(self) -> float:
        history = MarketHistory(self.market.asynchronous.database)

        async def blocks() -> float:
            total = 0.0
            async with history.stream_windows(SYMBOL, "1m", WINDOW, start=self.start, end=self.end) as stream:
                async for block in stream:
                    for _, window in block:
                        total += window[-1, 3]
            return total + self.frame["close"].iloc[: WINDOW - 1].sum()

        return self.market.run(blocks())

    async def _read(self) -> pd.DataFrame:
        async with MarketHistory(self.market.asynchronous.database)._engine.begin() as conn:  # noqa: SLF001
            return await CandleRepository(conn).query_ohlcv_data(SYMBOL, "1m", start=self.start, end=self.end)

    def frame_only(self) -> float:
        return float(self.market.run(self._read())["close"].sum())

    def frame_and_itertuples(self) -> float:
        return sum(row.close for row in self.market.run(self._read()).itertuples())  # type: ignore[misc]

    def parquet_and_itertuples(self) -> float:
        return sum(row.close for row in pd.read_parquet(self.path).itertuples())  # type: ignore[misc]

    def parquet_and_arrays(self) -> float:
        """The fastest that one would write by hand."""
        frame = pd.read_parquet(self.path)
        rows = frame[["open", "high", "low", "close", "volume"]].to_numpy()
        times = (frame.index + pd.Timedelta(minutes=1)).to_pydatetime()
        total = 0.0
        for end, _ in enumerate(times, start=1):
            total += rows[max(end - WINDOW, 0) : end][-1, 3]
        return total

    def frame_and_slices(self) -> float:
        return sum(window["close"].iloc[-1] for window in slices(self.frame))


def cpu_us(way: Callable[[], float]) -> float:
    """What other processes do on the machine does not count, nor what the server does."""
    begun = time.process_time()
    way()
    return (time.process_time() - begun) * 1e6


def slices(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for end in range(1, len(frame) + 1):
        yield frame.iloc[max(end - WINDOW, 0) : end]


async def compare(loops: Loops, rows: int, runs: int) -> None:
    expected = loops.frame["close"].sum()

    async def timed(way: Callable[[], float], share: int = 1) -> float:
        with Stopwatch() as watch:
            total = await asyncio.to_thread(way)
        assert share > 1 or np.isclose(total, expected), (total, expected)
        return watch.seconds * share

    few = Loops(loops.market, loops.frame.iloc[: max(rows // 100, WINDOW)], loops.path)
    ways = {
        "clock": lambda: timed(loops.clock),
        "clock, hours beside": lambda: timed(loops.clock_with_hours),
        "blocks of windows (async)": lambda: timed(loops.window_blocks),
        "one frame from the database, no loop": lambda: timed(loops.frame_only),
        "one frame from the database, itertuples": lambda: timed(loops.frame_and_itertuples),
        "Parquet file, itertuples": lambda: timed(loops.parquet_and_itertuples),
        "Parquet file, slices of an array": lambda: timed(loops.parquet_and_arrays),
        "frame in memory, slices (a hundredth of it)": lambda: timed(
            few.frame_and_slices, rows // len(few.frame)
        ),
    }
    comparison = Comparison(f"{rows:,} candles to a loop, windows of {WINDOW}", rows, "clock", ways)
    await comparison.run(runs)
    print(comparison.table())
    for name, way in (("clock", loops.clock), ("blocks of windows", loops.window_blocks)):
        print(
            f"\n{name}: {min(cpu_us(way) for _ in range(runs)) / rows:.2f} µs of this process a candle, reading included"
        )


@asynccontextmanager
async def loops_over(rows: int) -> AsyncIterator[Loops]:
    """Loops over so many candles, which are in a database and in a Parquet file."""
    async with benchmark_engine() as engine:
        frame = candles(rows)
        async with engine.begin() as conn:
            await CandleRepository(conn).upsert_candles(SYMBOL, "1m", frame)
        url = engine.url.render_as_string(hide_password=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "candles.parquet"
            frame.to_parquet(path)
            with await asyncio.to_thread(datalayer.sync.connect, url) as market:
                yield Loops(market, frame, path)


async def main() -> None:
    chosen = arguments("candles to the loop of a strategy")
    async with loops_over(chosen.rows) as loops:
        await compare(loops, len(loops.frame), chosen.runs)


if __name__ == "__main__":
    asyncio.run(main())
